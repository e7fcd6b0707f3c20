"""Training images made from label maps alone: abdominal CT and heads in MR.

There is hardly any manual label of the abdomen among the sets, but there are whole label maps. An image is
drawn for one as SynthSeg does (Billot et al. 2023): every structure gets a value from the range of its
tissue, then texture, partial volume, noise. What the labels leave open inside a body is filled with fat and
soft tissue. The ranges are data (``tissues.json``).
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import torch
from scipy.ndimage import binary_erosion, binary_fill_holes, distance_transform_edt, gaussian_filter, zoom

from vesal.inference.geometry.views import Triple, triple
from vesal.inference.prompts.parser import parse_prompts
from vesal.training.augment import bend
from vesal.training.shelf import Source
from vesal.training.store import Target, Volume, labelled

TISSUES = json.loads(Path(__file__).with_name("tissues.json").read_text())
AMOS = (
    "spleen", "kidney_right", "kidney_left", "gallbladder", "esophagus", "liver", "stomach", "aorta",
    "inferior_vena_cava", "pancreas", "adrenal_gland_right", "adrenal_gland_left", "duodenum",
    "urinary_bladder", "prostate",
)  # fmt: skip
"""Structures 1 to 15 of an AMOS label map, and the targets asked for in every synthetic abdomen."""
CALLED = {"prostate": "prostate/uterus"}
"""Targets that are asked for by another name, as AMOS does: its label 15 is one or the other."""
DATASET = "CT_Synthetic"
VERSION = 3
"""Raised when the drawing changes, so that shelves are filled anew."""
ABDOMENS, HEADS = 8, 2
"""Images made of each label map."""
VOXEL_MM = 2.8
"""Least voxel of a synthetic abdomen: no view of a whole abdomen is finer."""
CLOSING_MM = 70.0
"""Radius of the closing that makes a body of its organs."""
UP_MM, DOWN_MM, PELVIS_MM = (60.0, 200.0), (100.0, 230.0), (280.0, 400.0)
"""How far a drawn scan goes above and below the middle of the liver; ``PELVIS_MM`` in half of the scans: from
there to the bladder it is 250 to 290 mm in the label maps."""
KNOTS, AMOUNT = 5, 0.06
"""Elastic deformation of the label map before the image is drawn; see ``augment.bend``."""


@dataclass(frozen=True)
class LabelMap:
    """One label map without an image."""

    name: str
    labels: np.ndarray
    """(D, H, W) unsigned"""
    spacing_dhw_mm: tuple[float, float, float]
    structures: dict[int, str]
    """Name of each label, as in its source: ``kidney_left``; empty for a head."""


def read_labelmap(path: Path) -> LabelMap:
    """Read a NIfTI label map; names come from a ``.json`` beside it, or are those of AMOS."""
    image = nibabel.Nifti1Image.from_filename(path)
    labels = np.asarray(image.dataobj).astype(np.uint16).transpose()  # NIfTI is (x, y, z)
    x, y, z = (float(s) for s in image.header.get_zooms()[:3])
    names = path.with_name(path.name.removesuffix(".nii.gz") + ".json")
    if names.exists():
        structures = {int(k): v for k, v in json.loads(names.read_text()).items()}
    else:
        structures = {} if path.name.startswith("synthseg") else dict(enumerate(AMOS, 1))
    return LabelMap(path.name.removesuffix(".nii.gz"), labels, (z, y, x), structures)


def synthetic_source(folder: Path) -> Source:
    """The volumes of ``synthetic_volumes`` for a shelf; made again when label maps or tissues change."""
    maps = [[p.name, p.stat().st_size] for p in sorted(folder.glob("*.nii.gz"))]
    key = json.dumps([VERSION, maps, TISSUES, ABDOMENS, HEADS])
    return Source(hashlib.sha256(key.encode()).hexdigest(), synthetic_volumes(folder))


def synthetic_volumes(folder: Path, seed: int = 0) -> Iterator[Volume]:
    """Labelled volumes of every ``folder/*.nii.gz``: abdomens as ``CT_Synthetic``, heads as ``MR_Synthetic``.

    The same folder and seed give the same volumes.
    """
    for path in sorted(folder.glob("*.nii.gz")):
        given = read_labelmap(path)
        for number in range(ABDOMENS if given.structures else HEADS):
            rng = np.random.default_rng([seed, number, zlib.crc32(given.name.encode())])
            make = make_abdomen if given.structures else make_head
            yield make(given, f"{given.name}_{number}", rng)


def make_abdomen(given: LabelMap, name: str, rng: np.random.Generator) -> Volume:
    """A CT image of the abdomen of ``given``, and the labels of its AMOS structures."""
    at, spacing = thinned(given.spacing_dhw_mm)
    labels = bent(bend_knots(rng), around_the_liver(given.labels[at], spacing, given.structures, rng))
    hu = draw_ct(labels, spacing, given.structures, rng)
    return abdomen_of(name, hu, labels, spacing, given.structures)


def thinned(spacing_dhw_mm: tuple[float, float, float]) -> tuple[tuple[slice, slice, slice], Triple]:
    """Voxels (D, H, W) to take so that none is much finer than ``VOXEL_MM``, and their spacing in mm."""
    stride = [max(1, round(VOXEL_MM / s)) for s in spacing_dhw_mm]
    z, y, x = (slice(None, None, n) for n in stride)
    return (z, y, x), triple(s * n for s, n in zip(spacing_dhw_mm, stride, strict=True))


def abdomen_of(
    name: str,
    hu: np.ndarray,
    labels: np.ndarray,
    spacing_dhw_mm: Triple,
    structures: dict[int, str],
) -> Volume:
    """A volume of ``DATASET``: HU, windowed, and labels (D, H, W), of which those of AMOS are targets."""
    low, high = TISSUES["ct"]["window_hu"]
    image = np.clip((hu - low) / (high - low) * 255, 0, 255).astype(np.uint8)
    ids = {i: s for i, s in structures.items() if s in AMOS and (labels == i).any()}
    kept = np.where(np.isin(labels, list(ids)), labels, 0).astype(np.uint8)
    sentences = {i: f"{spoken(s)} in CT" for i, s in ids.items()}
    return volume_of(name, DATASET, image, kept, spacing_dhw_mm, sentences)


def make_head(given: LabelMap, name: str, rng: np.random.Generator) -> Volume:
    """An MR image of the head of ``given``, and the labels of its deep grey matter, both sides together."""
    heads = TISSUES["heads"]
    brain = (given.labels > 0) & (given.labels < heads["outside_from"])
    at = tuple(slice(max(0, lo - 12), hi + 12) for lo, hi in extent_of(brain))
    labels = bent(bend_knots(rng), given.labels[at])
    image = _draw_head(labels, rng)
    kept = np.zeros(labels.shape, np.uint8)
    for number, codes in enumerate(heads["targets"].values(), 1):
        kept[np.isin(labels, codes)] = number
    sentences = {n: f"{target} in brain MRI" for n, target in enumerate(heads["targets"], 1)}
    return volume_of(name, "MR_Synthetic", image, kept, given.spacing_dhw_mm, sentences)


def volume_of(
    name: str,
    dataset: str,
    image: np.ndarray,
    labels: np.ndarray,
    spacing: Triple,
    sentences: dict[int, str],
) -> Volume:
    """A volume of a set, of image and labels (D, H, W), and what the sentences ask for in it."""
    prompts, _ = parse_prompts(sentences, name=f"{dataset}_{name}", image=image, encoder=None)
    targets = tuple(
        Target(p.target, p.concept, p.side, p.modality, p.id) for p in prompts if p.target and p.concept
    )
    return labelled(name, dataset, image, labels, spacing, targets)


def spoken(structure: str) -> str:
    """``kidney_left`` -> ``left kidney``."""
    words = CALLED.get(structure, structure).split("_")
    return " ".join(words[-1:] + words[:-1] if words[-1] in ("left", "right") else words)


def extent_of(mask: np.ndarray) -> list[tuple[int, int]]:
    """First and one past the last index of a (D, H, W) bool mask along each axis."""
    found = [np.flatnonzero(mask.any(tuple(a for a in range(3) if a != axis))) for axis in range(3)]
    return [(int(i[0]), int(i[-1]) + 1) for i in found]


def around_the_liver(
    labels: np.ndarray, spacing: Triple, structures: dict[int, str], rng: np.random.Generator
) -> np.ndarray:
    """Labels (D, H, W): slices as many as an abdominal scan has, with the body cut out loosely in plane."""
    liver = next(i for i, s in structures.items() if s == "liver")
    first, last = extent_of(labels == liver)[0]
    middle = (first + last) / 2  # NIfTI counts slices from the feet on
    down = rng.uniform(*(PELVIS_MM if rng.random() < 0.5 else DOWN_MM))
    part = labels[max(0, int(middle - down / spacing[0])) : int(middle + rng.uniform(*UP_MM) / spacing[0])]
    margin = rng.uniform(35, 70)
    at = [
        slice(max(0, int(lo - margin / s)), int(hi + margin / s))
        for (lo, hi), s in zip(extent_of(part > 0), spacing, strict=True)
    ]
    return part[:, at[1], at[2]]


def bend_knots(rng: np.random.Generator) -> torch.Tensor:
    """A smooth deformation as ``augment.bend`` takes it."""
    return torch.from_numpy(rng.uniform(-AMOUNT, AMOUNT, (1, 3, *[KNOTS] * 3)).astype(np.float32))


def bent(knots: torch.Tensor, values: np.ndarray, mode: str = "nearest") -> np.ndarray:
    """Labels, or with ``bilinear`` an image, (D, H, W) bent a little; 0 comes in from outside."""
    moved = bend(torch.from_numpy(values.astype(np.float32))[None], knots, mode)
    return moved[0].numpy().astype(values.dtype)


def smooth_noise(shape: tuple[int, ...], smooth_voxels: float, rng: np.random.Generator) -> np.ndarray:
    """Smooth noise of mean 0 and standard deviation 1; made on a coarse grid where it is very smooth."""
    step = max(1, int(smooth_voxels))
    small = [-(-n // step) + 1 for n in shape]
    noise = gaussian_filter(rng.normal(size=small), smooth_voxels / step)
    grown = zoom(noise, step, order=1)[: shape[0], : shape[1], : shape[2]] if step > 1 else noise
    grown = grown[: shape[0], : shape[1], : shape[2]]
    return ((grown - grown.mean()) / (grown.std() + 1e-9)).astype(np.float32)


def spine_of(
    labels: np.ndarray, spacing: Triple, structures: dict[int, str], rng: np.random.Generator
) -> list[tuple[str, np.ndarray, float]]:
    """A column of bone behind the aorta, with the muscles of the back beside it, where nothing is labelled:
    tissue, (D, H, W) bool and HU, in the order in which they are drawn over each other.
    """
    at = {
        s: np.argwhere(labels == i).mean(0)[1:] * spacing[1:]
        for i, s in structures.items()
        if (labels == i).any()
    }
    if not {"kidney_left", "kidney_right", "stomach", "aorta"} <= set(at):
        return []
    middle = (at["kidney_left"] + at["kidney_right"]) / 2
    back = middle - at["stomach"]
    back = back / (np.linalg.norm(back) + 1e-9)
    centre = at["aorta"] + back * rng.uniform(26, 36)
    y, x = (np.arange(n) * s for n, s in zip(labels.shape[1:], spacing[1:], strict=True))
    away = np.stack([y[:, None] - centre[0] + 0 * x[None], x[None] - centre[1] + 0 * y[:, None]], -1)
    behind = away @ back
    across = np.abs(away @ np.array([-back[1], back[0]]))
    free = labels == 0
    muscle = (np.hypot(behind - 22, (across - 32) * 0.8) < rng.uniform(18, 26)) & free
    muscle_hu = rng.uniform(40, 65)
    bone = (np.hypot(behind, across) < rng.uniform(17, 23)) | ((behind > 14) & (behind < 50) & (across < 6))
    bone_hu = rng.uniform(160, 330)
    cord = (np.hypot(behind - 26, across) < 8) & free
    return [
        ("muscle", muscle, muscle_hu),
        ("bone", bone & free, bone_hu),
        ("spinal_cord", cord, rng.uniform(15, 45)),
    ]


def body_of(
    organs: np.ndarray, spacing: tuple[float, ...], rng: np.random.Generator, more_mm: float
) -> tuple[np.ndarray, np.ndarray]:
    """The body around its organs (D, H, W), and its depth below the skin in mm, slice by slice."""
    filled = np.zeros(organs.shape, bool)
    depth = np.zeros(organs.shape, np.float32)
    fat_mm = rng.uniform(8, 30) + more_mm
    for z, plane in enumerate(organs):
        if not plane.any():
            continue
        padded = np.pad(plane, 2 + int((CLOSING_MM + more_mm) / min(spacing[1:])))
        wide = distance_transform_edt(~padded, sampling=spacing[1:]) <= CLOSING_MM
        inside = distance_transform_edt(binary_fill_holes(wide), sampling=spacing[1:])
        inside = inside[
            tuple(
                slice((a - b) // 2, (a - b) // 2 + b) for a, b in zip(inside.shape, plane.shape, strict=True)
            )
        ]
        depth[z] = np.maximum(0, inside - CLOSING_MM + fat_mm)
        filled[z] = depth[z] > 0
    return filled, depth


def draw_ct(
    labels: np.ndarray, spacing: Triple, structures: dict[int, str], rng: np.random.Generator
) -> np.ndarray:
    """(D, H, W) float32 HU."""
    rules = TISSUES["ct"]
    organs = labels > 0
    sparse = len(structures) <= len(AMOS)
    if sparse:  # neither ribs nor muscles: one outline for all slices, with room for them
        organs = np.broadcast_to(organs.any(0), organs.shape)
    body, depth = body_of(organs, spacing, rng, rng.uniform(20, 45) if sparse else 0.0)
    hu = np.full(labels.shape, -1000, np.float32)
    fat, soft = rng.uniform(*rules["fat_hu"]), rng.uniform(*rules["soft_hu"])
    wall = (depth > rng.uniform(6, 22)) & (depth < rng.uniform(24, 45))  # muscle below the fat of the skin
    mesentery = smooth_noise(labels.shape, 4, rng) > rng.uniform(0.8, 1.8)
    hu[body] = fat
    hu[body & (wall | (mesentery & (depth > 20)))] = soft
    hu += np.where(body, 8 * smooth_noise(labels.shape, 2, rng), 0)
    if sparse:
        for _, mask, value in spine_of(labels, spacing, structures, rng):
            hu[mask] = value
    values = draw_values(rng)
    texture = smooth_noise(labels.shape, 2.5, rng)
    for i, structure in sorted(structures.items()):
        mask = labels == i
        if not mask.any():
            continue
        row = row_of(structure)
        value = values[row["names"][0]] + rng.normal(0, 4)
        hu[mask] = value + row["texture"] * texture[mask]
        if row.get("contents"):
            _fill(hu, mask, rng)
    blur = rng.uniform(0.35, 0.7)
    noise = gaussian_filter(rng.normal(size=hu.shape).astype(np.float32), rng.uniform(0.3, 0.7))
    return gaussian_filter(hu, blur) + rng.uniform(4, 22) * noise / noise.std()


def row_of(structure: str) -> dict[str, Any]:
    """What the tissues say of a structure of CT, named as in a label map: ``kidney_left``."""
    return next(r for r in TISSUES["ct"]["rows"] if structure.startswith(tuple(r["names"])))


def draw_values(rng: np.random.Generator) -> dict[str, float]:
    """HU for each row of CT, by its first name."""
    drawn: dict[str, float] = {}
    for row in TISSUES["ct"]["rows"]:
        first = row["names"][0]
        drawn[first] = (
            drawn[row["like"]] * rng.uniform(*row["times"]) if "like" in row else rng.uniform(*row["hu"])
        )
    return drawn


def _fill(hu: np.ndarray, mask: np.ndarray, rng: np.random.Generator) -> None:
    """Food, fluid, contrast and gas inside a hollow organ, in place."""
    at = tuple(slice(lo, hi) for lo, hi in extent_of(mask))
    part, inside = hu[at], binary_erosion(mask[at])
    kind = smooth_noise(inside.shape, 3, rng)
    part[inside] = rng.choice(
        [rng.uniform(0, 35), rng.uniform(20, 80), rng.uniform(120, 350)], p=[0.5, 0.3, 0.2]
    )
    part[inside & (kind > rng.uniform(-0.3, 1.8))] = -950
    part[inside & (kind < rng.uniform(-2.5, -0.8))] = rng.uniform(-40, 90)


def _draw_head(labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(D, H, W) uint8, half of the time with the contrast of a T1 image, else with any."""
    heads = TISSUES["heads"]
    like_t1 = rng.random() < 0.5
    tissue = {code: name for name, codes in heads["codes"].items() for code in codes}
    value = {
        name: rng.uniform(*span) if like_t1 else rng.uniform(15, 240) for name, span in heads["t1"].items()
    }
    table = np.zeros(int(labels.max()) + 1, np.float32)
    for code in np.unique(labels)[1:]:
        name = tissue.get(int(code), "other")
        table[code] = (
            rng.uniform(*heads["t1"]["other"]) if name == "other" else value[name] + rng.normal(0, 5)
        )
    if rng.random() < 0.3:
        table[heads["outside_from"] :] = 0  # the skull taken away
    image = table[labels]
    image = image * (
        1
        + 0.06 * smooth_noise(labels.shape, 2, rng)
        + rng.uniform(0, 0.15) * smooth_noise(labels.shape, 40, rng)
    )
    image = gaussian_filter(image, rng.uniform(0.5, 1.0)) + rng.normal(0, rng.uniform(2, 9), labels.shape)
    image[table[labels] == 0] *= 0.3
    return np.clip(image, 0, 255).astype(np.uint8)

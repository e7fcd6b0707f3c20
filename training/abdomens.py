"""Abdomens of more shapes and in MR, from the same few label maps as ``synthetic.py``.

Each is deformed by a random diffeomorphism, many are moved towards another subject's organs (``deform.py``),
some organs are left out, and the image is drawn in a CT window or with the contrast of a T1, T2 or
opposed-phase MR.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.ndimage import binary_erosion, gaussian_filter

from vesal.inference.geometry.views import Triple
from vesal.training.deform import landmarks, moved, random_flow, then, towards, unfolded
from vesal.training.shelf import Source
from vesal.training.store import Volume
from vesal.training.synthetic import (
    AMOS,
    TISSUES,
    LabelMap,
    abdomen_of,
    around_the_liver,
    body_of,
    draw_ct,
    read_labelmap,
    smooth_noise,
    spine_of,
    spoken,
    thinned,
    volume_of,
)

CT, MR = "CT_AbdomenDeformed", "MR_AbdomenDeformed"
VERSION = 1
"""Raised when the making changes, so that shelves are filled anew."""
COPIES = 12
"""Images of each label map, in CT and in MR."""
AMOUNT = (0.08, 0.3)
"""Limits of the flow's velocity, see ``deform.random_flow``."""
TOWARDS, SHARE = 0.6, (0.2, 0.9)
"""Share of images moved towards another subject, and how far."""
LEFT_OUT, FEWEST = 0.15, 4
"""Share of an image's organs that are taken away, and how many stay."""
REMOVABLE = (
    "gallbladder", "kidney_left", "kidney_right", "spleen", "adrenal_gland_left", "adrenal_gland_right",
    "prostate", "urinary_bladder",
)  # fmt: skip
"""What a patient may live without, or a scan does not reach."""
RICIAN = (2.0, 10.0)
"""Standard deviation of the noise in both parts of an MR image, grey levels."""


def source(folder: Path) -> Source:
    """The volumes for a shelf; made again when label maps, tissues or the making change."""
    maps = [[p.name, p.stat().st_size] for p in sorted(folder.glob("*.nii.gz"))]
    key = json.dumps([VERSION, COPIES, maps, TISSUES])
    return Source(f"{CT} {MR} {key}", deformed_volumes(folder))


def deformed_volumes(folder: Path, seed: int = 0) -> Iterator[Volume]:
    """Labelled volumes of every label map of an abdomen, ``COPIES`` in CT and as many in MR.

    The same folder and seed give the same volumes.
    """
    given = [read_labelmap(path) for path in sorted(folder.glob("*.nii.gz"))]
    subjects = {one.name: _thin(one) for one in given if one.structures}
    marks = {name: landmarks(s.labels, s.spacing_dhw_mm, s.structures) for name, s in subjects.items()}
    for name, subject in subjects.items():
        others = {other: of for other, of in marks.items() if other != name}
        for number in range(2 * COPIES):
            rng = np.random.default_rng([seed, number, zlib.crc32(name.encode())])
            yield make(subject, others, f"{name}_{number}", CT if number < COPIES else MR, rng)


def make(
    subject: LabelMap,
    others: Mapping[str, Mapping[str, np.ndarray]],
    name: str,
    dataset: str,
    rng: np.random.Generator,
) -> Volume:
    """One image of a subject (voxels as coarse as they are to be drawn) in another shape.

    ``others``: landmarks of further subjects by name.
    """
    labels = deformed(subject, others, rng)
    labels = around_the_liver(labels, subject.spacing_dhw_mm, subject.structures, rng)
    labels = without_some(labels, subject.structures, rng)
    spacing, structures = subject.spacing_dhw_mm, subject.structures
    if dataset == CT:
        hu = draw_ct(labels, spacing, structures, rng)
        return replace(abdomen_of(name, hu, labels, spacing, structures), dataset=CT)
    image = draw_mr(labels, spacing, structures, rng)
    ids = {i: s for i, s in structures.items() if s in AMOS and (labels == i).any()}
    kept = np.where(np.isin(labels, list(ids)), labels, 0).astype(np.uint8)
    return volume_of(name, MR, image, kept, spacing, {i: f"{spoken(s)} in MRI" for i, s in ids.items()})


def deformed(
    subject: LabelMap, others: Mapping[str, Mapping[str, np.ndarray]], rng: np.random.Generator
) -> np.ndarray:
    """The labels (D, H, W) of a subject in another shape."""
    flow = random_flow(rng, float(rng.uniform(*AMOUNT)))
    if others and rng.random() < TOWARDS:
        other = others[sorted(others)[int(rng.integers(len(others)))]]
        share = float(rng.uniform(*SHARE))
        spacing = subject.spacing_dhw_mm
        flow = unfolded(then(flow, towards(subject.labels, spacing, subject.structures, other, share)))
    return moved(subject.labels, flow)


def without_some(labels: np.ndarray, structures: Mapping[int, str], rng: np.random.Generator) -> np.ndarray:
    """Labels (D, H, W) without some organs, which become what is between the others."""
    there = [i for i, s in sorted(structures.items()) if s in REMOVABLE and (labels == i).any()]
    gone = [i for i in there if rng.random() < LEFT_OUT]
    left = len(np.unique(labels)) - 1 - len(gone)
    return labels if left < FEWEST else np.where(np.isin(labels, gone), 0, labels)


def draw_mr(
    labels: np.ndarray, spacing: Triple, structures: Mapping[int, str], rng: np.random.Generator
) -> np.ndarray:
    """(D, H, W) uint8 with the contrast of a T1, T2 or opposed-phase image.

    Water and fat are drawn apart, and added after the blur of the voxel, or subtracted (opposed phase).
    """
    contrast = str(rng.choice(list(TISSUES["mr"]["contrasts"])))
    like = "t2" if contrast == "t2" else "t1"
    level = {name: rng.uniform(*span) for name, span in TISSUES["mr"]["contrasts"][contrast].items()}
    sparse = len(structures) <= len(AMOS)
    organs = np.broadcast_to((labels > 0).any(0), labels.shape) if sparse else labels > 0
    body, depth = body_of(organs, spacing, rng, rng.uniform(20, 45) if sparse else 0.0)
    fat = body.astype(np.float32)
    water = np.zeros(labels.shape, np.float32)
    wall = (depth > rng.uniform(6, 22)) & (depth < rng.uniform(24, 45))
    mesentery = smooth_noise(labels.shape, 4, rng) > rng.uniform(0.8, 1.8)
    _put(fat, water, body & (wall | (mesentery & (depth > 20))), level["soft"])
    if sparse:
        for tissue, mask, _ in spine_of(labels, spacing, dict(structures), rng):
            _put(fat, water, mask, level.get(tissue, level["soft"]))
    _put_organs(fat, water, labels, structures, like, level["fluid"], rng)
    blur = rng.uniform(0.4, 0.8)
    water, fat = (gaussian_filter(part, blur) for part in (water, fat * level["fat"]))
    image = np.abs(water - fat) if contrast == "opposed" else water + fat
    field = rng.uniform(0.1, 0.45) * smooth_noise(labels.shape, 40, rng)
    image = image * np.exp(field * 0.5)
    std = rng.uniform(*RICIAN)
    real, imaginary = (rng.normal(0, std, image.shape).astype(np.float32) for _ in range(2))
    image = np.hypot(image + real, imaginary)
    most = np.percentile(image[body], 99.5)
    return np.clip(image / max(most, 1.0) * 255, 0, 255).astype(np.uint8)


def _put(fat: np.ndarray, water: np.ndarray, mask: np.ndarray, value: float) -> None:
    """Tissue of water in the place of fat."""
    fat[mask], water[mask] = 0, value


def _put_organs(
    fat: np.ndarray,
    water: np.ndarray,
    labels: np.ndarray,
    structures: Mapping[int, str],
    like: str,
    fluid: float,
    rng: np.random.Generator,
) -> None:
    """Every structure with the grey of its tissue, in place; hollow organs with fluid and gas inside."""
    texture = smooth_noise(labels.shape, 2.5, rng)
    drawn = [rng.uniform(*row[like]) for row in TISSUES["mr"]["rows"]]
    for i, structure in sorted(structures.items()):
        mask = labels == i
        if not mask.any():
            continue
        number, row = _row_of(structure)
        value = drawn[number] + rng.normal(0, 5)
        fat[mask] = 0
        water[mask] = np.maximum(0, value + row["texture"] * texture[mask])
        if row.get("contents"):
            inside = binary_erosion(mask)
            kind = smooth_noise(labels.shape, 3, rng)
            water[inside] = fluid if rng.random() < 0.5 else rng.uniform(20, 200)
            water[inside & (kind > rng.uniform(-0.3, 1.8))] = 3.0


def _row_of(structure: str) -> tuple[int, dict[str, Any]]:
    rows = TISSUES["mr"]["rows"]
    return next((n, r) for n, r in enumerate(rows) if structure.startswith(tuple(r["names"])))


def _thin(given: LabelMap) -> LabelMap:
    """The label map with voxels as coarse as the images are drawn."""
    at, spacing = thinned(given.spacing_dhw_mm)
    return replace(given, labels=given.labels[at], spacing_dhw_mm=spacing)

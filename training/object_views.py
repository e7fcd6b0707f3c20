"""Views for the head that tells objects apart: drawn cells, and crops of labelled ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from vesal.inference.families.network_input import image_channels, intensity_statistics
from vesal.inference.geometry.fit import fit_view
from vesal.inference.geometry.resample import labels_to_view, to_view
from vesal.inference.geometry.views import Box, Triple, triple
from vesal.inference.io.formats import read_case
from vesal.inference.prompts.parser import parse_prompts
from vesal.training.augment import intensity
from vesal.training.cells import LEAST_VOXELS, drawn_cells
from vesal.training.object_targets import border_distance, touching_faces

NUCLEUS, CELL = "cell nucleus", "cell"
TISSUE = 0.9
"""Share of a volume from which on objects are whole cells, whatever they are called: nuclei do not fill a
tissue."""
REAL_SHARE = 0.3
"""Share of the views that show labelled volumes, where there are some."""
CELLS_SHARE = 0.15
"""Share of drawn views that are asked for as whole cells."""
VIEW_VOXELS = (60_000, 120_000)
"""Of a view of a labelled volume."""
MOST_VOXELS = 300_000
"""Of a view of a drawn volume, which is seen as it is; its sides are rounded up."""


@dataclass(frozen=True)
class ObjectVolume:
    """A volume in which every object has its own label."""

    image: np.ndarray
    """(D, H, W) uint8"""
    labels: np.ndarray
    """(D, H, W) unsigned"""
    spacing_dhw_mm: Triple
    concept: str
    statistics: tuple[float, float]
    """of the image, see ``intensity_statistics``"""
    inner: np.ndarray
    """(D, H, W) float32, see ``border_distance``"""

    @classmethod
    def of(cls, image: np.ndarray, labels: np.ndarray, spacing_dhw_mm: Triple, concept: str) -> ObjectVolume:
        """A volume of its image and labels (D, H, W)."""
        inner = border_distance(labels, spacing_dhw_mm)
        return cls(image, labels, spacing_dhw_mm, concept, intensity_statistics(image), inner)


@dataclass(frozen=True)
class ObjectView:
    """One view, thick axis first; arrays (1, 1, d, h, w) but for the image."""

    image: torch.Tensor
    """(1, 2, d, h, w) float32"""
    objects: torch.Tensor
    """float32, 0 or 1"""
    inner: torch.Tensor
    """float32, see ``border_distance``"""
    faces: torch.Tensor
    """bool, see ``touching_faces``"""
    concept: str
    degree: int


def read_object_volumes(folder: Path) -> list[ObjectVolume]:
    """The instance volumes among ``folder/*.npz``; one of a single label is split into its components."""
    return [volume for path in sorted(folder.glob("*.npz")) if (volume := _read(path)) is not None]


def _read(path: Path) -> ObjectVolume | None:
    import cc3d

    case = read_case(path)
    prompts, _ = parse_prompts(case.sentences, name=case.name, image=case.image, encoder=None)
    known = [p.concept for p in prompts if p.concept in (NUCLEUS, CELL)]
    if not case.instance or not known:
        return None
    with np.load(path) as archive:
        labels = archive["gts"]
    labels = cc3d.connected_components(labels, connectivity=6)
    stays = np.bincount(labels.ravel()) >= LEAST_VOXELS
    stays[0] = False
    labels = np.where(stays, np.cumsum(stays), 0).astype(np.uint32)[labels]
    concept = CELL if (labels > 0).mean() > TISSUE else known[0]
    return ObjectVolume.of(case.image, labels, case.spacing_dhw_mm, str(concept))


def object_views(
    volumes: Sequence[ObjectVolume], seed: int, first: int = 0, every: int = 1
) -> Iterator[ObjectView]:
    """Endless views: the ``first``, and each ``every`` further; the n-th of a seed is always the same."""
    number = first
    while True:
        rng = np.random.default_rng([seed, number])
        number += every
        if volumes and rng.random() < REAL_SHARE:
            yield view_of(volumes[int(rng.integers(len(volumes)))], rng)
            continue
        drawn = next(drawn_cells(int(rng.integers(1 << 31))))
        concept = CELL if rng.random() < CELLS_SHARE else NUCLEUS
        drawn_volume = ObjectVolume.of(drawn.image, drawn.labels, drawn.spacing_dhw_mm, concept)
        yield view_of(drawn_volume, rng, False)


def view_of(volume: ObjectVolume, rng: np.random.Generator, crops: bool = True) -> ObjectView:
    """A random part of a volume, mirrored and with its axes exchanged where they are equally long; where
    ``crops`` is false, the whole of it and no other intensities.
    """
    shape, spacing = volume.image.shape, volume.spacing_dhw_mm
    voxels = int(rng.uniform(*VIEW_VOXELS))
    box = _part(volume, voxels, rng) if crops else Box((0.0, 0.0, 0.0), triple(map(float, shape)))
    view = fit_view(box, spacing, voxels if crops else MOST_VOXELS, min(spacing) * _coarser(rng, crops))
    image = to_view(volume.image, view)
    if crops:
        image = intensity(image, rng)
    labels = labels_to_view(volume.labels, view)
    inner = labels_to_view(volume.inner, view)
    axes, flips = _pose(view.thick_axis, view.degree, rng)
    image, labels, inner = (
        np.ascontiguousarray(np.flip(each.transpose(axes), flips)) for each in (image, labels, inner)
    )
    channels = image_channels(image, volume.statistics)
    told = [(labels > 0).astype(np.float32), inner, touching_faces(labels)]
    objects, inside, faces = (torch.from_numpy(each)[None, None] for each in told)
    return ObjectView(torch.from_numpy(channels)[None], objects, inside, faces, volume.concept, view.degree)


def _coarser(rng: np.random.Generator, crops: bool) -> float:
    """Factor on the finest spacing that a view may have; a third of the labelled ones are seen coarser."""
    return float(rng.uniform(1, 1.8)) if crops and rng.random() < 0.35 else 1.0


def _part(volume: ObjectVolume, voxels: int, rng: np.random.Generator) -> Box:
    """A box with about so many voxels, or the whole axis where it is shorter."""
    shape, spacing = np.array(volume.image.shape), np.array(volume.spacing_dhw_mm)
    side_mm = (voxels * spacing.prod()) ** (1 / 3) * float(rng.uniform(0.7, 1.3))
    sides = np.minimum(np.maximum(side_mm / spacing, 8), shape)
    start = rng.uniform(0, 1, 3) * (shape - sides)
    return Box(triple(start), triple(start + sides))


def _pose(
    thick_axis: int, degree: int, rng: np.random.Generator
) -> tuple[tuple[int, int, int], tuple[int, ...]]:
    """The order of axes, the thick one first, and which of them are mirrored."""
    rest = [a for a in range(3) if a != thick_axis]
    axes = [thick_axis, *rng.permutation(rest).tolist()]
    if degree == 0:
        axes = rng.permutation(axes).tolist()
    flips = tuple(a for a in range(3) if rng.random() < 0.5)
    return (axes[0], axes[1], axes[2]), flips

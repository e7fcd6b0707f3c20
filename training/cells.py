"""Drawn volumes of cells and nuclei that touch: what teaches a network to tell objects apart.

Labelled volumes with touching objects are few, and their labels cost days each. Ellipsoids of many sizes are
packed as loosely or tightly as is drawn, bent by a smooth field, and where two would overlap a voxel belongs
to the one in which it lies deeper, so they touch along a face. Then every cell gets its grey level, texture
and rim, and the whole an uneven background, a point spread, and photon and camera noise. Centres lie outside
of the volume too, so cells are clipped at its borders. The slices may be thicker than the pixels. (Networks
that were trained on drawn nuclei hold on real ones: Svoboda and Ulman 2017; Weigert et al. 2020.)
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter, zoom

from vesal.inference.geometry.views import Triple
from vesal.training.gaps import gaps

VOXELS = (40_000, 110_000)
"""Of a volume, about what a microscopy view has."""
RADII = (2.3, 13.0)
"""Mean radius in pixels of the plane, drawn evenly on a logarithmic scale."""
FILLED = (0.03, 0.65)
"""Share of a volume that its cells take, as far as they find room."""
THICK = (1.5, 4.0)
"""Thickness of slices in pixels, in ``THICK_SHARE`` of the volumes; 1 in the others."""
THICK_SHARE = 0.3
MOST_CELLS = 1500
TRIES = 12
"""Places tried for a cell before it is given up."""
LEAST_VOXELS = 8
"""Of a cell that is labelled, unless it is clipped by the border."""


@dataclass(frozen=True)
class Cells:
    """One drawn volume."""

    image: np.ndarray
    """(D, H, W) uint8"""
    labels: np.ndarray
    """(D, H, W) uint16: 1..n, every cell another; 0 is background"""
    spacing_dhw_mm: Triple
    """in pixels of the plane, as microscopy without a scale has it"""


def drawn_cells(seed: int) -> Iterator[Cells]:
    """Endless volumes; the same seed gives the same ones."""
    number = 0
    while True:
        yield draw_cells(np.random.default_rng([seed, number]))
        number += 1


def draw_cells(rng: np.random.Generator) -> Cells:
    """One volume of cells."""
    spacing = _spacing(rng)
    shape = _shape(spacing, rng)
    radius = math.exp(rng.uniform(math.log(RADII[0]), math.log(RADII[1])))
    labels, depth = _packed(shape, spacing, radius, rng)
    labels = _numbered(labels)
    return Cells(_photographed(labels, depth, spacing, radius, rng), labels, spacing)


def _spacing(rng: np.random.Generator) -> Triple:
    thick = float(rng.uniform(*THICK)) if rng.random() < THICK_SHARE else 1.0
    return thick, 1.0, 1.0


def _shape(spacing: Triple, rng: np.random.Generator) -> tuple[int, int, int]:
    """(D, H, W) of sides that differ by up to a factor of two."""
    sides = np.exp(rng.uniform(-0.35, 0.35, 3)) / spacing
    sides *= (rng.uniform(*VOXELS) / sides.prod()) ** (1 / 3)
    d, h, w = (max(8, round(float(n))) for n in sides)
    return d, h, w


def _packed(
    shape: tuple[int, int, int], spacing: Triple, radius: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """(D, H, W) int32 cells, 0 is none; and how deep a voxel lies in its own, 1 in the middle, 0 outside."""
    size = np.array(shape) * spacing
    bent = _bent_places(shape, spacing, radius, rng)
    labels, depth = np.zeros(shape, np.int32), np.zeros(shape, np.float32)
    closeness, spread = float(rng.uniform(0.55, 1.05)), float(rng.uniform(0.05, 0.35))
    longest = float(rng.uniform(1.0, 2.2))
    clustered = float(rng.choice([0.0, rng.uniform(0.3, 0.95)]))
    wanted = float(rng.uniform(*FILLED)) * labels.size
    centres, radii, taken, failed = np.zeros((0, 3)), np.zeros(0), 0, 0
    while taken < wanted and len(centres) < MOST_CELLS and failed < TRIES:
        own = radius * math.exp(rng.normal(0, spread))
        centre = _place(size, centres, radii, own, closeness, clustered, rng)
        if centre is None:
            failed += 1
            continue
        axes = own * _axes(longest, rng)
        centres, radii = np.vstack([centres, centre]), np.append(radii, own)
        taken += _add(labels, depth, bent, spacing, centre, axes, _turn(rng), len(centres))
    return labels, depth


def _place(
    size: np.ndarray,
    centres: np.ndarray,
    radii: np.ndarray,
    own: float,
    closeness: float,
    clustered: float,
    rng: np.random.Generator,
) -> np.ndarray | None:
    """A centre that is far enough from all others, often beside one of them; None where none was found."""
    for _ in range(TRIES):
        if len(centres) and rng.random() < clustered:
            beside = int(rng.integers(len(centres)))
            way = rng.normal(size=3)
            away = (radii[beside] + own) * closeness * float(rng.uniform(1.0, 1.15))
            centre = centres[beside] + way / np.linalg.norm(way) * away
        else:
            centre = rng.uniform(-0.6 * own, size + 0.6 * own)
        if (centre < -0.6 * own).any() or (centre > size + 0.6 * own).any():
            continue
        distance = np.linalg.norm(centres - centre, axis=1)
        if (distance >= closeness * (radii + own) * 0.999).all():
            return centre
    return None


def _axes(longest: float, rng: np.random.Generator) -> np.ndarray:
    """(3,) half axes of an ellipsoid with the volume of a unit ball."""
    axes = np.exp(rng.uniform(-0.5, 0.5, 3) * math.log(longest))
    return axes / axes.prod() ** (1 / 3)


def _turn(rng: np.random.Generator) -> np.ndarray:
    """(3, 3) a rotation."""
    q, r = np.linalg.qr(rng.normal(size=(3, 3)))
    return q * np.sign(np.diag(r))


def _bent_places(
    shape: tuple[int, int, int], spacing: Triple, radius: float, rng: np.random.Generator
) -> np.ndarray:
    """(3, D, H, W) float32: where each voxel's centre lies, moved by a smooth field; shapes are thus bent."""
    places = np.stack(
        np.meshgrid(
            *((np.arange(n, dtype=np.float32) + 0.5) * s for n, s in zip(shape, spacing, strict=True)),
            indexing="ij",
        )
    )
    amount, wave = float(rng.uniform(0, 0.35)) * radius, radius * float(rng.uniform(0.8, 2.0))
    for axis in range(3):
        places[axis] += amount * _smooth(shape, spacing, wave, rng)
    return places


def _add(
    labels: np.ndarray,
    depth: np.ndarray,
    places: np.ndarray,
    spacing: Triple,
    centre: np.ndarray,
    axes: np.ndarray,
    turn: np.ndarray,
    label: int,
) -> int:
    """Write an ellipsoid where it lies deeper than in any other, in place; voxels that were free before."""
    reach = axes.max() * 1.6
    low = np.floor((centre - reach) / spacing).astype(int).clip(0, labels.shape)
    high = np.ceil((centre + reach) / spacing).astype(int).clip(0, labels.shape)
    at = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    if labels[at].size == 0:
        return 0
    away = places[(slice(None), *at)] - centre[:, None, None, None]
    scaled = np.tensordot((turn / axes).T, away, 1)
    inside = 1 - np.sqrt((scaled**2).sum(0))
    mine = inside > depth[at]
    free = int(np.count_nonzero(mine & (labels[at] == 0)))
    labels[at][mine] = label
    depth[at][mine] = inside[mine]
    return free


def _numbered(labels: np.ndarray) -> np.ndarray:
    """(D, H, W) uint16 of the same cells, 1..n, each of one 6-connected piece; crumbs go."""
    import cc3d

    parts = cc3d.connected_components(labels.astype(np.uint32), connectivity=6)
    sizes = np.bincount(parts.ravel())
    inner = tuple(slice(1, -1) for _ in range(3))
    clipped = np.ones(len(sizes), bool)
    clipped[np.unique(parts[inner])] = False
    stays = (sizes >= LEAST_VOXELS) | clipped
    stays[0] = False
    return np.where(stays, np.cumsum(stays), 0).astype(np.uint16)[parts]


def _photographed(
    labels: np.ndarray, depth: np.ndarray, spacing: Triple, radius: float, rng: np.random.Generator
) -> np.ndarray:
    """(D, H, W) uint8."""
    shape = labels.shape
    count = int(labels.max())
    low, dim = float(rng.uniform(0.02, 0.35)), float(rng.uniform(0.25, 1.0))
    levels = np.concatenate([[0.0], rng.uniform(dim, 1.0, count)]).astype(np.float32)
    image = levels[labels] * (1 - low)
    for wave in (radius * 0.15, radius * 0.5):
        image *= 1 + float(rng.uniform(0, 0.35)) * _smooth(shape, spacing, max(wave, 0.8), rng)
    rim = float(rng.choice([0.0, rng.uniform(-0.5, 0.8)]))
    image *= 1 - rim * (1 - np.clip(depth, 0, 1)) ** 2
    if rng.random() < 0.3:  # a gap between cells that is thinner than a voxel
        image[gaps(labels)] *= float(rng.uniform(0.3, 0.9))
    if rng.random() < 0.15:
        image[labels > 0] *= 1 - float(rng.uniform(0.3, 0.7)) * (depth[labels > 0] > 0.55)  # hollow
    background = 1 + float(rng.uniform(0, 0.6)) * _smooth(shape, spacing, 2.5 * radius, rng)
    image = image.clip(0) + low * background.clip(0)
    sigma = float(rng.uniform(0.3, 1.2)) * min(1.0, radius / 4)
    image = gaussian_filter(image, [sigma * float(rng.uniform(1, 2)) / spacing[0], sigma, sigma])
    if rng.random() < 0.08:
        image = image.max() - image
    photons = math.exp(rng.uniform(math.log(15), math.log(400)))
    image = rng.poisson(image.clip(0) * photons) / photons + rng.normal(0, rng.uniform(0.0, 0.06), shape)
    if rng.random() < 0.3:
        image = gaussian_filter(image, float(rng.uniform(0.3, 0.7)))
    first, last = np.percentile(image, [rng.uniform(0.0, 2.0), rng.uniform(98.5, 100.0)])
    grey = ((image - first) / max(float(last - first), 1e-6)).clip(0, 1) ** math.exp(rng.uniform(-0.5, 0.5))
    return (255 * grey * float(rng.uniform(0.6, 1.0))).astype(np.uint8)


def _smooth(shape: tuple[int, ...], spacing: Triple, wave: float, rng: np.random.Generator) -> np.ndarray:
    """(D, H, W) float32 smooth noise of about mean 0 and deviation 1; ``wave`` in pixels of the plane."""
    knots = [max(2, math.ceil(n * s / wave) + 1) for n, s in zip(shape, spacing, strict=True)]
    noise = rng.normal(size=knots).astype(np.float32)
    grown = zoom(
        noise, [n / k for n, k in zip(shape, knots, strict=True)], order=1, mode="nearest", grid_mode=True
    )
    return (1.4 * grown).astype(np.float32)

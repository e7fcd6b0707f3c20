"""Volumes with thicker slices than they were scanned with: for scans that are coarser than any trained on.

A thick slice is the mean of what it covers, as a scanner's is, and its labels are those of its middle; so
kernels that collapse along the thick axis (SPAD-Nets) are learnt for every set, not only for those that lie
in thick slices already.
"""

from __future__ import annotations

import math

import numpy as np

from vesal.inference.geometry.fit import through_plane_axis
from vesal.inference.geometry.views import Triple, triple
from vesal.training.store import WHOLE, Volume, shown_as

TIMES = (2, 3, 4, 6, 8)
"""How many slices become one."""
FEWEST = 4
"""Slices that are left at least."""


def thicker(
    volume: Volume, rng: np.random.Generator, least_mm: float = 0.0, most_mm: float = math.inf
) -> Volume:
    """The volume with slices so many times as thick, drawn from those of ``TIMES`` that make them
    ``least_mm`` to ``most_mm`` thick; read whole, and kept in memory.

    Targets that no middle of a slice shows are left out. The same object where too few slices or no target
    would be left, or no such thickness is reached.
    """
    axis = through_plane_axis(volume.spacing_dhw_mm)
    slices, apart_mm = volume.image.shape[axis], volume.spacing_dhw_mm[axis]
    possible = [n for n in TIMES if slices >= FEWEST * n and least_mm <= n * apart_mm <= most_mm]
    if not possible:
        return volume
    times = possible[int(rng.integers(len(possible)))]
    image, labels, spacing = thick_slices(
        volume.image[WHOLE], volume.labels[WHOLE], volume.spacing_dhw_mm, times
    )
    present = set(np.unique(labels).tolist())
    targets = tuple(t for t in volume.targets if t.label in present)
    if not targets:
        return volume
    return shown_as(volume, image, labels, spacing, targets)


def thick_slices(
    image: np.ndarray, labels: np.ndarray, spacing_dhw_mm: Triple, times: int
) -> tuple[np.ndarray, np.ndarray, Triple]:
    """An image (D, H, W) uint8 and its labels (D, H, W) with ``times`` slices made one, and the new spacing.

    Each is the mean of ``times`` slices around its middle, whose labels it has: of an even number the two at
    the ends count half, as else image and labels would lie half a slice apart. What is left of the last one
    is a slice of its own.
    """
    axis = through_plane_axis(spacing_dhw_mm)
    n, half = image.shape[axis], times // 2
    middles = np.minimum(np.arange(0, n, times) + half, n - 1)
    along = [-1 if a == axis else 1 for a in range(3)]
    sums = np.zeros([len(middles) if a == axis else m for a, m in enumerate(image.shape)], np.float32)
    shares = np.zeros(len(middles), np.float32)
    for offset in range(-half, half + 1):
        at = middles + offset
        share = np.where((at >= 0) & (at < n), 1.0 if times % 2 or abs(offset) < half else 0.5, 0.0)
        sums += np.take(image, at.clip(0, n - 1), axis) * share.astype(np.float32).reshape(along)
        shares += share
    thick = (sums / shares.reshape(along)).round().clip(0, 255).astype(np.uint8)
    spacing = triple(s * times if a == axis else s for a, s in enumerate(spacing_dhw_mm))
    return thick, np.take(labels, middles, axis), spacing

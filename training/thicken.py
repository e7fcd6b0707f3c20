"""Volumes with thicker slices than they were scanned with: for scans that are coarser than any trained on.

A thick slice is the mean of what it covers, as a scanner's is, and its labels are those of its middle; so
kernels that collapse along the thick axis (SPAD-Nets) are learnt for every set, not only for those that lie
in thick slices already.
"""

from __future__ import annotations

import numpy as np

from vesal.inference.geometry.fit import DEGREE_RATIOS
from vesal.inference.geometry.views import Triple, triple
from vesal.training.store import Volume, labelled

TIMES = (2, 3, 4, 6, 8)
"""How many slices become one."""
FEWEST = 4
"""Slices that are left at least."""


def thicker(volume: Volume, rng: np.random.Generator) -> Volume:
    """The volume with slices so many times as thick, drawn from ``TIMES``; read whole, and kept in memory.

    Targets that no middle of a slice shows are left out. The same object where too few slices or no target
    would be left.
    """
    slices = volume.image.shape[slice_axis(volume.spacing_dhw_mm)]
    possible = [times for times in TIMES if slices >= FEWEST * times]
    if not possible:
        return volume
    times = possible[int(rng.integers(len(possible)))]
    everything = (slice(None), slice(None), slice(None))
    image, labels, spacing = thick_slices(
        volume.image[everything], volume.labels[everything], volume.spacing_dhw_mm, times
    )
    present = set(np.unique(labels).tolist())
    targets = tuple(t for t in volume.targets if t.label in present)
    if not targets:
        return volume
    return labelled(volume.name, volume.dataset, image, labels, spacing, targets, volume.instance)


def slice_axis(spacing_dhw_mm: Triple) -> int:
    """The axis across the slices: that of the longest voxels where these are clearly thicker, else D.

    In-plane voxels of 4 mm beside slices of 2.5 mm make no thick axis.
    """
    axis = int(np.argmax(spacing_dhw_mm))
    return axis if spacing_dhw_mm[axis] >= DEGREE_RATIOS[0] * min(spacing_dhw_mm) else 0


def thick_slices(
    image: np.ndarray, labels: np.ndarray, spacing_dhw_mm: Triple, times: int
) -> tuple[np.ndarray, np.ndarray, Triple]:
    """An image (D, H, W) uint8 and its labels (D, H, W) with ``times`` slices made one, and the new spacing.

    What is left of the last one is a slice of its own.
    """
    axis = slice_axis(spacing_dhw_mm)
    n = image.shape[axis]
    starts = np.arange(0, n, times)
    counts = np.diff(np.append(starts, n)).reshape([-1 if a == axis else 1 for a in range(3)])
    sums = np.add.reduceat(image, starts, axis, dtype=np.uint32).astype(np.float32)
    thick = (sums / counts.astype(np.float32)).round().clip(0, 255).astype(np.uint8)
    spacing = triple(s * times if a == axis else s for a, s in enumerate(spacing_dhw_mm))
    return thick, np.take(labels, np.minimum(starts + times // 2, n - 1), axis), spacing

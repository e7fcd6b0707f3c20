"""Grey levels as SegVol sees them, and the part of a volume that it looks at.

As released: normalised by the voxels above the mean, clipped to their percentiles 0.05 and 99.95, brought to
0..1, cut to the box of what is above 0. Before it is cut the volume is filled with zeros up to one window,
which the cut takes away again, so that step is left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from vesal.inference.geometry.views import Sides

PERCENTILES = 0.05, 99.95
"""Of the foreground, between which grey levels are clipped, as released (the paper names none)."""
LEAST_STD = 1e-8
SLAB_VOXELS = 1 << 22
LEVELS = 256


@dataclass(frozen=True)
class Grey:
    """Maps a volume's numbers to 0..1."""

    low: float
    """percentile that is clipped to, or the volume's lowest number if that is higher: becomes 0"""
    high: float
    """the same of the other end: becomes 1"""
    mean: float
    """of the foreground, not clipped"""
    std: float
    """the same, not below 1e-8"""

    def __call__(self, numbers: np.ndarray) -> np.ndarray:
        """Any numbers to float32 0..1, of the same shape; all 0 where the volume has one level only."""
        if self.high <= self.low:
            return np.zeros(numbers.shape, np.float32)
        values = np.clip(numbers.astype(np.float64), self.low, self.high)
        values -= self.mean
        values /= self.std
        first, last = ((end - self.mean) / self.std for end in (self.low, self.high))
        values -= first
        values /= last - first
        return values.astype(np.float32)


@dataclass(frozen=True)
class Seen:
    """What has to be known of a whole volume."""

    grey: Grey
    start: Sides
    """first voxel (D, H, W) of the part that is looked at"""
    shape: Sides
    """of that part"""


def look_at(volume: np.ndarray) -> Seen:
    """Measure a volume (D, H, W) of any real type. One without foreground is seen whole, and all 0."""
    grey = _grey_of_bytes(volume) if volume.dtype == np.uint8 else _grey(volume)
    start, shape = _box_above(volume, grey.low)
    return Seen(grey, start, shape)


def _grey(volume: np.ndarray) -> Grey:
    foreground = volume[volume > np.mean(volume)]
    if not foreground.size:
        return Grey(0.0, 0.0, 0.0, 1.0)
    low, high = np.percentile(foreground, PERCENTILES)
    lowest, highest = float(volume.min()), float(volume.max())
    ends = min(max(lowest, float(low)), float(high)), max(min(highest, float(high)), float(low))
    return Grey(*ends, float(np.mean(foreground)), max(float(np.std(foreground)), LEAST_STD))


def _grey_of_bytes(volume: np.ndarray) -> Grey:
    """The same from the numbers of voxels of each level, without a copy of the foreground."""
    counts = np.zeros(LEVELS, np.int64)
    for part in _slabs(volume):
        counts += np.bincount(part.ravel(), minlength=LEVELS)
    levels = np.arange(LEVELS)
    there = levels[counts > 0]
    above = np.where(levels > (counts @ levels) / volume.size, counts, 0)
    total = int(above.sum())
    if not total:
        return Grey(0.0, 0.0, 0.0, 1.0)
    low, high = (_percentile(above, total, share) for share in PERCENTILES)
    mean = float(above @ levels) / total
    std = float(np.sqrt(above @ (levels - mean) ** 2 / total))
    ends = min(max(float(there[0]), low), high), max(min(float(there[-1]), high), low)
    return Grey(*ends, mean, max(std, LEAST_STD))


def _percentile(counts: np.ndarray, total: int, percent: float) -> float:
    """Linear between the two nearest ranks, as numpy has it."""
    place = percent / 100 * (total - 1)
    ends = np.cumsum(counts)
    a, b = (
        int(np.searchsorted(ends, rank, "right")) for rank in (int(place), min(int(place) + 1, total - 1))
    )
    return a + (b - a) * (place - int(place))


def _box_above(volume: np.ndarray, low: float) -> tuple[Sides, Sides]:
    """First voxel and shape of the box of all voxels above a number; of the whole volume if none is."""
    hits = [np.zeros(n, bool) for n in volume.shape]
    first = 0
    for part in _slabs(volume):
        mask = np.asarray(part > low)
        hits[0][first : first + len(part)] = mask.any((1, 2))
        rows = np.asarray(mask.any(0))
        hits[1] |= rows.any(1)
        hits[2] |= rows.any(0)
        first += len(part)
    ends = [np.flatnonzero(hit) for hit in hits]
    if not all(end.size for end in ends):
        d, h, w = volume.shape
        return (0, 0, 0), (d, h, w)
    a, b, c = (int(end[0]) for end in ends)
    d, h, w = (int(end[-1]) + 1 - n for end, n in zip(ends, (a, b, c), strict=True))
    return (a, b, c), (d, h, w)


def _slabs(volume: np.ndarray) -> Iterator[np.ndarray]:
    """Some planes at a time."""
    step = max(1, SLAB_VOXELS // max(1, volume[0].size))
    return (volume[first : first + step] for first in range(0, len(volume), step))

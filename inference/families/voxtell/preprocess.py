"""What VoxTell sees of a volume: the box of what is not 0, its numbers less their mean over their deviation.

As released: one rule for every modality, no window of grey levels, no resampling. The released box is that of
the same voxels with their holes filled, which is no larger.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from vesal.inference.geometry.views import Box, whole
from vesal.inference.runtime.threads import in_parallel, in_slabs

LEAST_STD = 1e-8
"""Floor of the deviation, as released."""
SLAB_VOXELS = 1 << 20


@dataclass(frozen=True)
class Numbers:
    """Of all voxels of the box, what they are normalised by."""

    mean: float
    std: float
    """not below ``LEAST_STD``"""

    def normalise(self, values: np.ndarray) -> np.ndarray:
        """Float32 of any shape, in place; as released in 32 bits."""
        values -= np.float32(self.mean)
        values /= np.float32(self.std)
        return values


def nonzero_box(volume: np.ndarray) -> Box:
    """The box of all voxels (D, H, W) that are not 0, in voxel edges; the whole volume where all are."""

    def hits(slab: slice) -> np.ndarray:
        return np.asarray(volume[slab].any(0))

    plane = math.prod(volume.shape[1:])
    planes = np.asarray(volume.any((1, 2)))
    columns = np.logical_or.reduce(in_parallel(hits, in_slabs(len(volume), SLAB_VOXELS // max(1, plane))))
    found = [np.flatnonzero(side) for side in (planes, columns.any(1), columns.any(0))]
    if not all(side.size for side in found):
        return whole((volume.shape[0], volume.shape[1], volume.shape[2]))
    d, h, w = (float(side[0]) for side in found)
    a, b, c = (float(side[-1] + 1) for side in found)
    return Box((d, h, w), (a, b, c))


def measure(volume: np.ndarray) -> Numbers:
    """Of the box of what is not 0 of (D, H, W) real numbers, see ``moments``."""
    box = nonzero_box(volume)
    d, h, w = (slice(int(a), int(b)) for a, b in zip(box.start, box.stop, strict=True))
    return moments(volume[d, h, w])


def moments(part: np.ndarray) -> Numbers:
    """Mean and standard deviation of all real numbers (d, h, w), in 64 bits."""
    mean = _mean(part, lambda values: values)
    variance = _mean(part, lambda values: (values - mean) ** 2)
    return Numbers(mean, max(math.sqrt(variance), LEAST_STD))


def _mean(part: np.ndarray, of: Callable[[np.ndarray], np.ndarray]) -> float:
    """The mean of what ``of`` makes of the numbers (d, h, w), some planes at a time in a fixed order."""
    planes = max(1, SLAB_VOXELS // max(1, math.prod(part.shape[1:])))
    sums = in_parallel(
        lambda slab: float(of(part[slab].astype(np.float64)).sum()), in_slabs(len(part), planes)
    )
    return math.fsum(sums) / part.size

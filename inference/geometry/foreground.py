"""The part of a volume that holds something: scans come with much air around the body.

The coarse stage sees a volume on a fixed number of voxels, so what is cut off here makes its voxels finer:
half of a head's volume, a third of an abdomen's.
"""

from __future__ import annotations

import numpy as np

from vesal.inference.geometry.views import Box, triple

AIR = 10
"""Grey value up to which a voxel counts as empty."""
LEAST_SHARE = 0.002
"""Share of a slice that must be above ``AIR`` for the slice to count: specks of noise and tables do not."""
MARGIN = 0.02
"""Share of each side that is left around what was found."""
SAMPLES = 1 << 21
"""About so many voxels are used; every n-th of each axis in a larger volume."""


def foreground_box(image: np.ndarray) -> Box:
    """The box of ``image`` (D, H, W) uint8 that holds all slices with something in them, in voxel edges.

    The whole volume where nothing is above ``AIR``.
    """
    stride = max(1, round((image.size / SAMPLES) ** (1 / 3)))
    bright = np.asarray(image[::stride, ::stride, ::stride]) > AIR
    start, stop = [], []
    for axis, n in enumerate(image.shape):
        share = bright.mean(tuple(a for a in range(3) if a != axis))
        found = np.flatnonzero(share > LEAST_SHARE)
        first, last = (int(found[0]), int(found[-1]) + 1) if found.size else (0, len(share))
        start.append(max(0.0, (first - 1) * stride - MARGIN * n if first else 0.0))
        stop.append(min(float(n), (last + 1) * stride + MARGIN * n if last < len(share) else float(n)))
    return Box(triple(start), triple(stop))

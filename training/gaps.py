"""Where objects touch: a line one voxel wide, so that their mask is as many pieces as there are objects."""

from __future__ import annotations

import numpy as np


def gaps(labels: np.ndarray) -> np.ndarray:
    """Of labels (D, H, W), a number an object, the voxels whose next one along an axis is another's: bool."""
    found = np.zeros(labels.shape, bool)
    for axis in range(labels.ndim):
        planes = np.moveaxis(labels, axis, 0)
        here, there = planes[:-1], planes[1:]
        np.moveaxis(found, axis, 0)[:-1] |= (here != there) & (here > 0) & (there > 0)
    return found


def apart(labels: np.ndarray) -> np.ndarray:
    """The mask of all objects, (D, H, W) uint8 of 0 and 1, with ``gaps`` between those that touch."""
    return ((labels > 0) & ~gaps(labels)).astype(np.uint8)

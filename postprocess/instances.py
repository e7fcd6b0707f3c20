"""Rule ``instances``: a label map split into 6-connected objects, numbered by size."""

from __future__ import annotations

import numpy as np

from vesal.postprocess.checks import require_ndim
from vesal.postprocess.rule import Count, MapRule

# The scorer casts ids to uint8: a 256th object would become background (docs/design.md, The contract).
MAX_INSTANCES = 255
SLAB_VOXELS = 1 << 20
"""Counted at once: 8 MB, and few slabs where an axis is long."""


class Instances(MapRule, frozen=True):
    """Give every object its own id where objects are wanted."""

    min_voxels: Count = 1
    """Objects with fewer voxels are dropped."""

    def split(self, labels: np.ndarray) -> np.ndarray:
        """(D, H, W) prompt ids -> (D, H, W) uint8; what touches is two objects where it is two prompts'."""
        return split_instances(labels, self.min_voxels)

    def number(self, pieces: np.ndarray, sizes: np.ndarray) -> np.ndarray:
        """(D, H, W) uint8: the largest of (D, H, W) ``pieces``, largest first; of equal ones the first."""
        return _ids_by_size(sizes, self.min_voxels, MAX_INSTANCES)[pieces]


def split_instances(mask: np.ndarray, min_voxels: int = 1, max_instances: int = MAX_INSTANCES) -> np.ndarray:
    """Give every 6-connected object of a mask its own id, largest first.

    Args:
        mask: (D,H,W) bool, or integers: what touches is two objects where its values differ.
        min_voxels: objects with fewer voxels are dropped; 1 keeps all.
        max_instances: objects kept, the largest ones; 1..255.

    Returns:
        (D,H,W) uint8 with ids 1..n by descending size, equal sizes in raster order of their first voxel; 0 is
        background. An empty mask gives zeros.

    Raises:
        ArrayShapeError: `mask` is not (D,H,W).
        ValueError: `max_instances` is outside 1..255.
    """
    require_ndim("mask", mask, 3, "(D,H,W)")
    if not 1 <= max_instances <= MAX_INSTANCES:
        raise ValueError(
            f"max_instances={max_instances}; wanted 1..{MAX_INSTANCES}, as ids are written as uint8"
        )
    if mask.size == 0:
        return np.zeros(mask.shape, dtype=np.uint8)
    import cc3d  # a profile is read without it

    box = tight_box(mask)
    # cc3d numbers in memory order: raster order breaks ties
    foreground = np.ascontiguousarray(mask[box])
    components, count = cc3d.connected_components(foreground, connectivity=6, return_N=True)
    sizes = _sizes(components, count)
    new_ids = _ids_by_size(sizes, min_voxels, max_instances)
    result = np.zeros(mask.shape, dtype=np.uint8)
    np.take(new_ids, components, out=result[box])
    return result


def _ids_by_size(sizes: np.ndarray, min_voxels: int, max_instances: int) -> np.ndarray:
    """(n + 1,) uint8: the new id of object 1..n by its voxels (n,); 0 where it is dropped."""
    order = np.argsort(-sizes, kind="stable")[:max_instances]
    order = order[sizes[order] >= min_voxels]
    new_ids = np.zeros(len(sizes) + 1, dtype=np.uint8)
    new_ids[order + 1] = np.arange(1, len(order) + 1, dtype=np.uint8)
    return new_ids


def hits_by_axis(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which planes along each axis of a (D,H,W) mask hold something: (D,), (H,) and (W,) bool."""
    below = np.any(mask, axis=0)
    return np.any(mask, axis=(1, 2)), np.any(below, axis=1), np.any(below, axis=0)


def tight_box(mask: np.ndarray) -> tuple[slice, slice, slice]:
    """The smallest box around what is not zero in (D,H,W); empty where nothing is."""
    sides = (np.flatnonzero(hit) for hit in hits_by_axis(mask))
    d, h, w = (slice(int(s[0]), int(s[-1]) + 1) if s.size else slice(0, 0) for s in sides)
    return d, h, w


def _sizes(components: np.ndarray, count: int) -> np.ndarray:
    """(count,) voxels of each component; counted by slabs, as bincount makes 64-bit numbers of each."""
    sizes = np.zeros(count + 1, np.int64)
    thickness = max(1, SLAB_VOXELS // max(1, components[:1].size))
    for first in range(0, len(components), thickness):
        slab = components[first : first + thickness]
        found = slab[slab > 0]
        if found.size:
            counts = np.bincount(found)
            sizes[: len(counts)] += counts
    return sizes[1:]

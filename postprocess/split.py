"""Split blob-like objects that touch: basins of the distance to the border, joined where the neck is wide.

A watershed without a queue. Every voxel points to its highest face neighbour, the pointers are followed to
the maxima, and basins are joined in the order of their saddles, the highest first, where the saddle is
nearly as high as the lower of the two maxima. That is a ratio, so there is no size to set: two balls are two
whether they measure five voxels or fifty. A basin is a tree of face neighbours, and so are two that meet at
a face and are joined: every object is 6-connected.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cc3d
import numpy as np

from postprocess.checks import require_ndim
from postprocess.instances import MOST_INSTANCES

# The distance is smoothed by this share of its component's largest one: a rough border has many small maxima.
# Of 0, 0.1, 0.2 and 0.3, the last left the fewest false objects in what the default weights predict on the
# training cases with nuclei.
SMOOTH = 0.3
# ... but by no more than this many of the smallest voxel sides: roughness is a matter of voxels, and time is.
MOST_SMOOTH_VOXELS = 3.0
# Voxels of all boxes together that distances are taken in, the largest components first. A distance transform
# needs some 40 bytes and a third of a microsecond a voxel; beyond this, components stay whole.
MOST_BOX_VOXELS = 1 << 25


@dataclass(frozen=True)
class SplitRules:
    """What decides which parts of a component are objects of their own."""

    neck: float = 0.65
    """Two parts stay apart where the smoothed distance is smaller in the neck between them than this share of
    the thinner part's. Equal balls of six voxels and more come apart from 1.8 radii between their centres."""

    least: float = 0.05
    """Objects below this share of the typical one's voxels are dropped. The typical object is the one that
    half of all voxels lie in objects no larger than."""


def split_touching(
    mask: np.ndarray,
    spacing_dhw_mm: Sequence[float],
    rules: SplitRules = SplitRules(),
    min_voxels: int = 1,
    most: int = MOST_INSTANCES,
) -> np.ndarray:
    """Give every blob of a mask its own id, largest first; blobs that touch are cut apart at their necks.

    Args:
        mask: (D,H,W) bool, or integers whose non-zero voxels are foreground. What lies beyond the volume
            counts as background.
        spacing_dhw_mm: sides of a voxel.
        rules: see `SplitRules`.
        min_voxels: objects with fewer voxels are dropped; 1 keeps all that the rules keep.
        most: objects kept, the largest ones; 1..255.

    Returns:
        (D,H,W) uint8 with 6-connected objects 1..n by descending size, 0 is background. Only voxels of the
        mask are set. An empty mask gives zeros.

    Raises:
        ArrayShapeError: `mask` is not (D,H,W).
        ValueError: `most` is outside 1..255, or the spacing is not three positive numbers.
    """
    require_ndim("mask", mask, 3, "(D,H,W)")
    if not 1 <= most <= MOST_INSTANCES:
        raise ValueError(f"most={most}; wanted 1..{MOST_INSTANCES}, as ids are written as uint8")
    if len(spacing_dhw_mm) != 3 or not all(0 < side < np.inf for side in spacing_dhw_mm):
        raise ValueError(f"spacing_dhw_mm={tuple(spacing_dhw_mm)}; wanted three positive numbers")
    result = np.zeros(mask.shape, np.uint8)
    if not mask.any():
        return result
    # A border of background: every voxel of the mask has six neighbours, and the volume's edge is a border.
    padded = np.pad(mask != 0, 1)
    components, count = cc3d.connected_components(padded, connectivity=6, return_N=True)
    foreground = np.flatnonzero(padded)
    objects = components.reshape(-1)[foreground].astype(np.int64)
    height = _heights(components, np.bincount(objects), spacing_dhw_mm, 2 * min_voxels)
    split = np.flatnonzero(height.reshape(-1)[foreground])
    objects[split] = 1 + count + _blobs(height, foreground[split], rules.neck)
    ids = _ids(np.bincount(objects), rules.least, min_voxels, most)
    written = np.zeros(padded.shape, np.uint8)
    written.reshape(-1)[foreground] = ids[objects]
    result[...] = written[1:-1, 1:-1, 1:-1]
    return result


def _ids(sizes: np.ndarray, least: float, min_voxels: int, most: int) -> np.ndarray:
    """(n,) uint8 new id of each object by its voxels, 0 where it is dropped."""
    ascending = np.sort(sizes)
    below = np.cumsum(ascending)
    typical = ascending[np.searchsorted(below, below[-1] / 2)]
    order = np.argsort(-sizes, kind="stable")[:most]
    order = order[sizes[order] >= max(min_voxels, least * typical, 1)]
    ids = np.zeros(len(sizes), np.uint8)
    ids[order] = np.arange(1, len(order) + 1)
    return ids


def _heights(
    components: np.ndarray, sizes: np.ndarray, spacing_dhw_mm: Sequence[float], least: int
) -> np.ndarray:
    """Float32 like padded ``components``: smoothed distance to the border where one is to be split, else 0.

    Only the largest components are looked at, as many as objects are kept, and none below ``least`` voxels.
    """
    from scipy.ndimage import find_objects

    height = np.zeros(components.shape, np.float32)
    boxes = find_objects(components)
    left = MOST_BOX_VOXELS
    for index in np.argsort(-sizes[1:], kind="stable")[:MOST_INSTANCES]:
        box = tuple(slice(side.start - 1, side.stop + 1) for side in boxes[index])
        left -= int(np.prod([side.stop - side.start for side in box]))
        if sizes[index + 1] < least or left < 0:
            break
        own = components[box] == index + 1
        height[box][own] = _distance(own, spacing_dhw_mm)[own]
    return height


def _distance(own: np.ndarray, spacing_dhw_mm: Sequence[float]) -> np.ndarray:
    """Float32 like ``own`` (bool): distance to the border in mm, smoothed, above 0 in every voxel of it."""
    from scipy.ndimage import distance_transform_edt, gaussian_filter

    distance = distance_transform_edt(own, sampling=spacing_dhw_mm).astype(np.float32)
    sigma_mm = min(SMOOTH * float(distance.max()), MOST_SMOOTH_VOXELS * min(spacing_dhw_mm))
    sigmas = [sigma_mm / side for side in spacing_dhw_mm]
    smooth = gaussian_filter(distance, sigmas, mode="constant", truncate=3)
    return np.maximum(smooth, np.finfo(np.float32).tiny)


def _blobs(height: np.ndarray, inside: np.ndarray, neck: float) -> np.ndarray:
    """(n,) number from 0 on of the blob of each voxel; ``inside``: their (n,) positions in ``height``."""
    if not inside.size:
        return np.zeros(0, np.int64)
    steps = (height.shape[1] * height.shape[2], height.shape[2], 1)
    own = height.reshape(-1)[inside]
    maxima, basin = np.unique(_climb(own, inside, steps, height.size), return_inverse=True)
    pairs, saddles = _saddles(own, basin, inside, steps, height.size)
    return _join(own[maxima].tolist(), pairs.tolist(), saddles.tolist(), neck)[basin]


def _climb(own: np.ndarray, inside: np.ndarray, steps: Sequence[int], size: int) -> np.ndarray:
    """(n,) which voxel of the list is the maximum above each; of equal heights the later one is higher."""
    order = np.argsort(own, kind="stable").astype(np.int32)
    ranks = np.empty(len(own), np.int32)
    ranks[order] = np.arange(1, len(own) + 1, dtype=np.int32)
    everywhere = np.zeros(size, np.int32)
    everywhere[inside] = ranks
    for step in steps:
        np.maximum(ranks, everywhere[inside - step], out=ranks)
        np.maximum(ranks, everywhere[inside + step], out=ranks)
    top = order[ranks - 1]
    while not np.array_equal(above := top[top], top):
        top = above
    return top


def _saddles(
    own: np.ndarray, basin: np.ndarray, inside: np.ndarray, steps: Sequence[int], size: int
) -> tuple[np.ndarray, np.ndarray]:
    """(m, 2) basins that share a face, the lower number first, and the (m,) height of the pass between them,
    the highest pass first.
    """
    position = np.full(size, -1, np.int32)
    position[inside] = np.arange(len(inside), dtype=np.int32)
    pairs, passes = [], []
    for step in steps:
        other = position[inside + step]
        here = np.flatnonzero((other >= 0) & (basin != basin[other]))
        there = other[here]
        pairs.append(np.sort(np.stack([basin[here], basin[there]], axis=1), axis=1))
        passes.append(np.minimum(own[here], own[there]))
    pair, height = np.concatenate(pairs), np.concatenate(passes)
    order = np.lexsort((pair[:, 1], pair[:, 0], -height))
    pair, height = pair[order], height[order]
    _, first = np.unique(pair[:, 0] * (int(basin.max()) + 1) + pair[:, 1], return_index=True)
    first.sort()
    return pair[first], height[first]


def _join(tops: list[float], pairs: list[list[int]], saddles: list[float], neck: float) -> np.ndarray:
    """(basins,) number of the object that each basin ends up in; passes come from the highest down."""
    parent = list(range(len(tops)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    for (a, b), saddle in zip(pairs, saddles, strict=True):
        high, low = root(a), root(b)
        if tops[high] < tops[low]:
            high, low = low, high
        if high != low and saddle >= neck * tops[low]:
            parent[low] = high
    return np.unique([root(i) for i in range(len(tops))], return_inverse=True)[1]

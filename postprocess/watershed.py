"""Watershed of a height on a mask, with basins merged by their depth (h-maxima), in numpy.

Every voxel climbs to its highest neighbour until it is on a maximum; all that reach one are its basin.
Two basins that meet are one where the lower maximum rises less than h above the highest pass between them:
the watershed from the h-maxima (Soille, Morphological Image Analysis). Of equal heights the voxel that comes
first in raster order counts as higher, so the same input gives the same bytes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Basins:
    """Basins of the voxels of a mask."""

    voxels: np.ndarray
    """(n,) flat indices of the mask's voxels, ascending"""
    basin: np.ndarray
    """(n,) number of the basin of each, 0..k-1 in raster order of their maxima; each basin is 6-connected"""
    peak: np.ndarray
    """(k,) height of each maximum"""
    passes: tuple[np.ndarray, np.ndarray, np.ndarray]
    """(e,) each: two basins that touch, and the height of the highest pass between them, highest first"""


def find_basins(mask: np.ndarray, height: np.ndarray) -> Basins:
    """The basins of a height.

    Args:
        mask: (D,H,W) bool; its border is empty.
        height: (D,H,W) float32, above 0 in the mask.
    """
    voxels = np.flatnonzero(mask)
    number = np.full(mask.size, -1, np.int32)
    number[voxels] = np.arange(len(voxels), dtype=np.int32)
    steps = (mask.shape[1] * mask.shape[2], mask.shape[2], 1)
    heights = np.where(mask, height, np.float32(0)).ravel()
    own = heights[voxels]
    basin, maxima = _climb(number, voxels, heights, own, steps)
    return Basins(voxels, basin, own[maxima], _passes(number, voxels, own, basin, len(maxima), steps))


def _climb(
    number: np.ndarray, voxels: np.ndarray, heights: np.ndarray, own: np.ndarray, steps: tuple[int, int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """(n,) basin of each voxel and (k,) which voxels are maxima."""
    best, move = np.zeros_like(own), np.zeros(len(voxels), np.int64)
    # From the lowest index to the highest: of equal heights the first stays.
    for step in (-steps[0], -steps[1], -1, 0, 1, steps[1], steps[0]):
        there = heights[voxels + step] if step else own
        higher = there > best
        np.copyto(best, there, where=higher)
        move[higher] = step
    towards = number[voxels + move]
    while True:
        further = towards[towards]
        if np.array_equal(further, towards):
            break
        towards = further
    maxima = np.flatnonzero(towards == np.arange(len(voxels), dtype=np.int32))
    rank = np.empty(len(voxels), np.int32)
    rank[maxima] = np.arange(len(maxima), dtype=np.int32)
    return rank[towards], maxima


def _passes(
    number: np.ndarray,
    voxels: np.ndarray,
    own: np.ndarray,
    basin: np.ndarray,
    count: int,
    steps: tuple[int, int, int],
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Basins that touch, as ``Basins.passes``."""
    pairs, heights = [], []
    for step in steps:
        there = number[voxels + step]
        here = np.flatnonzero(there >= 0)
        there = there[here]
        differ = basin[here] != basin[there]
        here, there = here[differ], there[differ]
        a, b = basin[here].astype(np.int64), basin[there].astype(np.int64)
        pairs.append(np.minimum(a, b) * count + np.maximum(a, b))
        heights.append(np.minimum(own[here], own[there]))
    pair, height = np.concatenate(pairs), np.concatenate(heights)
    order = np.lexsort((-height, pair))
    pair, first = np.unique(pair[order], return_index=True)
    height = height[order][first]
    order = np.argsort(-height, kind="stable")
    return pair[order] // count, pair[order] % count, height[order]


def merge_basins(basins: Basins, min_depth: float) -> np.ndarray:
    """(k,) the basin that each is merged into, itself where it stays: that of the highest maximum.

    Args:
        basins: of ``find_basins``.
        min_depth: how far a maximum has to rise above the pass to stay a basin of its own.
    """
    into = list(range(len(basins.peak)))
    peak = basins.peak.tolist()

    def top(i: int) -> int:
        while into[i] != i:
            into[i] = into[into[i]]
            i = into[i]
        return i

    for a, b, height in zip(*(each.tolist() for each in basins.passes), strict=True):
        low, high = top(a), top(b)
        if low == high:
            continue
        if (peak[low], -low) > (peak[high], -high):
            low, high = high, low
        if peak[low] - height < min_depth:
            into[low] = high
    return np.array([top(i) for i in range(len(into))], np.intp)


def smoothed(values: np.ndarray, sigma_dhw: tuple[float, float, float]) -> np.ndarray:
    """Gaussian of (D,H,W) float32, zero outside; sigma in voxels, cut off at three of it."""
    for axis, sigma in enumerate(sigma_dhw):
        reach = math.ceil(3 * sigma)
        weights = np.exp(-0.5 * (np.arange(reach + 1) / max(sigma, 1e-6)) ** 2)
        weights = (weights / (weights.sum() + weights[1:].sum())).astype(np.float32)
        if reach:
            values = _convolved(values, weights, axis)
    return values


def _convolved(values: np.ndarray, weights: np.ndarray, axis: int) -> np.ndarray:
    """A symmetric kernel along one axis; ``weights`` from its centre on."""
    out = values * weights[0]
    for shift, weight in enumerate(weights[1:], 1):
        low = tuple(slice(None, -shift) if a == axis else slice(None) for a in range(3))
        high = tuple(slice(shift, None) if a == axis else slice(None) for a in range(3))
        out[low] += weight * values[high]
        out[high] += weight * values[low]
    return out


def block_counts(mask: np.ndarray, steps: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Voxels of a mask (D,H,W) in each block of some voxels: (d,h,w) uint8; and (d,h,w) how many there are.

    The last block of an axis may have fewer.
    """
    counts = mask.view(np.uint8)
    sizes = np.ones((1, 1, 1), np.int16)
    for axis, step in enumerate(steps):
        before, n = (slice(None),) * axis, counts.shape[axis]
        summed = counts[(*before, slice(0, None, step))].copy()
        for first in range(1, min(step, n)):
            more = counts[(*before, slice(first, None, step))]
            summed[(*before, slice(0, more.shape[axis]))] += more
        counts = summed
        lengths = np.minimum(step, n - step * np.arange(counts.shape[axis])).astype(np.int16)
        sizes = sizes * lengths.reshape([-1 if a == axis else 1 for a in range(3)])
    return counts, sizes


def filled(mask: np.ndarray, max_voxels: float) -> np.ndarray:
    """A mask (D,H,W) bool without its holes of at most so many voxels; what reaches the border is none."""
    import cc3d

    outside = cc3d.connected_components((~mask).view(np.uint8), connectivity=6)
    holes = np.bincount(outside.ravel()) <= max_voxels
    for axis in range(3):
        for plane in (0, -1):
            holes[outside.take(plane, axis=axis)] = False
    holes[0] = True  # the mask
    return holes[outside]


def spread_blocks(blocks: np.ndarray, mask: np.ndarray, steps: tuple[int, int, int]) -> np.ndarray:
    """The voxels of a mask (D,H,W) bool with the ids of their blocks (d,h,w), 0 elsewhere.

    Each id is 6-connected: the few voxels of a block that are cut off from the rest of their object get 0.
    """
    out = np.empty(mask.shape, blocks.dtype)
    height, width = mask.shape[1:]
    for z, plane in enumerate(mask):
        wide = blocks[z // steps[0]].repeat(steps[2], axis=1)[:, :width]
        np.multiply(wide.repeat(steps[1], axis=0)[:height], plane, out=out[z])
    if max(steps) > 1:
        _drop_loose_voxels(out, len(np.unique(blocks[blocks > 0])))
    return out


def _drop_loose_voxels(labels: np.ndarray, count: int) -> None:
    """Keep only the largest 6-connected part of each of ``count`` ids (D,H,W)."""
    import cc3d

    parts, found = cc3d.connected_components(labels, connectivity=6, return_N=True)
    if found == count:
        return
    ids, sizes = np.zeros(found + 1, labels.dtype), np.zeros(found + 1, np.int64)
    for plane, own in zip(parts, labels, strict=True):
        inside = plane[own > 0]
        ids[inside] = own[own > 0]
        counts = np.bincount(inside)
        sizes[: len(counts)] += counts
    order = np.lexsort((-sizes, ids))
    stays = np.zeros(found + 1, bool)
    stays[order[np.unique(ids[order], return_index=True)[1]]] = True
    for plane, own in zip(parts, labels, strict=True):
        own *= stays[plane]

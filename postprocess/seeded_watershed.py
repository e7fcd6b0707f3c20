"""Rule ``seeded_watershed``: objects that touch are told apart by what the network says of their borders.

The height of the watershed is 1 minus what a family tells as edges: with an edge map (BiomedParse-V, section
3.5) the distance from an edge in probability, with the distance to the border as a share of the object's own
largest one (StarDist's object probability, Schmidt et al. 2018, section 2.1; the energy of Deep Watershed,
Bai and Urtasun 2017) that distance. Either way it is 1 in the middle of an object and 0 where it ends. Seeds
are the h-maxima: what rises less than h above the pass to a higher one is the same object, whatever its
shape. As heights are shares, one h serves all sizes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import numpy as np

from vesal.postprocess.checks import require_ndim
from vesal.postprocess.edges import EdgesOf
from vesal.postprocess.rule import ClassPart, Count, Cut, CutRule, Share, SpacingMm

LEVELS = 255
"""Steps in which heights are kept while a part is read: a byte a voxel."""
SLAB_VOXELS = 1 << 22
"""Voxels whose edges are held as floats at once: 16 MB."""
SMOOTHING_VOXELS = 0.7
"""Sigma of the Gaussian over the height, in voxels of the finest axis."""
SMALL_VOXELS = 27
"""Components with fewer voxels are one object: a cube of three voxels has one voxel inside."""
SECONDS_PER_VOXEL = 4e-7
"""What a voxel of a component's box takes at most, on a slow and busy core (as ``round_objects``)."""

Box = tuple[slice, slice, slice]


class SeededWatershed(CutRule, frozen=True):
    """Separate touching objects of any shape, for any family that tells edges or distances to borders."""

    min_depth: Share = 0.15
    """By how much the height has to fall between two objects; less is one object. The h of the h-maxima."""
    min_peak: Share = 0.0
    """An object whose height stays below this is none, and dropped."""
    min_voxels: Count = 1
    """Objects with fewer voxels are dropped."""

    needs_edges: ClassVar[bool] = True

    def cut(self, part: ClassPart, affords: Callable[[float], bool]) -> Cut:
        """See ``cut_by_seeds``."""
        return cut_by_seeds(part.labels == part.class_id, part.edges, part.spacing_dhw_mm, self, affords)


def cut_by_seeds(
    mask: np.ndarray,
    edges: EdgesOf | None,
    spacing_dhw_mm: SpacingMm,
    rule: SeededWatershed,
    affords: Callable[[float], bool] = lambda seconds: True,
) -> Cut:
    """Separate the objects of a mask by a watershed from the h-maxima of 1 - edges.

    Args:
        mask: (D,H,W) bool; an empty one gives no objects.
        edges: 0 in the middle of objects, 1 where they end, by planes; None: nothing is known, and objects
            are the mask's 6-connected components.
        spacing_dhw_mm: of the voxels, above 0.
        rule: its shares.
        affords: whether so many seconds may be taken; asked before each component, the largest first.

    Returns:
        the objects, those of larger components first; each is 6-connected.

    Raises:
        ArrayShapeError: `mask` is not (D,H,W).
    """
    require_ndim("mask", mask, 3, "(D,H,W)")
    import cc3d  # a profile is read without it

    pieces, left_whole = np.zeros(mask.shape, np.uint32), 0
    sizes: list[int] = []
    components, count = cc3d.connected_components(np.ascontiguousarray(mask), connectivity=6, return_N=True)
    if not count:
        return Cut(pieces, np.zeros(0, np.int64))
    found = cc3d.statistics(components)
    voxels, boxes = found["voxel_counts"].astype(np.int64), found["bounding_boxes"]
    height = None if edges is None else _height(mask, edges)
    for label in (1 + np.argsort(-voxels[1:], kind="stable")).tolist():
        box: Box = boxes[label]
        own = components[box] == label
        if height is None or voxels[label] < SMALL_VOXELS:
            objects, more = own.astype(np.uint32), [int(voxels[label])]
        elif affords(SECONDS_PER_VOXEL * own.size):
            objects, more = _objects(own, height[box], spacing_dhw_mm, rule)
        else:
            objects, more, left_whole = own.astype(np.uint32), [int(voxels[label])], left_whole + 1
        objects, more = _without_small(objects, more, rule.min_voxels)
        np.add(objects, np.uint32(len(sizes)), out=pieces[box], where=objects > 0)
        sizes += more
    return Cut(pieces, np.array(sizes, np.int64), left_whole)


def _height(mask: np.ndarray, edges: EdgesOf) -> np.ndarray:
    """(D,H,W) uint8: 1 - edges in ``LEVELS`` inside the mask, 0 outside; what is not known is inside."""
    height = np.zeros(mask.shape, np.uint8)
    thickness = max(1, SLAB_VOXELS // max(1, mask[:1].size))
    for first in range(0, len(mask), thickness):
        planes = slice(first, min(first + thickness, len(mask)))
        told = np.nan_to_num(edges(planes), nan=0.0)
        inner = np.rint(LEVELS * (1 - np.clip(told, 0, 1))).astype(np.uint8)
        np.copyto(height[planes], inner, where=mask[planes])
    return height


def _objects(
    own: np.ndarray, height: np.ndarray, spacing_dhw_mm: SpacingMm, rule: SeededWatershed
) -> tuple[np.ndarray, list[int]]:
    """One component (d,h,w) bool with its heights (d,h,w) uint8: objects (d,h,w) uint32, their voxels."""
    from vesal.postprocess.watershed import find_basins, merge_basins, smoothed

    mask = np.pad(own, 1)
    values = np.pad(np.where(own, height, 0).astype(np.float32) / LEVELS, 1)
    finest = min(spacing_dhw_mm)
    d, h, w = (SMOOTHING_VOXELS * finest / mm for mm in spacing_dhw_mm)
    values = smoothed(values, (d, h, w))
    # What is outside has no height: near it the mean of the inside alone counts.
    share = smoothed(mask.astype(np.float32), (d, h, w))
    values /= np.maximum(share, np.finfo(np.float32).eps)
    np.maximum(values, np.finfo(np.float32).tiny, out=values)
    basins = find_basins(mask, values)
    into = merge_basins(basins, rule.min_depth)
    stays = (into == np.arange(len(into))) & (basins.peak >= rule.min_peak)
    ids = np.zeros(len(into), np.uint32)
    ids[stays] = 1 + np.arange(np.count_nonzero(stays), dtype=np.uint32)
    mine = ids[into][basins.basin]
    out = np.zeros(mask.shape, np.uint32)
    out.reshape(-1)[basins.voxels] = mine
    sizes = np.bincount(mine, minlength=int(ids.max(initial=0)) + 1)[1:]
    return out[1:-1, 1:-1, 1:-1], sizes.tolist()


def _without_small(objects: np.ndarray, sizes: list[int], least: int) -> tuple[np.ndarray, list[int]]:
    """Objects (d,h,w) of at least so many voxels, numbered anew, and their voxels."""
    if min(sizes, default=least) >= least:
        return objects, sizes
    stays = np.array([0, *(size >= least for size in sizes)], bool)
    ids = np.where(stays, np.cumsum(stays), 0).astype(np.uint32)
    return ids[objects], [size for size in sizes if size >= least]

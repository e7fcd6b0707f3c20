"""Rule ``edges``: objects that touch are separated along the edges that the network tells.

BiomedParse-V, section 3.5: the edge is taken off the mask, what is left are cores, and each 6-connected core
is an object that grows back over the mask. Any family that tells edges can use it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from typing import Annotated, ClassVar

import numpy as np
from msgspec import Meta

from vesal.postprocess.checks import require_ndim
from vesal.postprocess.rule import ClassPart, Cut, CutRule, Share, SpacingMm

MAX_REACH = 8
"""Voxels: the places in such a ball are looked at one after the other."""
MAX_STEP = 100
"""Cost of a step along the longest side of a voxel, in steps along the shortest."""
SLAB_VOXELS = 1 << 22
"""Voxels whose edges are held at once: 16 MB."""
SECONDS_PER_VOXEL = 2e-7
"""What a voxel of the class's box takes at most, on a slow and busy core."""

EdgesOf = Callable[[slice], np.ndarray]
"""(planes, h, w) float32 0..1 of some planes of a part: the probability that an object ends there."""


class Edges(CutRule, frozen=True):
    """Separate objects along their predicted edges; not for semantic cases."""

    concepts: tuple[str, ...] | None = None
    """The targets that it is for, as the vocabulary names them; null: all."""
    threshold: Share = 0.5
    """Probability of the edge from which on a voxel is taken off the mask."""
    reach_voxels: Annotated[float, Meta(gt=0, le=MAX_REACH)] | None = None
    """Null: cores grow over all of the mask, on paths inside it, by the way in mm. A number: only so far, in
    a straight line whatever lies between, and the rest of the mask becomes background: with 2 and without
    `keep_covered` what the released code of BiomedParse-V has for its evaluation."""
    keep_covered: bool = True
    """Whether a part of the mask without a core, being edge all through, is an object: small ones are."""

    needs_edges: ClassVar[bool] = True

    def cut(self, part: ClassPart, affords: Callable[[float], bool]) -> Cut:
        """See ``cut_along_edges``. Without edges, or time for it, objects are the mask's components."""
        mask = part.labels == part.class_id
        if part.edges is None:
            return cut_along_edges(mask, None, part.spacing_dhw_mm, self)
        if affords(SECONDS_PER_VOXEL * mask.size):
            return cut_along_edges(mask, part.edges, part.spacing_dhw_mm, self)
        found = cut_along_edges(mask, None, part.spacing_dhw_mm, self)
        return Cut(found.pieces, found.sizes, left_whole=len(found.sizes))


def cut_along_edges(mask: np.ndarray, edges: EdgesOf | None, spacing_dhw_mm: SpacingMm, rule: Edges) -> Cut:
    """Separate the objects of a mask along edges.

    Args:
        mask: (D,H,W) bool.
        edges: probability of the edge, by planes; None: there are none.
        spacing_dhw_mm: of the voxels, above 0.
        rule: its settings.

    Returns:
        the objects in raster order of their cores, then those without. They are 6-connected, but for those
        of a limited reach, which may lie in several parts.

    Raises:
        ArrayShapeError: `mask` is not (D,H,W).
    """
    require_ndim("mask", mask, 3, "(D,H,W)")
    around = math.ceil(rule.reach_voxels or 1)
    left = np.pad(mask, around)
    inner = tuple(slice(around, -around) for _ in range(3))
    core = left if edges is None else _cores(mask, edges, around, rule.threshold)
    pieces, count = _components(core)
    if edges is not None:
        left &= ~core
        if rule.reach_voxels is None:
            _flood(pieces, left, _steps(spacing_dhw_mm))
        else:
            covered = _covered(mask, core[inner]) if rule.keep_covered else None
            _grow(pieces, left, rule.reach_voxels)
            left[inner] = False if covered is None else covered
        if rule.keep_covered and left.any():
            pieces, count = _with_covered(pieces, left, count)
    return Cut(pieces[inner], _sizes(pieces, count))


def _cores(mask: np.ndarray, edges: EdgesOf, around: int, threshold: float) -> np.ndarray:
    """The mask without its edges, padded: (D,H,W) bool of which edges are read some planes at a time."""
    core = np.pad(mask, around)
    thickness = max(1, SLAB_VOXELS // max(1, mask[:1].size))
    for first in range(0, len(mask), thickness):
        planes = slice(first, min(first + thickness, len(mask)))
        into = core[around + planes.start : around + planes.stop, around:-around, around:-around]
        into &= ~(edges(planes) >= threshold)  # where nothing is known there is no edge
    return core


def _components(mask: np.ndarray) -> tuple[np.ndarray, int]:
    """6-connected components (D,H,W) uint32 in raster order, and their number."""
    import cc3d  # a profile is read without it

    found, count = cc3d.connected_components(mask, connectivity=6, return_N=True, out_dtype=np.uint32)
    return found, count


def _sizes(pieces: np.ndarray, count: int) -> np.ndarray:
    """(count,) voxels of each piece."""
    import cc3d

    if not count:
        return np.zeros(0, np.int64)
    return cc3d.statistics(pieces, no_slice_conversion=True)["voxel_counts"][1:].astype(np.int64)


def _steps(spacing_dhw_mm: SpacingMm) -> list[int]:
    """What a step along each axis costs, in steps along the shortest side of a voxel."""
    return [min(MAX_STEP, max(1, round(side / min(spacing_dhw_mm)))) for side in spacing_dhw_mm]


def _flood(pieces: np.ndarray, left: np.ndarray, costs: list[int]) -> None:
    """Grow pieces over what is left, the nearest voxels first, in place; what no piece reaches stays left.

    A watershed from the cores on the distance to them. Of two pieces at the same distance always the same one
    has the voxel: the order in which they are looked at is fixed.

    Args:
        pieces: (D,H,W) uint32, contiguous.
        left: (D,H,W) bool, contiguous; its border is empty.
        costs: of a step along each axis, 1 or more.
    """
    flat, free = pieces.reshape(-1), left.reshape(-1)
    strides = (left.shape[1] * left.shape[2], left.shape[2], 1)
    steps = [(way * stride, cost) for stride, cost in zip(strides, costs, strict=True) for way in (1, -1)]
    waiting: dict[int, list[tuple[np.ndarray, np.ndarray]]] = {}
    for step, cost in steps:
        beside = np.zeros_like(free)
        after, before = slice(max(0, step), min(0, step) or None), slice(max(0, -step), min(0, -step) or None)
        np.logical_and(free[after], flat[before] > 0, out=beside[after])
        voxels = np.flatnonzero(beside)
        waiting.setdefault(cost, []).append((voxels, flat[voxels - step]))
    while waiting:
        at = min(waiting)
        reached: list[tuple[np.ndarray, np.ndarray]] = []
        for voxels, labels in waiting.pop(at):
            new = free[voxels]
            voxels, labels = voxels[new], labels[new]
            flat[voxels], free[voxels] = labels, False
            reached.append((voxels, labels))
        voxels, labels = (np.concatenate(each) for each in zip(*reached, strict=True))
        for step, cost in steps:
            new = free[voxels + step]
            if new.any():
                waiting.setdefault(at + cost, []).append((voxels[new] + step, labels[new]))


def _grow(pieces: np.ndarray, left: np.ndarray, reach: float) -> None:
    """Give what is left to the nearest core within reach, in place.

    Of several at one distance the first counts, by its place along W, then H, then D, as `expand_labels` of
    scikit-image has it.
    """
    flat = pieces.reshape(-1)
    voxels = np.flatnonzero(_near(pieces > 0, math.floor(reach)) & left)
    found: list[tuple[np.ndarray, np.ndarray]] = []
    for d, h, w in _ball(reach):
        near = flat[voxels + (d * left.shape[1] + h) * left.shape[2] + w]
        hit = near > 0
        found.append((voxels[hit], near[hit]))
        voxels = voxels[~hit]
    for mine, labels in found:
        flat[mine] = labels


def _near(mask: np.ndarray, reach: int) -> np.ndarray:
    """(D,H,W) bool: what is at most so far from a mask along each axis; few of the voxels of a thick edge."""
    for axis in range(3):
        grown = mask.copy()
        to, planes = np.moveaxis(grown, axis, 0), np.moveaxis(mask, axis, 0)
        for step in range(1, reach + 1):
            to[step:] |= planes[:-step]
            to[:-step] |= planes[step:]
        mask = grown
    return mask


def _ball(reach: float) -> Iterator[tuple[int, int, int]]:
    """Places (d, h, w) around a voxel, the nearest first."""
    side = range(-math.floor(reach), math.floor(reach) + 1)
    places = [(d * d + h * h + w * w, w, h, d) for d, h, w in itertools.product(side, repeat=3)]
    return ((d, h, w) for square, w, h, d in sorted(places) if 0 < square <= reach**2)


def _covered(mask: np.ndarray, core: np.ndarray) -> np.ndarray:
    """(D,H,W) bool: the components of a mask that hold no core."""
    components, count = _components(np.ascontiguousarray(mask))
    without = np.ones(count + 1, bool)
    without[0] = False
    without[np.unique(components[core])] = False
    return without[components]


def _with_covered(pieces: np.ndarray, left: np.ndarray, count: int) -> tuple[np.ndarray, int]:
    """Pieces and, behind them, the components of what is left."""
    components, more = _components(left)
    np.add(components, np.uint32(count), out=components, where=left)
    np.copyto(pieces, components, where=left)
    return pieces, count + more

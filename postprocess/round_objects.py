"""Rule ``round_objects``: objects that touch are separated where they narrow, as round ones do.

The height of the watershed is the distance to the border of the mask in mm, smoothed by a voxel. For a ball
of radius R its mean is R / 4: so the mask itself says how large its objects are, also where they touch, and
what counts as a narrowing is a share of that R. Small holes of the mask are filled first, or they would split
the object around them. Large objects are cut on blocks of voxels. Defaults were chosen on training volumes
at four scales each (`python -m benchmarks.touching`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from vesal.postprocess.rule import ClassPart, Cut, CutRule, Share, SpacingMm

if TYPE_CHECKING:
    from vesal.postprocess.watershed import Basins

RADIUS_OF_MEAN = 4.0
"""Radius of a ball over the mean distance of its voxels to its surface."""

SMOOTHING_VOXELS = 1.0
"""Sigma of the Gaussian, in voxels of the finest axis: more moves the maxima of small objects together."""

AT_BORDER = 0.25
"""Share of the least radius that is enough at the border of the volume: most may lie beyond it."""

HOLE_RADIUS = 0.35
"""Holes of a mask up to the size of a ball with this share of the radius are its flaws: they would split an
object that has them. From 0.23 to 0.5 the results are the same."""

RADIUS_OF_FACES = 4.5
"""Radius of a ball over its volume by the area of the voxel faces around it: 3, and such faces have 1.5 times
the area of the ball."""

RADIUS_VOXELS = 5.5
"""Voxels of a radius that are enough: larger objects are cut on a coarser grid. From 11 on it has half the
voxels along each axis."""

MAX_STEP = 6
"""A block of 6^3 voxels is still counted in uint8."""

SECONDS_PER_VOXEL = 4e-7
"""What a voxel of a component's box takes at most on the grid that it is cut on, on a slow and busy core
(0.1e-6 on a quiet one)."""

SECONDS_PER_FINE_VOXEL = 8e-8
"""The same of a voxel of the volume: it is counted, and written."""

Steps = tuple[int, int, int]
Box = tuple[slice, slice, slice]


class RoundObjects(CutRule, frozen=True):
    """Separate round objects that touch, such as nuclei; wrong for organs, which are not round."""

    min_depth: Share = 0.06
    """By how much of the radius an object narrows to where it touches the next; less is one object. The h of
    the h-maxima."""
    min_radius: Share = 0.6
    """An object whose radius (of a ball with as many voxels) is smaller than this share of the typical one's
    is a speck, and dropped. Half of all voxels belong to objects at least as large as the typical one."""

    def cut(self, part: ClassPart, affords: Callable[[float], bool]) -> Cut:
        """See ``cut_round_objects``."""
        mask = part.labels == part.class_id
        return cut_round_objects(mask, part.spacing_dhw_mm, self, affords)


@dataclass(frozen=True, eq=False)
class _Component:
    """One 6-connected component of a mask, with its basins."""

    label: int
    box: Box
    grid: tuple[int, int, int]
    """blocks of voxels in the box"""
    basins: Basins
    """of blocks, in a grid that is one larger on all sides"""
    voxels: np.ndarray
    """(n,) of the component in each of its blocks"""


def cut_round_objects(
    mask: np.ndarray,
    spacing_dhw_mm: SpacingMm,
    rule: RoundObjects,
    affords: Callable[[float], bool] = lambda seconds: True,
) -> Cut:
    """Separate the round objects of a mask that touch, and drop specks.

    Args:
        mask: (D,H,W) bool; what reaches its border is taken to go on beyond it.
        spacing_dhw_mm: of the voxels.
        rule: its shares.
        affords: whether so many seconds may still be taken; asked before each component, the largest first.

    Returns:
        the objects; a component that was not looked at for want of time is one of them.
    """
    components, order, sizes, boxes = _by_size(mask)
    first_mm = _radius_of_faces(mask, spacing_dhw_mm)
    steps = _steps(first_mm, spacing_dhw_mm)
    hole_voxels = _ball_voxels(HOLE_RADIUS * first_mm, spacing_dhw_mm)
    pieces, left_whole = np.zeros(mask.shape, np.uint32), 0
    looked_at: dict[int, _Component] = {}
    total, voxels = 0.0, 0
    for label in order:
        box = _with_border(boxes[label], mask.shape, steps)
        small = sizes[label] < _speck_voxels(rule, _radius(total, voxels), spacing_dhw_mm)
        if small or not affords(_seconds(box, steps)):
            left_whole += not small
            continue
        own, sum_mm = _component(components, label, box, steps, spacing_dhw_mm, hole_voxels)
        looked_at[label] = own
        total, voxels = total + sum_mm, voxels + int(sizes[label])
    radius = _radius(total, voxels)
    objects = {each: _objects(own, rule.min_depth * radius) for each, own in looked_at.items()}
    # A sheet of objects that could not be separated is not a typical one.
    typical = min(
        _typical([each.sizes for each in objects.values()]), 2 * _ball_voxels(radius, spacing_dhw_mm)
    )
    least = rule.min_radius**3 * typical
    voxels_of: list[int] = []
    for label in order:
        if label in looked_at:
            voxels_of += _write(
                looked_at[label], objects[label], components, pieces, len(voxels_of), least, steps
            )
        elif sizes[label] >= AT_BORDER**3 * least:
            voxels_of.append(int(sizes[label]))
            part = pieces[boxes[label]]
            part[components[boxes[label]] == label] = len(voxels_of)
    return Cut(pieces, np.array(voxels_of, np.int64), left_whole)


def _by_size(mask: np.ndarray) -> tuple[np.ndarray, list[int], np.ndarray, list[Box]]:
    """(D,H,W) components of a mask, their labels from the largest on, sizes and boxes by label."""
    import cc3d  # a profile is read without it

    components, count = cc3d.connected_components(np.ascontiguousarray(mask), connectivity=6, return_N=True)
    if not count:
        return components, [], np.zeros(1, np.int64), []
    found = cc3d.statistics(components)
    sizes = found["voxel_counts"].astype(np.int64)
    order = 1 + np.argsort(-sizes[1:], kind="stable")
    return components, order.tolist(), sizes, list(found["bounding_boxes"])


def _radius(total_mm: float, voxels: int) -> float:
    """Radius in mm of the objects whose voxels have distances of this sum to the border."""
    return RADIUS_OF_MEAN * total_mm / voxels if voxels else 0.0


def _radius_of_faces(mask: np.ndarray, spacing_dhw_mm: SpacingMm) -> float:
    """Radius in mm of the objects of a mask by volume and surface: a first estimate, at little cost."""
    areas_mm2 = (math.prod(spacing_dhw_mm) / mm for mm in spacing_dhw_mm)
    surface_mm2 = sum(
        area * np.count_nonzero(np.not_equal(*_shifted(mask, axis))) for axis, area in enumerate(areas_mm2)
    )
    if not surface_mm2:
        return 0.0
    return RADIUS_OF_FACES * np.count_nonzero(mask) * math.prod(spacing_dhw_mm) / surface_mm2


def _shifted(mask: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """All voxels but the last and all but the first along an axis."""
    before = (slice(None),) * axis
    return mask[(*before, slice(None, -1))], mask[(*before, slice(1, None))]


def _steps(radius_mm: float, spacing_dhw_mm: SpacingMm) -> Steps:
    """Voxels (d, h, w) of the blocks on which objects of a radius are cut."""
    d, h, w = (min(MAX_STEP, max(1, int(radius_mm / (RADIUS_VOXELS * mm)))) for mm in spacing_dhw_mm)
    return d, h, w


def _ball_voxels(radius_mm: float, spacing_dhw_mm: SpacingMm) -> float:
    return 4 / 3 * math.pi * radius_mm**3 / math.prod(spacing_dhw_mm)


def _speck_voxels(rule: RoundObjects, radius_mm: float, spacing_dhw_mm: SpacingMm) -> float:
    """Voxels of the smallest ball that is no speck anywhere; what has fewer need not be looked at."""
    return _ball_voxels(AT_BORDER * rule.min_radius * radius_mm, spacing_dhw_mm)


def _seconds(box: Box, steps: Steps) -> float:
    """What a component takes at most."""
    voxels = math.prod(side.stop - side.start for side in box)
    return voxels * (SECONDS_PER_VOXEL / math.prod(steps) + SECONDS_PER_FINE_VOXEL)


def _with_border(box: Box, shape: tuple[int, ...], steps: Steps) -> Box:
    """A box with a block around it, as far as there is one."""
    d, h, w = (
        slice(max(0, s.start - step), min(n, s.stop + step))
        for s, n, step in zip(box, shape, steps, strict=True)
    )
    return d, h, w


def _component(
    components: np.ndarray,
    label: int,
    box: Box,
    steps: Steps,
    spacing_dhw_mm: SpacingMm,
    hole_voxels: float,
) -> tuple[_Component, float]:
    """The basins of one component in its box (d,h,w), and the sum of the distances of its voxels in mm."""
    import edt  # only this rule needs it

    from vesal.postprocess.watershed import (  # only where objects of this kind are wanted
        block_counts,
        filled,
        find_basins,
        smoothed,
    )

    counts, sizes = block_counts(components[box] == label, steps)
    inside = np.pad(counts > 0, 1)
    solid = filled(2 * counts.astype(np.int16) >= sizes, hole_voxels / math.prod(steps))
    d, h, w = (mm * step for mm, step in zip(spacing_dhw_mm, steps, strict=True))
    # As uint8, which is read three times as fast as bool. What reaches the border has no surface there.
    distance = edt.edt(solid.view(np.uint8), anisotropy=(d, h, w), black_border=False)
    if not np.isfinite(distance.max()):  # no surface at all
        distance = solid.astype(np.float32)
    sigma = SMOOTHING_VOXELS * min(d, h, w)
    height = smoothed(np.pad(distance, 1, mode="edge"), (sigma / d, sigma / h, sigma / w))
    np.maximum(height, np.finfo(np.float32).tiny, out=height)
    own = _Component(label, box, counts.shape, find_basins(inside, height), counts[counts > 0])
    return own, float(np.multiply(distance, counts, dtype=np.float64).sum())


@dataclass(frozen=True, eq=False)
class _Objects:
    """What the basins of a component are merged into."""

    of_block: np.ndarray
    """(n,) the object of each block, 0..k-1"""
    sizes: np.ndarray
    """(k,) voxels of each; 0 where it is part of another one"""


def _objects(component: _Component, depth_mm: float) -> _Objects:
    from vesal.postprocess.watershed import merge_basins

    into = merge_basins(component.basins, depth_mm)
    mine = into[component.basins.basin]
    # Whole numbers below 2^53: exact.
    sizes = np.bincount(mine, weights=component.voxels, minlength=len(into)).astype(np.int64)
    return _Objects(mine, sizes)


def _typical(sizes: list[np.ndarray]) -> int:
    """Median of the voxels (k,) of objects, each weighted by them, so that specks do not count; 0 of none."""
    ascending = np.sort(np.concatenate([np.zeros(1, np.int64), *sizes]))
    total = np.cumsum(ascending)
    return int(ascending[np.searchsorted(2 * total, total[-1])])


def _write(
    component: _Component,
    objects: _Objects,
    components: np.ndarray,
    pieces: np.ndarray,
    count: int,
    least: float,
    steps: Steps,
) -> list[int]:
    """Number a component's objects from ``count + 1`` on in ``pieces`` (D,H,W), and count their voxels."""
    from vesal.postprocess.watershed import spread_blocks

    stays = _large_enough(component, objects, least)
    ids = np.zeros(len(objects.sizes), np.uint16 if len(stays) < 1 << 16 else np.uint32)
    ids[stays] = 1 + np.arange(len(stays))
    blocks = np.zeros(tuple(n + 2 for n in component.grid), ids.dtype)
    blocks.ravel()[component.basins.voxels] = ids[objects.of_block]
    inside = components[component.box] == component.label
    labels = spread_blocks(blocks[1:-1, 1:-1, 1:-1], inside, steps)
    sizes = np.zeros(len(stays) + 1, np.int64)
    for plane, out in zip(labels, pieces[component.box], strict=True):
        written = plane > 0
        sizes += np.bincount(plane[written], minlength=len(sizes))
        np.add(plane, np.uint32(count), out=out, where=written)
    return sizes[1:].tolist()


def _large_enough(component: _Component, objects: _Objects, least: float) -> np.ndarray:
    """Which objects have ``least`` voxels, or at the border of the volume the share that is enough there."""
    sides = tuple(n + 2 for n in component.grid)
    at = np.unravel_index(component.basins.voxels, sides)
    # A box has a block around its component, but for the border of the volume.
    outside = np.any([(axis == 1) | (axis == n - 2) for axis, n in zip(at, sides, strict=True)], axis=0)
    needed = np.full(len(objects.sizes), max(least, 1.0))
    needed[np.unique(objects.of_block[outside])] *= AT_BORDER**3
    return np.flatnonzero((objects.sizes > 0) & (objects.sizes >= needed))

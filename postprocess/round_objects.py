"""Rule ``round_objects``: objects that touch are separated where they narrow, as round ones do.

The height of the watershed is the distance to the border of the mask in mm, smoothed by a voxel. For a ball
of radius R its mean is R / 4: so the mask itself says how large its objects are, also where they touch, and
what counts as a narrowing and as a speck are shares of that R. The defaults were chosen on training volumes,
at five scales each (`python -m benchmarks.touching`).
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

AT_BORDER = 0.5
"""Share of the least radius that is enough at the border of the volume."""

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
    min_radius: Share = 0.35
    """An object whose largest ball is smaller than this share of the radius is a speck, and dropped. At the
    border of the volume, where most of an object may lie outside, half of it is enough."""

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
    distance: np.ndarray
    """(n,) mm from each of its blocks to the border of the mask"""


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
    hole_voxels = _ball_voxels(rule.min_radius * first_mm, spacing_dhw_mm)
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
    voxels_of: list[int] = []
    for label in order:
        if label in looked_at:
            voxels_of += _write(looked_at[label], components, pieces, len(voxels_of), rule, radius, steps)
        elif sizes[label] >= _speck_voxels(rule, radius, spacing_dhw_mm):
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
    """Radius in mm of the objects of a mask by its volume and its surface: a first estimate, at little cost."""
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
    """Voxels of the smallest ball that is no speck; what has fewer need not be looked at."""
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
    sigma = tuple(SMOOTHING_VOXELS * min(d, h, w) / mm for mm in (d, h, w))
    height = smoothed(np.pad(distance, 1, mode="edge"), sigma)
    np.maximum(height, np.finfo(np.float32).tiny, out=height)
    own = _Component(label, box, counts.shape, find_basins(inside, height), distance[counts > 0])
    return own, float(np.multiply(distance, counts, dtype=np.float64).sum())


def _write(
    component: _Component,
    components: np.ndarray,
    pieces: np.ndarray,
    count: int,
    rule: RoundObjects,
    radius_mm: float,
    steps: Steps,
) -> list[int]:
    """Number a component's objects from ``count + 1`` on in ``pieces`` (D,H,W), and count their voxels."""
    from vesal.postprocess.watershed import merge_basins, spread_blocks

    basins = component.basins
    into = merge_basins(basins, rule.min_depth * radius_mm)
    mine = into[basins.basin]
    stays = _large_enough(component, mine, len(into), rule, radius_mm)
    ids = np.zeros(len(into), np.uint16 if len(stays) < 1 << 16 else np.uint32)
    ids[stays] = 1 + np.arange(len(stays))
    blocks = np.zeros(tuple(n + 2 for n in component.grid), ids.dtype)
    blocks.ravel()[basins.voxels] = ids[mine]
    inside = components[component.box] == component.label
    labels = spread_blocks(blocks[1:-1, 1:-1, 1:-1], inside, steps)
    sizes = np.zeros(len(stays) + 1, np.int64)
    for plane, out in zip(labels, pieces[component.box], strict=True):
        written = plane > 0
        sizes += np.bincount(plane[written], minlength=len(sizes))
        np.add(plane, np.uint32(count), out=out, where=written)
    return sizes[1:].tolist()


def _large_enough(
    component: _Component, mine: np.ndarray, count: int, rule: RoundObjects, radius_mm: float
) -> np.ndarray:
    """Which of ``count`` merged basins are no specks; ``mine`` (n,) tells that of each block."""
    largest = np.zeros(count, np.float32)
    np.maximum.at(largest, mine, component.distance)
    least = np.full(count, max(rule.min_radius * radius_mm, np.finfo(np.float32).tiny))
    sides = tuple(n + 2 for n in component.grid)
    at = np.unravel_index(component.basins.voxels, sides)
    # A box has a block around its component, but for the border of the volume.
    outside = np.any([(axis == 1) | (axis == n - 2) for axis, n in zip(at, sides, strict=True)], axis=0)
    least[np.unique(mine[outside])] *= AT_BORDER
    return np.flatnonzero(largest >= least)

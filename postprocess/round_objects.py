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

SECONDS_PER_VOXEL = 4e-7
"""What a voxel of a component's box takes at most, on a slow and busy core (0.1e-6 on a quiet one)."""

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

    box: Box
    basins: Basins
    """in a box that is one voxel larger on all sides"""
    distance: np.ndarray
    """(n,) mm from each of its voxels to the border of the mask"""


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
    pieces, left_whole = np.zeros(mask.shape, np.uint32), 0
    looked_at: dict[int, _Component] = {}
    total, voxels = 0.0, 0
    for label in order:
        box = _with_border(boxes[label], mask.shape)
        seconds = SECONDS_PER_VOXEL * math.prod(side.stop - side.start for side in box)
        small = sizes[label] < _speck_voxels(rule, _radius(total, voxels), spacing_dhw_mm)
        if small or not affords(seconds):
            left_whole += not small
            continue
        component = _component(components[box] == label, box, spacing_dhw_mm)
        looked_at[label] = component
        total, voxels = total + float(component.distance.sum(dtype=np.float64)), voxels + int(sizes[label])
    radius = _radius(total, voxels)
    voxels_of: list[int] = []
    for label in order:
        if label in looked_at:
            voxels_of += _write(looked_at[label], pieces, len(voxels_of), rule, radius)
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


def _speck_voxels(rule: RoundObjects, radius_mm: float, spacing_dhw_mm: SpacingMm) -> float:
    """Voxels of the smallest ball that is no speck; what has fewer need not be looked at."""
    least_mm = AT_BORDER * rule.min_radius * radius_mm
    return 4 / 3 * math.pi * least_mm**3 / math.prod(spacing_dhw_mm)


def _with_border(box: Box, shape: tuple[int, ...]) -> Box:
    """A box with a voxel around it, as far as there is one."""
    d, h, w = (slice(max(0, s.start - 1), min(n, s.stop + 1)) for s, n in zip(box, shape, strict=True))
    return d, h, w


def _component(mask: np.ndarray, box: Box, spacing_dhw_mm: SpacingMm) -> _Component:
    """The basins of a mask (d,h,w) bool of one component."""
    import edt  # only this rule needs it

    # As uint8, which is read three times as fast as bool. What reaches the border has no surface there.
    distance = edt.edt(mask.view(np.uint8), anisotropy=spacing_dhw_mm, black_border=False)
    if not np.isfinite(distance.max()):  # no surface at all
        distance = mask.astype(np.float32)
    finest = min(spacing_dhw_mm)
    d, h, w = (SMOOTHING_VOXELS * finest / spacing for spacing in spacing_dhw_mm)
    inside = np.pad(mask, 1)
    from vesal.postprocess.watershed import (  # only where objects of this kind are wanted
        find_basins,
        smoothed,
    )

    height = smoothed(np.pad(distance, 1, mode="edge"), (d, h, w))
    return _Component(box, find_basins(inside, height), distance[mask])


def _write(
    component: _Component, pieces: np.ndarray, count: int, rule: RoundObjects, radius_mm: float
) -> list[int]:
    """Number a component's objects from ``count + 1`` on in ``pieces`` (D,H,W), and count their voxels."""
    basins = component.basins
    from vesal.postprocess.watershed import merge_basins

    into = merge_basins(basins, rule.min_depth * radius_mm)
    part = pieces[component.box]
    inner = part.shape
    at = tuple(axis - 1 for axis in np.unravel_index(basins.voxels, tuple(n + 2 for n in inner)))
    mine = into[basins.basin]
    largest = np.zeros(len(into), np.float32)
    np.maximum.at(largest, mine, component.distance)
    least = np.full(len(into), max(rule.min_radius * radius_mm, np.finfo(np.float32).tiny))
    # A box has a voxel around its component, but for the border of the volume.
    outside = np.any([(axis == 0) | (axis == n - 1) for axis, n in zip(at, inner, strict=True)], axis=0)
    least[np.unique(mine[outside])] *= AT_BORDER
    stays = np.flatnonzero(largest >= least)
    ids = np.zeros(len(into), np.uint32)
    ids[stays] = count + 1 + np.arange(len(stays), dtype=np.uint32)
    part[at] = ids[mine]
    return np.bincount(mine, minlength=len(into))[stays].tolist()

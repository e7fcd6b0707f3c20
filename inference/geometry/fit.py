"""Views that are fitted to a number of voxels: the spacing is as fine as they allow.

The rules follow Medal S section 2.5 (dynamic resampling) and SegVol's zoom-out-zoom-in; the degree of
anisotropy follows SPAD-Nets (kernels collapse along an axis whose voxels are longer than the others).
"""

from __future__ import annotations

import math

import numpy as np

from vesal.inference.geometry.views import (
    SIDE_MULTIPLE,
    Box,
    EvenTiling,
    Sides,
    Tiling,
    Triple,
    View,
    triple,
)

Ratios = tuple[float, ...]
DEGREE_RATIOS: Ratios = (1.7, 3.0)
"""From these ratios of thick to thin spacing on the view's grid, one and two levels work within slices."""
THIN_VOXELS = 6
"""A volume with at most this many voxels along one axis is treated as a stack of slices on that axis, of the
highest degree that the network has."""
SEARCH_FACTOR = 1.02
"""Spacings tried by the search grow by this factor; 2 % is finer than the rounding of sides to multiples."""


def anisotropy(size: Triple, spacing_mm: Triple, ratios: Ratios = DEGREE_RATIOS) -> tuple[int, int]:
    """Degree and thick axis of a grid with voxels of ``spacing_mm`` over ``size`` view voxels (both (D, H,
    W)); ``ratios`` of thick to thin spacing, from which on each degree holds.

    Only one axis can be thick: the ratio is taken between the longest and the second longest edge, so that a
    volume with two long axes is not collapsed along the wrong one.
    """
    thick = int(np.argmax(spacing_mm))
    others = [v for axis, v in enumerate(spacing_mm) if axis != thick]
    ratio = spacing_mm[thick] / max(others)
    degree = sum(ratio >= limit for limit in ratios)
    thinnest = int(np.argmin(size))
    if size[thinnest] <= THIN_VOXELS and degree < min(2, len(ratios)):
        return len(ratios), thinnest
    return degree, thick if degree else 0


def _sides(size_mm: Triple, spacing_mm: Triple, side_multiple: int, ratios: Ratios) -> tuple[Sides, int, int]:
    size = triple(e / s for e, s in zip(size_mm, spacing_mm, strict=True))
    degree, thick = anisotropy(size, spacing_mm, ratios) if ratios else (0, 0)
    sides = []
    for axis, extent in enumerate(size):
        multiple = side_multiple >> degree if degree and axis == thick else side_multiple
        sides.append(max(multiple, math.ceil(extent / multiple - 1e-6) * multiple))
    return (sides[0], sides[1], sides[2]), degree, thick


def through_plane_axis(spacing_dhw_mm: Triple) -> int:
    """The axis across the slices: the one whose voxels are clearly longer than along both others, else D.

    In-plane voxels of 5 mm beside slices of 2.5 mm make no thick axis.
    """
    axis = int(np.argmax(spacing_dhw_mm))
    return axis if spacing_dhw_mm[axis] >= DEGREE_RATIOS[0] * sorted(spacing_dhw_mm)[1] else 0


def fit_view(
    box: Box,
    spacing_dhw_mm: Triple,
    voxels: int,
    finest_mm: float = 0.0,
    multiple: int = SIDE_MULTIPLE,
    ratios: Ratios = DEGREE_RATIOS,
    thickest_slice_mm: float = math.inf,
) -> View:
    """The finest view of at most ``voxels`` voxels that covers ``box``.

    All axes share one spacing ``t``, except that an axis is never sampled finer than it was acquired
    (``max(t, native)``); slices thicker than the network knows are interpolated to the thickest of these, but
    no finer than in plane. Sides are rounded up to what the network can halve; what the rounding adds is
    surroundings, laid evenly around the box.

    Args:
        box: region to cover, native voxel edges (D, H, W).
        spacing_dhw_mm: native spacing in mm.
        voxels: largest number of view voxels.
        finest_mm: no view finer than this, in mm; 0 leaves it to the native spacing.
        multiple: sides are multiples of this, along a thick axis of ``multiple >> degree``.
        ratios: see ``anisotropy``; empty where the network has no degrees, and the view's is 0.
        thickest_slice_mm: of the slices that the network knows.

    Raises:
        ValueError: fewer voxels than the smallest cube that the network can halve, ``multiple`` cubed.
    """
    if voxels < multiple**3:
        raise ValueError(
            f"a view of {voxels} voxels is smaller than the smallest grid, {multiple}^3; ask for more"
        )
    size_mm = triple(max(n, 1e-3) * s for n, s in zip(box.size, spacing_dhw_mm, strict=True))
    least = _least_spacing(spacing_dhw_mm, thickest_slice_mm)
    target = max(min(least), finest_mm)
    while True:
        spacing = triple(max(target, s) for s in least)
        sides, degree, thick = _sides(size_mm, spacing, multiple, ratios)
        if math.prod(sides) <= voxels:
            tiling = EvenTiling(multiple)
            return laid_around(box, spacing_dhw_mm, spacing, sides, degree, thick, tiling)
        target *= SEARCH_FACTOR


def _least_spacing(spacing_dhw_mm: Triple, thickest_slice_mm: float) -> Triple:
    """How finely each axis may be sampled (D, H, W): as acquired, and slices that are too thick as finely as
    the thickest that may be, but no finer than in plane.
    """
    across = through_plane_axis(spacing_dhw_mm)
    in_plane = max(s for axis, s in enumerate(spacing_dhw_mm) if axis != across)
    slice_mm = min(spacing_dhw_mm[across], max(thickest_slice_mm, in_plane))
    return triple(slice_mm if axis == across else s for axis, s in enumerate(spacing_dhw_mm))


def laid_around(
    box: Box,
    native_mm: Triple,
    spacing_mm: Triple,
    sides: Sides,
    degree: int,
    thick: int,
    tiling: Tiling,
) -> View:
    """A view of ``sides`` voxels of ``spacing_mm`` with its centre where the centre of ``box`` is."""
    start, step = [], []
    for axis in range(3):
        s = spacing_mm[axis] / native_mm[axis]
        first = (box.start[axis] + box.stop[axis]) / 2 - sides[axis] * s / 2
        # Unscaled axes keep the acquired samples: no interpolation between slices that need none.
        start.append(float(round(first)) if s == 1.0 else first)
        step.append(s)
    return View(triple(start), triple(step), sides, degree, thick, tiling)

"""Where a network looks: axis-aligned views laid over a volume, and the rules that choose their spacing.

Coordinates are native voxel edges: voxel ``j`` of the input covers ``[j, j + 1)`` on its axis, so a view with
``start = 0`` and ``step = 1`` is the volume itself. Axes are (D, H, W) throughout.

The rules follow Medal S section 2.5 (dynamic resampling) and SegVol's zoom-out-zoom-in; the degree of
anisotropy follows SPAD-Nets (kernels collapse along an axis whose voxels are longer than the others).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

Triple = tuple[float, float, float]
Sides = tuple[int, int, int]

DEGREE_RATIOS = (1.7, 3.0)
"""From these ratios of thick to thin spacing on the view's grid, one and two levels work within slices."""
SIDE_MULTIPLE = 16
"""The network halves a side four times; along a thick axis it halves it ``4 - degree`` times."""
THIN_VOXELS = 6
"""A volume with at most this many voxels along one axis is treated as a stack of slices on that axis."""
SEARCH_FACTOR = 1.02
"""Spacings tried by the search grow by this factor; 2 % is finer than the rounding of sides to multiples."""


def triple(values: Iterable[float]) -> Triple:
    """Three numbers, one for each of (D, H, W)."""
    d, h, w = values
    return d, h, w


@dataclass(frozen=True)
class Box:
    """A box in native voxel edges: ``start`` inclusive, ``stop`` exclusive, both (D, H, W)."""

    start: Triple
    stop: Triple

    @property
    def size(self) -> Triple:
        """Extent in native voxels, (D, H, W)."""
        return triple(b - a for a, b in zip(self.start, self.stop, strict=True))

    def grown(self, factor: float) -> Box:
        """The box scaled by ``factor`` about its centre."""
        half = [s * (factor - 1) / 2 for s in self.size]
        return Box(
            triple(a - h for a, h in zip(self.start, half, strict=True)),
            triple(b + h for b, h in zip(self.stop, half, strict=True)),
        )


@dataclass(frozen=True)
class Tiling:
    """How a view is sampled and cut where a profile's rules say so (`inference.rules`)."""

    window: Sides
    """Every window's shape, whatever is allowed otherwise."""
    grid: Sides
    """The view's voxels without the zeros that are appended up to a window."""
    source: Sides
    """Native voxels from the view's start on that are resampled to ``grid``; nothing around them is used."""
    nearest_axis: int | None
    """Axis that is sampled by nearest neighbour; the others are linear, without a filter."""
    corners: bool = False
    """Whether the centres of the first and last voxels stay where they are, and not their edges."""


@dataclass(frozen=True)
class View:
    """A regular grid over a volume; its voxel ``k`` begins at ``start + k * step``."""

    start: Triple
    """Lower edge of the first view voxel, in native voxels (D, H, W); may lie outside the volume."""
    step: Triple
    """Native voxels per view voxel (D, H, W); 1 or more but in a ``tiling``, or where training lays a view as
    over a finer copy."""
    shape: Sides
    """Number of view voxels (D, H, W)."""
    degree: int
    """Degree of anisotropy 0, 1 or 2: how many levels of the network work within slices."""
    thick_axis: int
    """The axis with the longest view voxels; the network sees it first. 0 where ``degree`` is 0."""
    tiling: Tiling | None = None
    """Given where rules laid the view; then ``degree`` is 0."""

    @property
    def box(self) -> Box:
        """The region that the view covers, in native voxel edges."""
        stop = triple(a + n * s for a, n, s in zip(self.start, self.shape, self.step, strict=True))
        return Box(self.start, stop)

    def first(self, axis: int) -> int:
        """The native voxel in which a tiling's view begins; of no use for other views."""
        corners = self.tiling is not None and self.tiling.corners and self.tiling.grid[axis] > 1
        return round(self.start[axis] + (self.step[axis] / 2 - 0.5 if corners else 0.0))

    def spacing_mm(self, spacing_dhw_mm: Triple) -> Triple:
        """Edge lengths of a view voxel in mm, (D, H, W)."""
        return triple(s * v for s, v in zip(self.step, spacing_dhw_mm, strict=True))


def whole(shape: Sides) -> Box:
    """The box of a whole volume of ``shape`` (D, H, W)."""
    return Box((0.0, 0.0, 0.0), triple(float(n) for n in shape))


def anisotropy(size: Triple, spacing_mm: Triple) -> tuple[int, int]:
    """Degree and thick axis of a grid with voxels of ``spacing_mm`` over ``size`` view voxels (both (D, H,
    W)).

    Only one axis can be thick: the ratio is taken between the longest and the second longest edge, so that a
    volume with two long axes is not collapsed along the wrong one.
    """
    thick = int(np.argmax(spacing_mm))
    others = [v for axis, v in enumerate(spacing_mm) if axis != thick]
    ratio = spacing_mm[thick] / max(others)
    degree = sum(ratio >= limit for limit in DEGREE_RATIOS)
    thinnest = int(np.argmin(size))
    if size[thinnest] <= THIN_VOXELS and degree < 2:
        return 2, thinnest
    return degree, thick if degree else 0


def _sides(size_mm: Triple, spacing_mm: Triple) -> tuple[Sides, int, int]:
    size = triple(e / s for e, s in zip(size_mm, spacing_mm, strict=True))
    degree, thick = anisotropy(size, spacing_mm)
    sides = []
    for axis, extent in enumerate(size):
        multiple = SIDE_MULTIPLE >> degree if degree and axis == thick else SIDE_MULTIPLE
        sides.append(max(multiple, math.ceil(extent / multiple - 1e-6) * multiple))
    return (sides[0], sides[1], sides[2]), degree, thick


def fit_view(box: Box, spacing_dhw_mm: Triple, voxels: int, finest_mm: float = 0.0) -> View:
    """The finest view of at most ``voxels`` voxels that covers ``box``.

    All axes share one spacing ``t``, except that an axis is never sampled finer than it was acquired
    (``max(t, native)``). Sides are rounded up to what the network can halve; what the rounding adds is
    surroundings, laid evenly around the box.

    Args:
        box: region to cover, native voxel edges (D, H, W).
        spacing_dhw_mm: native spacing in mm.
        voxels: largest number of view voxels.
        finest_mm: no view finer than this, in mm; 0 leaves it to the native spacing.

    Raises:
        ValueError: fewer voxels than the smallest cube that the network can halve, 16^3.
    """
    if voxels < SIDE_MULTIPLE**3:
        raise ValueError(
            f"a view of {voxels} voxels is smaller than the smallest grid, {SIDE_MULTIPLE}^3; ask for more"
        )
    size_mm = triple(max(n, 1e-3) * s for n, s in zip(box.size, spacing_dhw_mm, strict=True))
    target = max(min(spacing_dhw_mm), finest_mm)
    while True:
        spacing = triple(max(target, s) for s in spacing_dhw_mm)
        sides, degree, thick = _sides(size_mm, spacing)
        if math.prod(sides) <= voxels:
            return _laid_around(box, spacing_dhw_mm, spacing, sides, degree, thick)
        target *= SEARCH_FACTOR


def _laid_around(
    box: Box, native_mm: Triple, spacing_mm: Triple, sides: Sides, degree: int, thick: int
) -> View:
    start, step = [], []
    for axis in range(3):
        s = spacing_mm[axis] / native_mm[axis]
        first = (box.start[axis] + box.stop[axis]) / 2 - sides[axis] * s / 2
        # Unscaled axes keep the acquired samples: no interpolation between slices that need none.
        start.append(float(round(first)) if s == 1.0 else first)
        step.append(s)
    return View(triple(start), triple(step), sides, degree, thick)


def tile_starts(length: int, window: int, overlap: float) -> list[int]:
    """First voxels of windows that cover ``length`` voxels; evenly spread, neighbours share at least
    ``overlap``.
    """
    if not 0 <= overlap < 1:
        raise ValueError(f"overlap is {overlap}; wanted 0 or more and less than 1")
    if window >= length:
        return [0]
    stride = max(1, int(window * (1 - overlap)))
    count = math.ceil((length - window) / stride) + 1
    return [round(i * (length - window) / (count - 1)) for i in range(count)]

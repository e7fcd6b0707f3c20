"""Where a network looks: axis-aligned views laid over a volume, and how a view is cut into windows.

Coordinates are native voxel edges: voxel ``j`` of the input covers ``[j, j + 1)`` on its axis, so a view with
``start = 0`` and ``step = 1`` is the volume itself. Axes are (D, H, W) throughout. What lays views is in
``geometry.layouts``; further ways to cut them are in ``geometry.tilings``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

Triple = tuple[float, float, float]
Sides = tuple[int, int, int]

SIDE_MULTIPLE = 16
"""Default of what sides are multiples of: a network that halves them four times."""
SIGMA_SHARE = 0.125
"""Standard deviation of the blending weight as a share of the window's side (nnU-Net and Medal S use 1/8)."""
MIN_WEIGHT = 1e-3
"""Floor of the blending weight, so that a corner covered by one window only does not lose precision."""


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

    def overlaps(self, other: Box) -> bool:
        """Whether some voxel lies in both."""
        ends = zip(self.start, self.stop, other.start, other.stop, strict=True)
        return all(max(a, c) < min(b, d) for a, b, c, d in ends)

    def grown(self, factor: float) -> Box:
        """The box scaled by ``factor`` about its centre."""
        half = [s * (factor - 1) / 2 for s in self.size]
        return Box(
            triple(a - h for a, h in zip(self.start, half, strict=True)),
            triple(b + h for b, h in zip(self.stop, half, strict=True)),
        )


@dataclass(frozen=True)
class Sampling:
    """How a view is resampled where it has to be exactly as a published code does it; else it is by area."""

    grid: Sides
    """The view's voxels without the zeros that are appended up to a window."""
    source: Sides
    """Native voxels from the view's start on that are resampled to ``grid``; nothing around them is used."""
    nearest_axis: int | None
    """Axis that is sampled by nearest neighbour; the others are linear, without a filter."""
    corners: bool = False
    """Whether the centres of the first and last voxels stay where they are, and not their edges."""


@dataclass(frozen=True)
class VolumeGrid:
    """Shape (D, H, W) and spacing in mm of a volume, and how thick its slices may be for the network."""

    shape: Sides
    spacing_dhw_mm: Triple
    thickest_slice_mm: float = math.inf
    """Thicker slices are interpolated to this, where the layout chooses the spacing."""


class Tiling(Protocol):
    """How a view is cut into windows. Frozen and hashable, as views are."""

    @property
    def halo(self) -> Sides:
        """Voxels (D, H, W) on both ends of a window that the network sees as context and does not predict."""

    @property
    def border(self) -> str:
        """What a halo beyond the view holds: `edge` repeats the last voxel, `reflect` mirrors at it."""

    def size(self, view: View, voxels: int) -> Sides:
        """Shape (D, H, W) of a window, without its halo, of at most ``voxels`` voxels where it may choose."""

    def corners(self, view: View, size: Sides, overlap: float) -> list[Sides]:
        """First voxels of all windows, D slowest; neighbours share ``overlap`` where it may choose."""

    def weight(self, size: Sides) -> np.ndarray:
        """Blending weight (d, h, w) float32 of a window."""

    @property
    def apart(self) -> bool:
        """Whether windows are runs of slices of which no two share a voxel: then they may be run in any
        order, and the last may reach beyond the view.
        """


class SliceSampler(Protocol):
    """Samples the slices of a view along its thick axis one by one. Frozen and hashable, as views are."""

    def slices(self, volume: np.ndarray, view: View, numbers: np.ndarray) -> np.ndarray:
        """Slices (n, h, w) of the volume's type, of a volume (D, H, W) on a view; ``numbers`` (n,) are of the
        view's slices, the plane's axes are in their order.
        """


@dataclass(frozen=True)
class EvenTiling:
    """Windows as large as allowed, evenly spread, blended with a Gaussian."""

    multiple: int = SIDE_MULTIPLE
    """Sides of a window are multiples of this; along a thick axis of ``multiple >> degree``."""

    halo = (0, 0, 0)
    border = "edge"
    apart = False

    def size(self, view: View, voxels: int) -> Sides:
        """The largest window of at most ``voxels`` voxels for ``view``: its longest sides are cut first.

        Voxels of a thick axis count at their length.
        """
        steps = [self.multiple] * 3
        length = [1.0] * 3
        if view.degree:
            steps[view.thick_axis] = self.multiple >> view.degree
            length[view.thick_axis] = float(1 << view.degree)
        sides = list(view.shape)
        while math.prod(sides) > voxels:
            cuttable = [a for a in range(3) if sides[a] > steps[a]]
            if not cuttable:
                break
            axis = max(cuttable, key=lambda a: sides[a] * length[a])
            sides[axis] -= steps[axis]
        return sides[0], sides[1], sides[2]

    def corners(self, view: View, size: Sides, overlap: float) -> list[Sides]:
        """First voxels of all windows, see ``even_corners``."""
        return even_corners(view.shape, size, overlap)

    def weight(self, size: Sides) -> np.ndarray:
        """See ``gaussian_weight``."""
        return gaussian_weight(size)


@dataclass(frozen=True)
class View:
    """A regular grid over a volume; its voxel ``k`` begins at ``start + k * step``."""

    start: Triple
    """Lower edge of the first view voxel, in native voxels (D, H, W); may lie outside the volume."""
    step: Triple
    """Native voxels per view voxel (D, H, W); below 1 where a layout samples up."""
    shape: Sides
    """Number of view voxels (D, H, W)."""
    degree: int
    """Degree of anisotropy: how many levels of the network work within slices."""
    thick_axis: int
    """The axis that the network sees first: of the longest view voxels, or across the slices; 0 where it
    makes no difference."""
    tiling: Tiling = EvenTiling()
    """How it is cut into windows."""
    sampling: Sampling | None = None
    """How it is resampled; None: by area."""
    sampler: SliceSampler | None = None
    """Samples slice by slice, when a window is run; None: the view is sampled as a whole."""

    @property
    def box(self) -> Box:
        """The region that the view covers, in native voxel edges."""
        stop = triple(a + n * s for a, n, s in zip(self.start, self.shape, self.step, strict=True))
        return Box(self.start, stop)

    def first(self, axis: int) -> int:
        """The native voxel in which a view with ``sampling`` begins; of no use for other views."""
        corners = self.sampling is not None and self.sampling.corners and self.sampling.grid[axis] > 1
        return round(self.start[axis] + (self.step[axis] / 2 - 0.5 if corners else 0.0))

    def spacing_mm(self, spacing_dhw_mm: Triple) -> Triple:
        """Edge lengths of a view voxel in mm, (D, H, W)."""
        return triple(s * v for s, v in zip(self.step, spacing_dhw_mm, strict=True))


def sides_text(sides: Sides) -> str:
    """Sides for people: `32x64x64`."""
    return "x".join(map(str, sides))


def whole(shape: Sides) -> Box:
    """The box of a whole volume of ``shape`` (D, H, W)."""
    return Box((0.0, 0.0, 0.0), triple(float(n) for n in shape))


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


def even_corners(shape: Sides, window: Sides, overlap: float) -> list[Sides]:
    """First voxels of all windows over a view, D slowest."""
    starts = [tile_starts(n, w, overlap) for n, w in zip(shape, window, strict=True)]
    return [(d, h, w) for d in starts[0] for h in starts[1] for w in starts[2]]


def gaussian_weight(shape: tuple[int, int, int]) -> np.ndarray:
    """Blending weight (d, h, w) float32, 1 in the middle, ``MIN_WEIGHT`` at least."""
    weight = np.ones((1, 1, 1), np.float64)
    for axis, n in enumerate(shape):
        x = (np.arange(n) - (n - 1) / 2) / (n * SIGMA_SHARE)
        side = np.exp(-0.5 * x**2)
        weight = weight * side.reshape([-1 if a == axis else 1 for a in range(3)])
    return np.maximum(weight / weight.max(), MIN_WEIGHT).astype(np.float32)

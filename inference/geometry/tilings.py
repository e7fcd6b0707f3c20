"""Further ways to cut a view into windows: windows of a fixed shape, runs of slices, the published half
steps.

The half steps and their blending weight are Medal S's and SAT's (docs/medal_s.md 16, 33).
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace

import numpy as np

from vesal.inference.geometry.views import Sides, View, even_corners, gaussian_weight

SIGMA_SHARE = 1 / 8
"""Standard deviation of the weight, as a share of the window."""
REACH_SIGMAS = 4.0
"""The weight ends after so many standard deviations, as in the filter that the code makes it with."""
LARGEST_WEIGHT = 10.0
"""Weight at the window's centre: ten times what 16-bit floats resolve best."""


@dataclass(frozen=True)
class HalfStepTiling:
    """Windows of one shape that step by half of it, as Medal S and SAT lay them."""

    window: Sides

    halo = (0, 0, 0)
    border = "edge"
    apart = False

    def size(self, view: View, voxels: int) -> Sides:
        """The window, whatever is allowed: the network was trained to see it."""
        return self.window

    def corners(self, view: View, size: Sides, overlap: float) -> list[Sides]:
        """First voxels of all windows, D slowest; the overlap is always half."""
        d, h, w = ([first for first, _ in tile_bounds(n, c)] for n, c in zip(view.shape, size, strict=True))
        return [(z, y, x) for z in d for y in h for x in w]

    def weight(self, size: Sides) -> np.ndarray:
        """See ``blending_weight``; float32."""
        return blending_weight(size).astype(np.float32)


@dataclass(frozen=True)
class FixedTiling:
    """Windows of one shape, evenly spread, blended with a Gaussian."""

    window: Sides

    halo = (0, 0, 0)
    border = "edge"
    apart = False

    def size(self, view: View, voxels: int) -> Sides:
        """The window, whatever is allowed: the network was trained to see it."""
        return self.window

    def corners(self, view: View, size: Sides, overlap: float) -> list[Sides]:
        """First voxels of all windows, see ``even_corners``."""
        return even_corners(view.shape, size, overlap)

    def weight(self, size: Sides) -> np.ndarray:
        """See ``gaussian_weight``."""
        return gaussian_weight(size)


@dataclass(frozen=True)
class SliceTiling:
    """Runs of whole slices along one axis, each seen with some slices of context at both ends."""

    axis: int
    run: int
    """Slices that are predicted at once."""
    context: int
    """Slices at each end that are seen and not predicted."""
    border: str = "edge"
    """See ``Tiling.border``."""

    apart = False

    @property
    def halo(self) -> Sides:
        """The context along the axis of the slices."""
        d, h, w = (self.context if axis == self.axis else 0 for axis in range(3))
        return d, h, w

    def size(self, view: View, voxels: int) -> Sides:
        """Whole slices, as many as ``run`` and ``voxels`` allow, one at least."""
        sides = list(view.shape)
        plane = math.prod(sides) // sides[self.axis]
        sides[self.axis] = max(1, min(self.run, sides[self.axis], voxels // plane))
        return sides[0], sides[1], sides[2]

    def corners(self, view: View, size: Sides, overlap: float) -> list[Sides]:
        """First voxels of all runs, which do not overlap; the last one is shifted back to end with the
        view.
        """
        length, run = view.shape[self.axis], size[self.axis]
        starts = [min(first, length - run) for first in range(0, length, run)]
        return [tuple(s if a == self.axis else 0 for a in range(3)) for s in starts]  # type: ignore[misc]

    def weight(self, size: Sides) -> np.ndarray:
        """Ones (d, h, w): slices that two runs share are averaged."""
        return np.ones(size, np.float32)


def padding(shape: Sides, crop: Sides) -> Sides:
    """Zeros to append to each axis (D,H,W) so that it holds a window."""
    d, h, w = (max(0, c - n) for n, c in zip(shape, crop, strict=True))
    return d, h, w


def tile_bounds(length: int, crop: int) -> list[tuple[int, int]]:
    """First and one-past-last voxel of the windows along one axis.

    Windows step by half their length; the last one is shifted back to end with the axis. An axis shorter
    than a window gets one window of its own length.
    """
    count = max(1, math.ceil(length / (crop // 2)) - 1)
    starts = [min(i * (crop // 2), max(0, length - crop)) for i in range(count)]
    return [(start, min(start + crop, length)) for start in starts]


def tiles(shape: Sides, crop: Sides) -> list[tuple[tuple[int, int], ...]]:
    """Bounds (D,H,W) of all windows over a grid; the last axis changes fastest."""
    return list(itertools.product(*(tile_bounds(n, c) for n, c in zip(shape, crop, strict=True))))


def blending_weight(crop: Sides) -> np.ndarray:
    """Weight of a window's voxels, `crop` float16: a Gaussian, 10 at the centre, above 0 everywhere.

    Voxels where 16-bit floats give 0 get the smallest weight that they do give.
    """
    lines = [_line(n) for n in crop]
    full = lines[0][:, None, None] * lines[1][:, None] * lines[2]
    weight = (full / (full.max() / LARGEST_WEIGHT)).astype(np.float16)
    weight[weight == 0] = weight[weight > 0].min()
    return weight


def _line(n: int) -> np.ndarray:
    """(n,) float64: a normalised Gaussian around voxel n // 2, 0 beyond its reach."""
    sigma = n * SIGMA_SHARE
    reach = int(REACH_SIGMAS * sigma + 0.5)
    kernel = np.exp(-0.5 / sigma**2 * np.arange(-reach, reach + 1) ** 2)
    kernel /= kernel.sum()
    line = np.zeros(n)
    at = np.arange(n) - n // 2 + reach
    inside = (at >= 0) & (at < len(kernel))
    line[inside] = kernel[at[inside]]
    return line


def without_padding(probability: np.ndarray, view: View) -> tuple[np.ndarray, View]:
    """A class (d,h,w) and its view without the zeros that its sampling appended: nothing was predicted
    there.
    """
    if view.sampling is None:
        return probability, view
    own = unpadded(view)
    return probability[tuple(slice(0, n) for n in own.shape)], own


def unpadded(view: View) -> View:
    """A view without the voxels that its sampling appended."""
    return view if view.sampling is None else replace(view, shape=view.sampling.grid)

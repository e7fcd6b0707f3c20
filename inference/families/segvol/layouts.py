"""Views of SegVol's two stages: the whole volume in one window, and windows as acquired."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from vesal.inference.geometry.nearest import nearest_exact
from vesal.inference.geometry.tilings import FixedTiling
from vesal.inference.geometry.views import Box, Sides, View, VolumeGrid, triple


@dataclass(frozen=True)
class StretchedSampler:
    """A part of a volume brought to one shape by nearest-exact; a ``geometry.views.SliceSampler``."""

    start: Sides
    shape: Sides

    def slices(self, volume: np.ndarray, view: View, numbers: np.ndarray) -> np.ndarray:
        """Slices (n, h, w) of a volume (D, H, W)."""
        d, h, w = (
            first + nearest_exact(n_out, n_in)
            for first, n_out, n_in in zip(self.start, view.shape, self.shape, strict=True)
        )
        return volume[np.ix_(d[numbers], h, w)]


@dataclass(frozen=True)
class Whole:
    """The part of a volume that is looked at, in one window; a ``geometry.layouts.Layout`` of one case."""

    start: Sides
    shape: Sides
    window: Sides

    crop_air = False

    @property
    def min_voxels(self) -> int:
        """The window."""
        return math.prod(self.window)

    def view(self, box: Box, volume: VolumeGrid, voxels: int, finest_mm: float) -> View:
        """The one view, whatever is asked for."""
        step = triple(n / m for n, m in zip(self.shape, self.window, strict=True))
        sampler = StretchedSampler(self.start, self.shape)
        start = triple(float(first) for first in self.start)
        return View(start, step, self.window, 0, 0, FixedTiling(self.window), sampler=sampler)


@dataclass(frozen=True)
class NativeSampler:
    """Voxels as acquired, and the type's least number around a region; a ``geometry.views.SliceSampler``."""

    start: Sides
    """of the region in the volume"""
    shape: Sides
    """of the region"""

    def slices(self, volume: np.ndarray, view: View, numbers: np.ndarray) -> np.ndarray:
        """Slices (n, h, w) of a volume (D, H, W): what is no part of the region becomes 0 as a grey level."""
        out = np.full((len(numbers), *view.shape[1:]), _least(volume.dtype), volume.dtype)
        lead = [first - round(at) for first, at in zip(self.start, view.start, strict=True)]
        rows, columns = (slice(lead[a], lead[a] + self.shape[a]) for a in (1, 2))
        known = (numbers >= lead[0]) & (numbers < lead[0] + self.shape[0])
        planes = volume[
            :,
            self.start[1] : self.start[1] + self.shape[1],
            self.start[2] : self.start[2] + self.shape[2],
        ]
        out[known, rows, columns] = planes[numbers[known] - lead[0] + self.start[0]]
        return out


def _least(dtype: np.dtype[Any]) -> Any:
    return np.iinfo(dtype).min if np.issubdtype(dtype, np.integer) else np.finfo(dtype).min


@dataclass(frozen=True)
class ZoomTiling(FixedTiling):
    """Windows as MONAI's sliding window lays them, each weighing the same; knows the region they are over."""

    start: Sides
    """of the region in the volume, native voxels"""
    shape: Sides
    """of the region; the view is larger where the region is smaller than a window"""

    def corners(self, view: View, size: Sides, overlap: float) -> list[Sides]:
        """First voxels of all windows, D slowest; the last ones are shifted back to end with the view."""
        d, h, w = (window_starts(n, m, overlap) for n, m in zip(view.shape, size, strict=True))
        return list(product(d, h, w))

    def weight(self, size: Sides) -> np.ndarray:
        """Ones."""
        return np.ones(size, np.float32)


def window_starts(length: int, window: int, overlap: float) -> list[int]:
    """First voxels of the windows along one axis: each a stride after the one before."""
    if window >= length:
        return [0]
    stride = max(1, int(window * (1 - overlap)))
    count = -(-(length - window) // stride) + 1
    return [min(number * stride, length - window) for number in range(count)]


@dataclass(frozen=True)
class Zoomed:
    """A region as acquired, filled up to one window; a ``geometry.layouts.Layout`` of one case."""

    window: Sides

    crop_air = False

    @property
    def min_voxels(self) -> int:
        """One window."""
        return math.prod(self.window)

    def view(self, box: Box, volume: VolumeGrid, voxels: int, finest_mm: float) -> View:
        """The view over a region of whole voxels: what is missing of a window is added, half of it before."""
        start = tuple(round(at) for at in box.start)
        shape = tuple(round(b) - a for a, b in zip(start, box.stop, strict=True))
        sides = tuple(max(n, m) for n, m in zip(shape, self.window, strict=True))
        first = triple(float(a - (s - n) // 2) for a, s, n in zip(start, sides, shape, strict=True))
        at, own, (d, h, w) = _sides(start), _sides(shape), sides
        tiling = ZoomTiling(self.window, at, own)
        return View(first, (1.0, 1.0, 1.0), (d, h, w), 0, 0, tiling, sampler=NativeSampler(at, own))


def _sides(values: tuple[int, ...]) -> Sides:
    d, h, w = values
    return d, h, w


def place_of(view: View, corner: Sides, size: Sides) -> tuple[Any, ...]:
    """Where a window of ``size`` lies in the volume, and which voxels of it are not filled up: windows of one
    place look the same. Zoom-out has one place.
    """
    zoom = view.tiling
    if not isinstance(zoom, ZoomTiling):
        return ("whole", size)
    first = [round(a) + c for a, c in zip(view.start, corner, strict=True)]
    sides = zip(first, size, zoom.start, zoom.shape, strict=True)
    return tuple((a, max(a, start), min(a + n, start + own)) for a, n, start, own in sides)


@dataclass(frozen=True)
class KeptPlaces:
    """The encoded windows that are kept of a case; a ``planning.rules.KeptWindows``."""

    most: int

    def place(self, view: View, corner: Sides, size: Sides) -> tuple[Any, ...]:
        """See ``place_of``."""
        return place_of(view, corner, size)

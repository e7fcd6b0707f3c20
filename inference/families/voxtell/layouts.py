"""Windows of VoxTell: over the box of what is not 0, as acquired, evenly spread, blended with a Gaussian."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from itertools import product

import numpy as np

from vesal.inference.families.voxtell.preprocess import nonzero_box
from vesal.inference.geometry.fit import SEARCH_FACTOR
from vesal.inference.geometry.tilings import FixedTiling
from vesal.inference.geometry.views import Box, Sides, View, VolumeGrid, triple

SIGMA_SHARE, REACH_SIGMAS, LARGEST_WEIGHT = 1 / 8, 4.0, 10.0
"""Standard deviation of the weight as a share of the window, where it ends in deviations, and its largest
value, all as released."""
Bounds = tuple[int, int]
"""First voxel, and one past the last."""


@dataclass(frozen=True)
class EvenWindows(FixedTiling):
    """Windows as released; knows which voxels of its view are no padding."""

    inside: tuple[Bounds, Bounds, Bounds]
    """of the view's voxels, (D, H, W)"""
    half: bool = False
    """whether weights are rounded to 16 bits"""

    def corners(self, view: View, size: Sides, overlap: float) -> list[Sides]:
        """First voxels of all windows, D slowest."""
        d, h, w = (window_starts(n, m, 1 - overlap) for n, m in zip(view.shape, size, strict=True))
        return list(product(d, h, w))

    def weight(self, size: Sides) -> np.ndarray:
        """See ``window_weight``."""
        return window_weight(size, self.half)


def window_starts(length: int, window: int, step: float) -> list[int]:
    """First voxels of the windows along an axis: at most ``step`` of a window apart, evenly spread from 0 to
    the last place and rounded, halves to even.
    """
    if length <= window:
        return [0]
    count = math.ceil((length - window) / (window * step)) + 1
    apart = (length - window) / (count - 1)
    return [round(apart * number) for number in range(count)]


@lru_cache(maxsize=2)
def window_weight(window: Sides, half: bool = False, largest: float = LARGEST_WEIGHT) -> np.ndarray:
    """Weight (d, h, w) float32 of a window's voxels, read-only: a Gaussian, ``largest`` in the middle, above
    0 everywhere.
    """
    lines = [_line(n) for n in window]
    full = lines[0][:, None, None] * lines[1][:, None] * lines[2]
    weight = (full / (full.max() / largest)).astype(np.float32)
    if half:
        weight = weight.astype(np.float16)
    weight[weight == 0] = weight[weight > 0].min()
    weight = weight.astype(np.float32)
    weight.flags.writeable = False
    return weight


def _line(n: int) -> np.ndarray:
    """(n,) float64: a normalised Gaussian around voxel n // 2, 0 beyond its reach."""
    sigma = n * SIGMA_SHARE
    reach = int(REACH_SIGMAS * sigma + 0.5)
    kernel = np.exp(-0.5 / sigma**2 * np.arange(-reach, reach + 1) ** 2)
    kernel /= kernel.sum()
    line = np.zeros(n)
    at = np.arange(n) - n // 2 + reach
    known = (at >= 0) & (at < len(kernel))
    line[known] = kernel[at[known]]
    return line


@dataclass(frozen=True)
class Cropped:
    """A region as acquired, filled up to one window on both sides; a ``geometry.layouts.Layout``."""

    window: Sides
    half: bool = False
    """see ``EvenWindows``"""
    rung_mm: float = 0.0
    """spacing that is a rung of its own on the ladder; 0: none"""

    crop_air = False

    @property
    def min_voxels(self) -> int:
        """One window."""
        return math.prod(self.window)

    def first_box(self, image: np.ndarray) -> Box:
        """What is looked at of a volume (D, H, W)."""
        return nonzero_box(image)

    def view(self, box: Box, volume: VolumeGrid, voxels: int, finest_mm: float) -> View:
        """The view over a box of whole voxels: as acquired, or its finest axes coarser, by ``finest_mm`` and
        by the number of windows that ``voxels`` are for. An odd voxel of padding is behind.
        """
        allowed, finest = max(1, voxels // self.min_voxels), max(finest_mm, min(volume.spacing_dhw_mm))
        while True:
            step = triple(max(1.0, finest / mm) for mm in volume.spacing_dhw_mm)
            own = [max(1, math.ceil(n / s - 1e-6)) for n, s in zip(box.size, step, strict=True)]
            if math.prod(-(-n // w) for n, w in zip(own, self.window, strict=True)) <= allowed:
                break
            finest *= SEARCH_FACTOR
        d, h, w = (max(n, w) for n, w in zip(own, self.window, strict=True))
        lead = [(n - m) // 2 for n, m in zip((d, h, w), own, strict=True)]
        ends = [(a, a + n) for a, n in zip(lead, own, strict=True)]
        # A coarser grid is laid around the middle of the box.
        over = [(n * s - m) / 2 for n, s, m in zip(own, step, box.size, strict=True)]
        start = triple(a - o - b * s for a, o, b, s in zip(box.start, over, lead, step, strict=True))
        tiling = EvenWindows(self.window, (ends[0], ends[1], ends[2]), self.half)
        return View(start, step, (d, h, w), 0, 0, tiling)

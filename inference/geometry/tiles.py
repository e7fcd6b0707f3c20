"""Windows over a grid and their blending weight, as Medal S and SAT lay them (docs/medal_s.md 16, 33)."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np

from vesal.inference.geometry.views import Sides, View

SIGMA_SHARE = 1 / 8
"""Standard deviation of the weight, as a share of the window."""
REACH_SIGMAS = 4.0
"""The weight ends after so many standard deviations, as in the filter that the code makes it with."""
LARGEST_WEIGHT = 10.0
"""Weight at the window's centre: ten times what 16-bit floats resolve best."""


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
    """A class (d,h,w) and its view without the zeros that a tiling appended: nothing was predicted there."""
    if view.tiling is None:
        return probability, view
    grid = view.tiling.grid
    return probability[tuple(slice(0, n) for n in grid)], replace(view, shape=grid)

"""Bicubic resampling of planes as torch's ``interpolate`` does it, corners not aligned.

The cubic convolution of Keys (1981) has one free number, a. torch takes -0.75 without antialias and -0.5 with
it, and they differ in more than that. Without antialias four inputs count, whatever the scale, and the border
is repeated. With it the kernel is as wide as a step where that is more than one input, and inputs beyond the
border are left out, so that the others weigh more.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from vesal.inference.geometry.banded_product import plane_product
from vesal.inference.geometry.bands import Band

PLAIN, ANTIALIASED = -0.75, -0.5
"""The kernel's a, as torch has it without antialias and with it."""
REACH = 2
"""Inputs that the kernel reaches to either side of a place, where it is not widened."""


def cubic(distance: np.ndarray, a: float) -> np.ndarray:
    """Weight of inputs so far from a place, any shape float64; 0 from a distance of 2 on."""
    x = np.abs(distance)
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
    return np.where(x < 1, near, np.where(x < REACH, far, 0.0))


@lru_cache(maxsize=12)
def bicubic_weights(n_in: int, n_out: int, antialias: bool = True, a: float | None = None) -> Band:
    """Weights along one axis.

    Args:
        n_in: inputs, 1 or more.
        n_out: outputs.
        antialias: whether the kernel is widened where the axis becomes shorter; see above for the border.
        a: of the kernel; None: torch's, `ANTIALIASED` or `PLAIN`.

    Returns:
        taps for each output; some are below 0, and each row sums to 1.
    """
    if a is None:
        a = ANTIALIASED if antialias else PLAIN
    step = n_in / n_out
    width = max(1.0, step) if antialias else 1.0
    place = (np.arange(n_out) + 0.5) * step - 0.5
    reached = int(np.ceil(2 * REACH * width))
    low = np.floor(place - REACH * width).astype(np.int64) + 1
    inputs = low[:, None] + np.arange(reached)
    weights = cubic((inputs - place[:, None]) / width, a)
    if antialias:
        weights[(inputs < 0) | (inputs >= n_in)] = 0.0
        weights /= weights.sum(1, keepdims=True)
    taps = min(n_in, reached)
    first = np.clip(low, 0, n_in - taps)
    found = np.zeros((n_out, taps))
    columns = np.clip(inputs, 0, n_in - 1) - first[:, None]
    np.add.at(found, (np.arange(n_out)[:, None], columns), weights)
    return Band(n_in, first, found)


def bicubic(
    planes: np.ndarray, shape: tuple[int, int], antialias: bool = True, a: float | None = None
) -> np.ndarray:
    """Resample planes (N, h, w) float32 to (N, *shape) float32; may exceed the least and largest input.

    `antialias` and `a` as in ``bicubic_weights``. Each plane gives the same bytes on every processor and
    beside any others, within 1e-6 of its largest value of what torch gives in float64 (in float32 torch's own
    rounding of places adds up to 1e-5 of it).
    """
    bands = [bicubic_weights(n, to, antialias, a) for n, to in zip(planes.shape[1:], shape, strict=True)]
    return plane_product(planes, bands)

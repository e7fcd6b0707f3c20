"""Bicubic resizing of planes in their own type, as torch's ``interpolate`` does it without antialias.

torch has a kernel of its own for uint8: the width first, then the height, weights as whole numbers of 16
bits, and each of the two results rounded and cut to 0..255. It differs from rounding a float result in up to
a quarter of the pixels, so what was trained on it has to see it.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from vesal.inference.geometry.bicubic import bicubic, bicubic_weights

WEIGHT_BITS = 15
"""A weight is below 2^15: with pixels of 8 bits every sum of four is exact in float32."""
Zeros = tuple[tuple[int, int], tuple[int, int]]
"""Before and behind the pixels of each axis of a plane."""
NO_ZEROS: Zeros = ((0, 0), (0, 0))


@lru_cache(maxsize=12)
def _taps(n_in: int, n_out: int) -> tuple[np.ndarray, np.ndarray]:
    """Of one axis: the first input of each output (n_out,), and weights (n_out, taps) float32 that are
    multiples of a power of two, the largest for which they have ``WEIGHT_BITS``.
    """
    band = bicubic_weights(n_in, n_out, antialias=False)
    scale = 1
    while scale < 1 << 22 and int(0.5 + band.weights.max() * 2 * scale) < 1 << WEIGHT_BITS:
        scale *= 2
    whole = np.trunc(band.weights * scale + np.copysign(0.5, band.weights))
    return band.first, (whole / scale).astype(np.float32)


def _along(values: np.ndarray, n_out: int, axis: int, zeros: tuple[int, int]) -> np.ndarray:
    """Resize (n, h, w) float32 whole numbers along an axis, zeros around them: whole numbers 0..255."""
    n, before = values.shape[axis], zeros[0]
    first, weights = _taps(before + n + zeros[1], n_out)
    shape = [-1 if a == axis else 1 for a in range(3)]
    total = np.full(1, 0.5, np.float32)
    for tap in range(weights.shape[1]):
        at = first + (tap - before)
        weight = weights[:, tap] * ((at >= 0) & (at < n))
        total = values.take(at, axis, mode="clip") * weight.reshape(shape) + total
    np.floor(total, out=total)
    return np.clip(total, 0, 255, out=total)


def resize(planes: np.ndarray, shape: tuple[int, int], zeros: Zeros = NO_ZEROS) -> np.ndarray:
    """Planes (n, h, w) at another size, (n, *shape), of their own type.

    uint8 gives what torch's kernel gives, to the last bit. float32 may exceed the least and largest input.
    Planes that have the size are returned as they are.

    Args:
        planes: at least one pixel each.
        shape: wanted, (h, w).
        zeros: how many stand before and behind the pixels of each axis. They count like pixels, and take no
            memory where planes are uint8.
    """
    filled = tuple(n + sum(around) for n, around in zip(planes.shape[1:], zeros, strict=True))
    if planes.dtype != np.uint8 or filled == shape:
        padded = np.pad(planes, ((0, 0), *zeros)) if zeros != NO_ZEROS else planes
        return padded if filled == shape else bicubic(padded, shape, antialias=False)
    out = np.empty((len(planes), *shape), np.uint8)
    for number, plane in enumerate(planes):  # one after the other: a plane stays in the processor's cache
        wide = _along(plane[None].astype(np.float32), shape[1], 2, zeros[1])
        out[number] = _along(wide, shape[0], 1, zeros[0])[0]
    return out

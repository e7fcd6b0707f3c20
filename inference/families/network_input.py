"""A sampled view as the input of a network: channels, and the statistics that they are scaled by."""

from __future__ import annotations

import math

import numpy as np

from vesal.inference.runtime.threads import in_parallel, in_slabs

SUMMED_AT_ONCE = 1 << 16
"""Voxels: 0.5 MB as float64, which a processor's cache holds."""


def intensity_statistics(image: np.ndarray) -> tuple[float, float]:
    """Mean and standard deviation of a uint8 volume (D, H, W), exact; a constant volume has 1."""
    flat = image.reshape(-1)

    def sums(part: slice) -> tuple[int, int]:
        # Sums of whole numbers are exact in float64 up to 2^53, and products of vectors are its fastest way.
        values = flat[part].astype(np.float64)
        return int(values.sum()), int(values @ values)

    parts = in_parallel(sums, in_slabs(flat.size, SUMMED_AT_ONCE))
    n, total, squares = max(1, flat.size), sum(p[0] for p in parts), sum(p[1] for p in parts)
    variance = (n * squares - total * total) / (n * n)
    return total / n, math.sqrt(variance) if variance > 0 else 1.0


def image_channels(image: np.ndarray, statistics: tuple[float, float]) -> np.ndarray:
    """(d, h, w) float32 0..255 -> (2, d, h, w): scaled to -1..1, and standardised over the volume.

    The first keeps what an absolute value means (CT windows), the second what it means in this volume (MR).
    """
    mean, std = statistics
    channels = np.empty((2, *image.shape), np.float32)
    np.divide(image, 127.5, out=channels[0])
    channels[0] -= 1.0
    np.subtract(image, mean, out=channels[1])
    channels[1] /= std
    return channels

"""Weights along one axis: by area, linear, and of nearest neighbours."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from vesal.inference.geometry.bands import Band, two_taps


@lru_cache(maxsize=12)
def axis_weights(n_in: int, start: float, step: float, n_out: int, outside: str = "zero") -> Band:
    """Linear, with a triangle as wide as a step where that is more than one voxel.

    Kept for the next classes on the same views.

    Args:
        n_in: number of input voxels.
        start: edge coordinate, in input voxels, where the first output voxel begins.
        step: input voxels per output voxel.
        n_out: number of output voxels.
        outside: ``zero`` gives no weight to output voxels whose centre is outside the input, ``edge`` repeats
            the nearest input voxel.
    """
    centre = start + (np.arange(n_out) + 0.5) * step - 0.5
    inside = (centre >= -0.5) & (centre <= n_in - 0.5)
    clipped = np.clip(centre, 0, n_in - 1)
    width = max(1.0, step)
    taps = min(n_in, int(np.ceil(2 * width)))
    first = np.clip(np.floor(clipped - width).astype(np.int64) + 1, 0, n_in - taps)
    weights = np.maximum(0.0, 1.0 - np.abs(first[:, None] + np.arange(taps) - clipped[:, None]) / width)
    weights /= weights.sum(1, keepdims=True)
    if outside == "zero":
        weights[~inside] = 0.0
    return Band(n_in, first, weights)


def nearest_weights(n_in: int, n_out: int) -> Band:
    """The voxel under each output voxel's centre."""
    scale = np.float32(n_in) / np.float32(n_out)
    at = np.floor((np.arange(n_out, dtype=np.float32) + np.float32(0.5)) * scale).astype(np.int64)
    return _picking(at, n_in)


def corner_weights(n_in: int, n_out: int, nearest: bool = False) -> Band:
    """First and last voxel stay first and last, as SAT's respacing has it."""
    step = (n_in - 1) / (n_out - 1) if n_out > 1 else 1.0
    at = np.arange(n_out) * step
    return _picking(np.floor(at + 0.5).astype(np.int64), n_in) if nearest else _between(at, n_in)


def _between(at: np.ndarray, n_in: int) -> Band:
    low = np.minimum(at.astype(np.int64), n_in - 1)
    return two_taps(low, (at - low).astype(np.float32).astype(np.float64), n_in)


def _picking(at: np.ndarray, n_in: int) -> Band:
    at = np.clip(at, 0, n_in - 1)
    return Band(n_in, at, np.ones((len(at), 1)))

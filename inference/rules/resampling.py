"""Resampling as Medal S (rule 34) and SAT do it: plain linear, not widened as in `inference.resample`.

Shrinking so drops samples; these are for the weights that were trained that way.
All of it is separable: each axis is one small matrix.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from inference.rules.data import Sides

LABEL_SCALE = 1000.0
"""Interpolated label masks are kept as 16-bit floats of this scale."""
CERTAIN = 700.0
"""A voxel above this belongs to the label; others to the label of the largest value, the lowest first."""

Matrix = np.ndarray


def linear_weights(n_in: int, n_out: int) -> Matrix:
    """(n_out, n_in) float32: linear interpolation between voxel centres, edges repeated."""
    scale = np.float32(n_in) / np.float32(n_out)
    half = np.float32(0.5)
    at = np.maximum((np.arange(n_out, dtype=np.float32) + half) * scale - half, np.float32(0))
    return _between(at, n_in)


def nearest_weights(n_in: int, n_out: int) -> Matrix:
    """(n_out, n_in) float32: the voxel under each output voxel's centre."""
    scale = np.float32(n_in) / np.float32(n_out)
    at = np.floor((np.arange(n_out, dtype=np.float32) + np.float32(0.5)) * scale).astype(np.int64)
    return _picking(at, n_in)


def corner_weights(n_in: int, n_out: int, nearest: bool = False) -> Matrix:
    """(n_out, n_in) float32: first and last voxel stay first and last, as SAT's respacing has it."""
    step = (n_in - 1) / (n_out - 1) if n_out > 1 else 1.0
    at = np.arange(n_out) * step
    return _picking(np.floor(at + 0.5).astype(np.int64), n_in) if nearest else _between(at, n_in)


def resample(volume: np.ndarray, shape: Sides, separate_axis: int | None = None) -> np.ndarray:
    """(D,H,W) numbers -> float32 of `shape`, linear, by nearest neighbour along `separate_axis`."""
    return _apply(volume.astype(np.float32), _matrices(volume.shape, shape, separate_axis))


def resample_labels(labels: np.ndarray, shape: Sides, separate_axis: int | None = None) -> np.ndarray:
    """(D,H,W) integer labels -> the same type, of `shape`.

    Each label's mask is interpolated by itself; see `CERTAIN`. One label's mask is held at a time.
    """
    if labels.shape == tuple(shape):
        return labels.copy()
    matrices = _matrices(labels.shape, shape, separate_axis)
    out = np.zeros(shape, labels.dtype)
    best = np.full(shape, -1.0, np.float16)
    for label in np.unique(labels):
        value = _apply((labels == label) * np.float32(LABEL_SCALE), matrices).astype(np.float16)
        # A certain voxel goes to the last label that is sure of it, an uncertain one to the first best.
        wins = (value > CERTAIN) | ((value > best) & ~(best > CERTAIN))
        out[wins] = label
        best[wins] = value[wins]
    return out


def corner_resample(volume: np.ndarray, shape: Sides, nearest: bool = False) -> np.ndarray:
    """(D,H,W) numbers of `shape`, corner on corner: float32 and linear, or unchanged in type and nearest."""
    pairs = zip(volume.shape, shape, strict=True)
    matrices = [corner_weights(n, m, nearest) for n, m in pairs]
    if nearest:
        return volume[np.ix_(*(matrix.argmax(1) for matrix in matrices))]
    return _apply(volume.astype(np.float32), matrices)


def _matrices(old: Sequence[int], new: Sides, separate_axis: int | None) -> list[Matrix]:
    made = (nearest_weights if axis == separate_axis else linear_weights for axis in range(3))
    return [make(n, m) for make, n, m in zip(made, old, new, strict=True)]


def _apply(volume: np.ndarray, matrices: list[Matrix]) -> np.ndarray:
    for axis, matrix in enumerate(matrices):
        volume = np.moveaxis(np.tensordot(matrix, volume, axes=(1, axis)), 0, axis)
    return np.ascontiguousarray(volume)


def _between(at: np.ndarray, n_in: int) -> Matrix:
    low = np.minimum(at.astype(np.int64), n_in - 1)
    share = (at - low).astype(np.float32)
    weights = np.zeros((len(at), n_in), np.float32)
    rows = np.arange(len(at))
    np.add.at(weights, (rows, low), np.float32(1) - share)
    np.add.at(weights, (rows, np.minimum(low + 1, n_in - 1)), share)
    return weights


def _picking(at: np.ndarray, n_in: int) -> Matrix:
    weights = np.zeros((len(at), n_in), np.float32)
    weights[np.arange(len(at)), np.clip(at, 0, n_in - 1)] = 1
    return weights

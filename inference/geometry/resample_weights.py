"""Weights of linear and nearest-neighbour resampling along one axis, without a filter against aliasing."""

from __future__ import annotations

import numpy as np

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

"""Resampling as Medal S (rule 34) and SAT do it: plain linear, not widened as in `geometry.resample`.

Shrinking so drops samples; these are for the weights that were trained that way.
All of it is separable: each axis is one small matrix.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vesal.inference.families.published.rules import Sides
from vesal.inference.geometry.resample_weights import Matrix, corner_weights, linear_weights, nearest_weights

LABEL_SCALE = 1000.0
"""Interpolated label masks are kept as 16-bit floats of this scale."""
CERTAIN = 700.0
"""A voxel above this belongs to the label; others to the label of the largest value, the lowest first."""


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
        # A certain voxel goes to the last label certain of it, an uncertain one to the first of the highest.
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
    """A matrix (new, old) for each axis (D,H,W)."""
    made = (nearest_weights if axis == separate_axis else linear_weights for axis in range(3))
    return [make(n, m) for make, n, m in zip(made, old, new, strict=True)]


def _apply(volume: np.ndarray, matrices: list[Matrix]) -> np.ndarray:
    """(D,H,W) float32 -> float32 of the matrices' new sides, axis by axis."""
    for axis, matrix in enumerate(matrices):
        volume = np.moveaxis(np.tensordot(matrix, volume, axes=(1, axis)), 0, axis)
    return np.ascontiguousarray(volume)

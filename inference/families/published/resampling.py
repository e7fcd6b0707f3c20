"""Resampling as Medal S (rule 34) and SAT do it: plain linear, not widened as in `geometry.resample`.

Shrinking so drops samples; these are for the weights that were trained that way.
All of it is separable: each axis has its own weights.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vesal.inference.families.published.rules import Sides
from vesal.inference.geometry.banded_product import banded_product
from vesal.inference.geometry.bands import Band
from vesal.inference.geometry.resample_weights import corner_weights, linear_weights, nearest_weights

LABEL_SCALE = 1000.0
"""Interpolated label masks are kept as 16-bit floats of this scale."""
CERTAIN = 700.0
"""A voxel above this belongs to the label; others to the label of the largest value, the lowest first."""


def resample(volume: np.ndarray, shape: Sides, separate_axis: int | None = None) -> np.ndarray:
    """(D,H,W) numbers -> float32 of `shape`, linear, by nearest neighbour along `separate_axis`."""
    return banded_product(volume, _bands(volume.shape, shape, separate_axis), wide=True)


def resample_labels(labels: np.ndarray, shape: Sides, separate_axis: int | None = None) -> np.ndarray:
    """(D,H,W) integer labels -> the same type, of `shape`.

    Each label's mask is interpolated by itself; see `CERTAIN`. One label's mask is held at a time.
    """
    if labels.shape == tuple(shape):
        return labels.copy()
    bands = _bands(labels.shape, shape, separate_axis)
    out = np.zeros(shape, labels.dtype)
    best = np.full(shape, -1.0, np.float16)
    for label in np.unique(labels):
        value = (banded_product(labels == label, bands, wide=True) * LABEL_SCALE).astype(np.float16)
        # A certain voxel goes to the last label certain of it, an uncertain one to the first of the highest.
        wins = (value > CERTAIN) | ((value > best) & ~(best > CERTAIN))
        out[wins] = label
        best[wins] = value[wins]
    return out


def corner_resample(volume: np.ndarray, shape: Sides, nearest: bool = False) -> np.ndarray:
    """(D,H,W) numbers of `shape`, corner on corner: float32 and linear, or unchanged in type and nearest."""
    pairs = zip(volume.shape, shape, strict=True)
    bands = [corner_weights(n, m, nearest) for n, m in pairs]
    if nearest:
        return volume[np.ix_(*(band.first for band in bands))]
    return banded_product(volume, bands, wide=True)


def _bands(old: Sequence[int], new: Sides, separate_axis: int | None) -> list[Band]:
    """The weights of each axis (D,H,W)."""
    made = (nearest_weights if axis == separate_axis else linear_weights for axis in range(3))
    return [make(n, m) for make, n, m in zip(made, old, new, strict=True)]

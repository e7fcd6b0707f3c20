"""Resampling as Medal S (rule 34) and SAT do it: plain linear, not widened as in `geometry.resample`.

Shrinking so drops samples; these are for the weights that were trained that way.
All of it is separable: each axis has its own weights.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from vesal.inference.families.published.rules import Sides
from vesal.inference.geometry.banded_product import banded_product
from vesal.inference.geometry.bands import Band
from vesal.inference.geometry.resample_weights import corner_weights, linear_weights, nearest_weights
from vesal.postprocess.components import class_boxes

LABEL_SCALE = 1000.0
"""Interpolated label masks are kept as 16-bit floats of this scale."""
CERTAIN = 700.0
"""A voxel above this belongs to the label; others to the label of the largest value, the lowest first."""


def resample(volume: np.ndarray, shape: Sides, separate_axis: int | None = None) -> np.ndarray:
    """(D,H,W) numbers -> float32 of `shape`, linear, by nearest neighbour along `separate_axis`."""
    return banded_product(volume, _bands(volume.shape, shape, separate_axis), wide=True)


def resample_labels(labels: np.ndarray, shape: Sides, separate_axis: int | None = None) -> np.ndarray:
    """(D,H,W) integer labels -> the same type, of `shape`.

    Each label's mask is interpolated by itself; see `CERTAIN`. One label's mask is held at a time, and only
    where it is not 0; the background's where there is something else.
    """
    if labels.shape == tuple(shape):
        return labels.copy()
    bands = _bands(labels.shape, shape, separate_axis)
    out = np.zeros(shape, labels.dtype)
    reached = {label: tuple(map(_reached, bands, box)) for label, box in class_boxes(labels).items()}
    reached = {label: at for label, at in reached.items() if all(side.stop for side in at)}
    if not reached:
        return out
    reached = {0: _hull(reached.values()), **reached}
    best = np.zeros(shape, np.float16)
    for label, at in reached.items():
        used = [Band(b.n_in, b.first[rows], b.weights[rows]) for b, rows in zip(bands, at, strict=True)]
        mask = labels[tuple(band.used for band in used)] == label
        share = banded_product(mask, [band.cut() for band in used], wide=True)
        value = (share * LABEL_SCALE).astype(np.float16)
        # A certain voxel goes to the last label certain of it, an uncertain one to the first of the highest.
        wins = (value > CERTAIN) | ((value > best[at]) & ~(best[at] > CERTAIN))
        out[at][wins] = label
        best[at][wins] = value[wins]
    return out


def _reached(band: Band, inputs: slice) -> slice:
    """The outputs that some inputs have a weight in."""
    of_input = band.first[:, None] + np.arange(band.weights.shape[1])
    counts = (of_input >= inputs.start) & (of_input < inputs.stop) & (band.weights != 0)
    rows = np.flatnonzero(counts.any(1))
    return slice(int(rows[0]), int(rows[-1]) + 1) if rows.size else slice(0, 0)


def _hull(boxes: Iterable[tuple[slice, ...]]) -> tuple[slice, ...]:
    """The box around some."""
    sides = zip(*boxes, strict=True)
    return tuple(slice(min(s.start for s in side), max(s.stop for s in side)) for side in sides)


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

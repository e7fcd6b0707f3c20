"""Resampling as Medal S (rule 34) and SAT do it: plain linear, not widened as in `geometry.resample`.

Shrinking so drops samples; these are for the weights that were trained that way.
All of it is separable: each axis has its own weights.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from vesal.inference.families.published.rules import Sides
from vesal.inference.geometry.banded_product import banded_product
from vesal.inference.geometry.fused_linear import fused_linear, places_of
from vesal.inference.geometry.resample_weights import corner_weights
from vesal.postprocess.components import class_boxes

LABEL_SCALE = 1000.0
"""Interpolated label masks are kept as 16-bit floats of this scale."""
CERTAIN = 700.0
"""A voxel above this belongs to the label; others to the label of the largest value, the lowest first."""


def resample(volume: np.ndarray, shape: Sides, separate_axis: int | None = None) -> np.ndarray:
    """(D,H,W) numbers -> float32 of `shape`, linear, by nearest neighbour along `separate_axis`."""
    return fused_linear(volume, places_of(volume.shape, shape, separate_axis), separate_axis)


def resample_labels(labels: np.ndarray, shape: Sides, separate_axis: int | None = None) -> np.ndarray:
    """(D,H,W) integer labels -> the same type, of `shape`.

    Each label's mask is interpolated by itself; see `CERTAIN`. One label's mask is held at a time, and only
    where it is not 0; the background's where there is something else.
    """
    if labels.shape == tuple(shape):
        return labels.copy()
    places = places_of(labels.shape, shape, separate_axis)
    out = np.zeros(shape, labels.dtype)
    boxes = class_boxes(labels).items()
    reached = {label: tuple(at.reached(s) for at, s in zip(places, box, strict=True)) for label, box in boxes}
    reached = {label: at for label, at in reached.items() if all(side.stop for side in at)}
    if not reached:
        return out
    reached = {0: _hull(reached.values()), **reached}
    best = np.zeros(shape, np.float16)
    for label, at in reached.items():
        pairs = list(zip(places, at, strict=True))
        needed = labels[tuple(p.of(rows).needed for p, rows in pairs)]
        mask = (needed == label) * np.float32(LABEL_SCALE)
        value = fused_linear(mask, [p.part(rows) for p, rows in pairs], separate_axis).astype(np.float16)
        # A certain voxel goes to the last label certain of it, an uncertain one to the first of the highest.
        wins = (value > CERTAIN) | ((value > best[at]) & ~(best[at] > CERTAIN))
        out[at][wins] = label
        best[at][wins] = value[wins]
    return out


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

"""Foreground voxels of a view's grid that interpolation loses: thin structures, and single voxels.

A voxel of .55 among .3 is interpolated to less than .5 everywhere, unless an output voxel happens to lie on
its centre. Such voxels, and no others, are taken as if the nearest output voxel did.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from vesal.inference.geometry.resample import Taps, between_corners, enlarge
from vesal.inference.stages.grid_labels import GridLabels

BATCH = 1 << 20
"""Output voxels that are looked at together: 4 MB of float32."""


def find_lone_voxels(
    probability: np.ndarray, threshold: np.float32, taps: Sequence[Taps]
) -> np.ndarray | None:
    """Foreground voxels without a foreground output voxel less than one voxel away along each axis.

    None of them has a border that interpolation shows: elsewhere it stays where the threshold is crossed.

    Args:
        probability: (d, h, w) float32.
        threshold: foreground is above it.
        taps: of each axis, to all output voxels of the view.

    Returns:
        (d, h, w) bool, None where there are none. Voxels that are nearest to no output voxel are left out:
        along an axis that is not enlarged not every voxel can be kept.
    """
    found = probability > threshold
    outputs = [_nearest_outputs(t, n) for t, n in zip(taps, probability.shape, strict=True)]
    for axis, (_, has_one) in enumerate(outputs):
        found &= has_one.reshape([-1 if a == axis else 1 for a in range(3)])
    seen = enlarge(probability, [Taps(t.low[at], t.fraction[at]) for t, (at, _) in zip(taps, outputs)])  # noqa: B905
    seen = seen > threshold
    lost = np.argwhere(found & ~seen)
    # Most are at a border and have one of these outputs beside them.
    centres = [(t.low + t.fraction)[at] for t, (at, _) in zip(taps, outputs, strict=True)]
    lost = _where_not(lost, BATCH // 27, lambda some: _seen_beside(seen, some, centres))
    reach = [_Reach.of(t, n) for t, n in zip(taps, probability.shape, strict=True)]
    count = BATCH // math.prod(r.weights.shape[1] for r in reach)
    lost = _where_not(lost, count, lambda some: _largest_around(probability, some, reach) > threshold)
    if not len(lost):
        return None
    lone = np.zeros(probability.shape, bool)
    lone[tuple(lost.T)] = True
    return lone


def restore(
    lone: np.ndarray,
    grid: GridLabels,
    taps: Sequence[Taps],
    centred: Sequence[Taps],
    probability: np.ndarray,
    labels: np.ndarray,
) -> None:
    """Give lone voxels back: a single one becomes one output voxel, those in a row a line.

    Args:
        lone: (d, h, w) bool, see ``find_lone_voxels``.
        grid: that they are voxels of.
        taps: of some output voxels.
        centred: the same of ``Taps.centred``.
        probability: (D, H, W) float32, as interpolated to these; changed in place.
        labels: (D, H, W), changed in place.
    """
    mine = lone
    for axis in (0, 2, 1):
        mine = mine.take(taps[axis].nearest, axis)
    at = np.unravel_index(np.flatnonzero(mine), mine.shape)
    if not at[0].size:
        return
    here = [t.part(index) for t, index in zip(centred, at, strict=True)]
    d, h, w = (np.stack([t.low, t.high]) for t in here)
    corners = grid.probability[d[:, None, None], h[:, None], w].reshape(8, -1)
    values = between_corners(corners, [t.fraction[None] for t in here])[0, 0, 0]
    wins = values > grid.threshold
    at = tuple(index[wins] for index in at)
    probability[at] = values[wins]
    labels[at] = grid.labels[tuple(t.nearest[index] for t, index in zip(taps, at, strict=True))]


def _nearest_outputs(taps: Taps, n: int) -> tuple[np.ndarray, np.ndarray]:
    """The output voxel nearest to each of n input voxels, (n,) int64 ascending, and (n,) bool whether it is
    nearer to that input voxel than to any other.
    """
    centre = taps.low + taps.fraction
    above = np.searchsorted(centre, np.arange(n)).clip(0, len(centre) - 1)
    below = (above - 1).clip(0)
    nearer = np.abs(centre[below] - np.arange(n)) <= np.abs(centre[above] - np.arange(n))
    at = np.where(nearer, below, above)
    return at, taps.nearest[at] == np.arange(n)


def _where_not(voxels: np.ndarray, count: int, test: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Those of n voxels, (n, 3) indices, for which a test of some of them (m, 3) is not true (m,)."""
    count = max(1, count)
    parts = [voxels[first : first + count] for first in range(0, len(voxels), count)]
    return np.concatenate([voxels[:0], *(part[~test(part)] for part in parts)])


def _beside(voxels: np.ndarray, shape: Sequence[int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Indices (n, 3, 3, 3) of n voxels (n, 3) and of those around them; borders are repeated."""
    d, h, w = ((voxels[:, axis, None] + np.arange(-1, 2)).clip(0, n - 1) for axis, n in enumerate(shape))
    return d[:, :, None, None], h[:, None, :, None], w[:, None, None, :]


def _seen_beside(seen: np.ndarray, voxels: np.ndarray, centres: Sequence[np.ndarray]) -> np.ndarray:
    """Whether of n voxels (n, 3) or of those beside them the nearest output is foreground, and in reach."""
    at = _beside(voxels, seen.shape)
    found = seen[at]
    for axis, (centre, index) in enumerate(zip(centres, at, strict=True)):
        here = voxels[:, axis].reshape(-1, 1, 1, 1)
        found &= np.abs(centre[index] - here) < 1
    return found.any((1, 2, 3))


class _Reach:
    """Output voxels less than one voxel away from each input voxel, along one axis."""

    def __init__(self, weights: np.ndarray) -> None:
        self.weights = weights
        """(n, most outputs, 3) float32: of the voxel before, the voxel and the one behind"""

    @classmethod
    def of(cls, taps: Taps, n: int) -> _Reach:
        centre = taps.low + taps.fraction
        inputs = np.arange(n)
        first = np.searchsorted(centre, inputs - 1, "right")
        last = np.maximum(np.searchsorted(centre, inputs + 1, "left"), first + 1)
        width = int((last - first).max())
        outputs = np.minimum(first[:, None] + np.arange(width), last[:, None] - 1).clip(0, len(centre) - 1)
        away = (centre[outputs] - inputs[:, None]).clip(-1, 1).astype(np.float32)
        return cls(np.stack([np.maximum(-away, 0), 1 - np.abs(away), np.maximum(away, 0)], -1))


def _largest_around(probability: np.ndarray, voxels: np.ndarray, reach: Sequence[_Reach]) -> np.ndarray:
    """(n,) float32: the largest interpolated value within reach of each of n voxels, (n, 3) indices."""
    values = probability[_beside(voxels, probability.shape)]
    wd, wh, ww = (r.weights[voxels[:, axis]] for axis, r in enumerate(reach))
    values = np.einsum("npa,nabc->npbc", wd, values)
    values = np.einsum("nqb,npbc->npqc", wh, values)
    return np.einsum("nrc,npqc->npqr", ww, values).reshape(len(voxels), -1).max(1)

"""Sliding-window inference over a view: skip empty windows, blend the others, slab by slab.

A view that fits one window is run as it is. Else windows run one by one from the first planes to the last.
Planes that no later window touches are packed (see ``stages.packed_probability``) and their floats reused, so
memory grows with the window's depth, not with the view's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from vesal.inference.geometry.views import View
from vesal.inference.stages.packed_probability import PackedProbability, Probabilities

Corner = tuple[int, int, int]
"""First voxel of a window, (D, H, W)."""
Slices = tuple[slice, slice, slice, slice]
"""A window in an array (C, D, H, W) or (N, D, H, W)."""
Prediction = tuple[np.ndarray, np.ndarray | None, np.ndarray | None]
"""probability (N, d, h, w); presence (N, n) per slice of the view's thick axis, or None; edges (N, d, h, w),
or None; axes as in the view"""


@dataclass(frozen=True)
class Blended:
    """Result over one view, axes as in the volume."""

    probability: Probabilities
    """(N, D, H, W) float32 of the view's shape, packed where there were several windows; 0 where every window
    was skipped"""
    presence: np.ndarray
    """(N, n) float32 per slice of the view's thick axis; 1 where it was not predicted"""
    windows: int
    skipped: int
    edges: Probabilities | None = None
    """(N, D, H, W) float32, as ``probability``; None where they were not predicted"""
    dropped: int = 0
    """windows not run because time ran out"""
    note: str = ""
    """that windows are smaller as the GPU ran out of memory, for the report"""
    interpolated: int = 0
    """runs of slices that were not run, and are interpolated between those beside them"""


def run_windows(
    predict: Callable[[Slices], Prediction],
    view: View,
    size: Corner,
    corners: Sequence[Corner],
    classes: int,
    may_continue: Callable[[], bool] = lambda: True,
    skips: Callable[[Slices], bool] = lambda at: False,
    finish: Callable[[np.ndarray], object] | None = None,
    empty: float = 0.0,
) -> Blended:
    """Slide windows over a view.

    Args:
        predict: runs the window that lies there in the view.
        view: gives shape, thick axis and the blending weight.
        size: of a window, (d, h, w).
        corners: first voxels of the windows; D must not decrease.
        classes: N.
        may_continue: called before every window; on False the remaining windows are not run.
        skips: whether a window need not be run; a view of one window always is.
        finish: changes blended values (N, n, H, W) in place: logits to probabilities, say.
        empty: value of a window that is skipped, and of voxels that no window has seen.

    Returns:
        see ``Blended``. The order of windows is fixed, so the same input gives the same bytes.
    """
    length = view.shape[view.thick_axis]
    if len(corners) == 1:
        p, present, edges = predict(slices_of(corners[0], size))
        if present is None:
            present = np.ones((classes, length), np.float32)
        if finish is not None:
            p = np.ascontiguousarray(p)
            finish(p)
        return Blended(p, present, 1, 0, edges)
    weight = view.tiling.weight(size)
    slabs, edge_slabs = _Slabs(classes, view.shape, size, weight, finish, empty), None
    presence = np.full((classes, length), -1.0, np.float32)
    ran = skipped = 0
    for corner in corners:
        if not may_continue():
            break
        at = slices_of(corner, size)
        if skips(at):
            slabs.add(at, None)
            skipped += 1
            continue
        p, present, edges = predict(at)
        slabs.add(at, p)
        ran += 1
        if edges is not None:
            edge_slabs = edge_slabs or _Slabs(classes, view.shape, size, weight)
            edge_slabs.add(at, edges)
        if present is not None:
            rows = presence[:, at[1 + view.thick_axis]]
            np.maximum(rows, present, out=rows)
    presence[presence < 0] = 1.0
    told = None if edge_slabs is None else edge_slabs.finish()
    return Blended(slabs.finish(), presence, ran, skipped, told, len(corners) - ran - skipped)


class _Slabs:
    """Weighted sums over the planes that later windows touch; finished planes are packed."""

    def __init__(
        self,
        classes: int,
        shape: Corner,
        size: Corner,
        weight: np.ndarray,
        finish: Callable[[np.ndarray], object] | None = None,
        empty: float = 0.0,
    ) -> None:
        """Sums of (N, window's depth, H, W) floats, whatever the depth of the view of ``shape``."""
        self._packed = PackedProbability(classes, (shape[1], shape[2]))
        self._size, self._depth = size, shape[0]
        self._weight, self._min_weight = weight, float(weight.min())
        self._total = np.zeros((classes, size[0], *shape[1:]), np.float32)
        self._weights = np.zeros((size[0], *shape[1:]), np.float32)
        self._first, self._finish, self._empty = 0, finish, np.float32(empty)

    def add(self, at: Slices, probability: np.ndarray | None) -> None:
        """Blend in a window (N, d, h, w) of (N, D, H, W); None counts as ``empty``. D must not decrease."""
        first, rest = at[1].start, (slice(None), *at[2:])
        if first > self._first:
            self._finish_up_to(first)
        self._weights[rest] += self._weight
        if probability is not None:
            for total, values in zip(self._total, probability, strict=True):
                total[rest] += values * self._weight
        elif self._empty:
            for total in self._total:
                total[rest] += self._empty * self._weight

    def finish(self) -> PackedProbability:
        """All planes; ``empty`` where no window ran."""
        self._finish_up_to(self._depth)
        return self._packed

    def _finish_up_to(self, plane: int) -> None:
        """Pack the planes before ``plane``, at most a window's depth at a time."""
        while self._first < plane:
            count = min(plane - self._first, self._size[0])
            done = self._total[:, :count]
            done /= np.maximum(self._weights[:count], self._min_weight)
            if self._empty:
                np.copyto(done, self._empty, where=self._weights[:count] == 0)
            if self._finish is not None:
                self._finish(done)
            self._packed.append(done)
            for sums, axis in ((self._total, 1), (self._weights, 0)):
                _shift(sums, count, axis)
            self._first += count


def _shift(sums: np.ndarray, count: int, axis: int) -> None:
    """Move planes ``count`` to the front along ``axis``, plane by plane, and zeros in behind them."""
    planes = np.moveaxis(sums, axis, 0)
    left = len(planes) - count
    for plane in range(left):
        planes[plane] = planes[plane + count]
    planes[left:] = 0


def slices_of(corner: Corner, size: Corner) -> Slices:
    """Where a window of ``size`` (d, h, w) lies in an array (C, D, H, W)."""
    (z, y, x), (d, h, w) = corner, size
    return slice(None), slice(z, z + d), slice(y, y + h), slice(x, x + w)

"""Run a model over a view: cut it into windows, skip the idle ones, blend with a Gaussian, slab by slab.

A view that fits one window is run as it is. Else windows go through the view from the first planes to the
last, one in flight at a time. Planes that no later window touches are finished: they are packed (see
``stages.packed_probability``), and their floats make room for the next ones. So floats grow with the
window's depth, not with the view's.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from vesal.inference.data.errors import OutOfDeviceMemoryError
from vesal.inference.geometry.tiles import blending_weight, tile_bounds
from vesal.inference.geometry.views import SIDE_MULTIPLE, View, tile_starts
from vesal.inference.stages.packed_probability import PackedProbability, Probabilities

log = logging.getLogger("vesal")

SIGMA_SHARE = 0.125
"""Standard deviation of the blending weight as a share of the window's side (nnU-Net and Medal S use 1/8)."""
LEAST_WEIGHT = 1e-3
"""Floor of the blending weight, so that a corner seen by one window only does not lose its precision."""
IDLE_PROMPT = 0.02
"""A window whose spatial prompt stays below this holds nothing of the targets and is skipped."""

Predict = Callable[[np.ndarray, np.ndarray | None, int], tuple[np.ndarray, np.ndarray]]
"""image (C, d, h, w), prompt (N, d, h, w) or None, degree -> probability (N, d, h, w), presence (N, d); the
thick axis comes first in all of them."""


Corner = tuple[int, int, int]
"""First voxel of a window, (D, H, W)."""
Slices = tuple[slice, slice, slice, slice]
"""A window in an array (C, D, H, W) or (N, D, H, W)."""


@dataclass(frozen=True)
class Blended:
    """Result over one view, axes as in the volume."""

    probability: Probabilities
    """(N, D, H, W) float32 of the view's shape, packed where there were several windows; 0 where every window
    was skipped"""
    presence: np.ndarray
    """(N, n) float32 per slice of the view's thick axis; 1 where nothing measured it"""
    windows: int
    skipped: int
    dropped: int = 0
    """windows that were left out because the time was over"""
    note: str = ""
    """what had to be given up for want of memory, for the report"""


def window_shape(view: View, voxels: int) -> tuple[int, int, int]:
    """The largest window of at most ``voxels`` voxels for ``view``: its longest sides are cut first.

    Sides stay multiples of what the network halves. A thick axis counts its voxels at their length. A view
    with a tiling has its own window.
    """
    if view.tiling is not None:
        return view.tiling.window
    steps = [SIDE_MULTIPLE] * 3
    length = [1.0] * 3
    if view.degree:
        steps[view.thick_axis] = SIDE_MULTIPLE >> view.degree
        length[view.thick_axis] = float(1 << view.degree)
    sides = list(view.shape)
    while math.prod(sides) > voxels:
        cuttable = [a for a in range(3) if sides[a] > steps[a]]
        if not cuttable:
            break
        axis = max(cuttable, key=lambda a: sides[a] * length[a])
        sides[axis] -= steps[axis]
    return sides[0], sides[1], sides[2]


def gaussian_weight(shape: tuple[int, int, int]) -> np.ndarray:
    """Blending weight (d, h, w) float32, 1 in the middle, ``LEAST_WEIGHT`` at least."""
    weight = np.ones((1, 1, 1), np.float64)
    for axis, n in enumerate(shape):
        x = (np.arange(n) - (n - 1) / 2) / (n * SIGMA_SHARE)
        side = np.exp(-0.5 * x**2)
        weight = weight * side.reshape([-1 if a == axis else 1 for a in range(3)])
    return np.maximum(weight / weight.max(), LEAST_WEIGHT).astype(np.float32)


def run_windows(
    predict: Predict,
    image: np.ndarray,
    prompt: Probabilities | None,
    view: View,
    voxels: int,
    overlap: float,
    classes: int,
    may_go_on: Callable[[], bool] = lambda: True,
) -> Blended:
    """Slide windows of at most ``voxels`` voxels over a sampled view.

    Where a window does not fit into the memory of a GPU, the view is begun again with windows of half the
    size, as often as the network can halve them, and ``Blended.note`` says so.

    Args:
        predict: runs one window, see ``Predict``.
        image: (C, D, H, W) float32 sampled on ``view``; channel 0 is -1 where nothing is (black).
        prompt: (N, D, H, W) float32, packed or not, or None.
        view: gives degree and thick axis.
        voxels: most voxels of a window.
        overlap: share of a side that neighbouring windows have in common.
        classes: N.
        may_go_on: asked before every window; where it says no, the rest is left out.

    Returns:
        see ``Blended``. The order of windows is fixed, so the same input gives the same bytes.

    Raises:
        OutOfDeviceMemoryError: where even the smallest window does not fit.
    """
    note = ""
    while True:
        size = window_shape(view, voxels)
        try:
            result = _run_size(predict, image, prompt, view, size, overlap, classes, may_go_on)
            return replace(result, note=note)
        except OutOfDeviceMemoryError:
            voxels = math.prod(size) // 2
            smaller = window_shape(view, voxels)
            if math.prod(smaller) >= math.prod(size):
                raise
            note = f"windows of {_sides(smaller)} voxels, as those of {_sides(size)} do not fit into the GPU"
            log.warning("%s", note)


def _run_size(
    predict: Predict,
    image: np.ndarray,
    prompt: Probabilities | None,
    view: View,
    size: Corner,
    overlap: float,
    classes: int,
    may_go_on: Callable[[], bool],
) -> Blended:
    """All windows of one size."""
    thick = view.thick_axis
    corners = corners_of(view, size, overlap)
    if len(corners) == 1:
        return _single(predict, image, prompt, view)
    slabs = _Slabs(classes, view.shape, size, weight_of(view, size))
    presence = np.full((classes, view.shape[thick]), -1.0, np.float32)
    ran = skipped = 0
    for corner in corners:
        if not may_go_on():
            break
        at = slices_of(corner, size)
        part = image[at]
        shown = None if prompt is None else prompt[at]
        if is_idle(part, None if view.tiling else shown):
            slabs.add(at, None)
            skipped += 1
            continue
        if shown is not None:
            shown = _thick_first(shown, thick)
        p, present = predict(_thick_first(part, thick), shown, view.degree)
        slabs.add(at, np.moveaxis(p, 1, 1 + thick))
        ran += 1
        rows = presence[:, at[1 + thick]]
        np.maximum(rows, present, out=rows)
    presence[presence < 0] = 1.0
    return Blended(slabs.finish(), presence, ran, skipped, len(corners) - ran - skipped)


class _Slabs:
    """Weighted sums over the planes that windows still touch; finished planes are packed."""

    def __init__(self, classes: int, shape: Corner, size: Corner, weight: np.ndarray) -> None:
        """Sums of (N, window's depth, H, W) floats, whatever the depth of the view of ``shape``."""
        self._packed = PackedProbability(classes, (shape[1], shape[2]))
        self._size, self._depth = size, shape[0]
        self._weight, self._least = weight, float(weight.min())
        self._total = np.zeros((classes, size[0], *shape[1:]), np.float32)
        self._weights = np.zeros((size[0], *shape[1:]), np.float32)
        self._first = 0

    def add(self, at: Slices, probability: np.ndarray | None) -> None:
        """Blend in a window of (N, D, H, W), (N, d, h, w); None counts as a no. D never goes back."""
        first, rest = at[1].start, (slice(None), *at[2:])
        if first > self._first:
            self._finish_up_to(first)
        self._weights[rest] += self._weight
        if probability is not None:
            for total, values in zip(self._total, probability, strict=True):
                total[rest] += values * self._weight

    def finish(self) -> PackedProbability:
        """All planes, those that no window reached as zeros."""
        self._finish_up_to(self._depth)
        return self._packed

    def _finish_up_to(self, plane: int) -> None:
        """Let go of the planes before ``plane``, a window's depth at a time at most."""
        while self._first < plane:
            count = min(plane - self._first, self._size[0])
            done = self._total[:, :count]
            done /= np.maximum(self._weights[:count], self._least)
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


def _sides(shape: Corner) -> str:
    return "x".join(map(str, shape))


def window_corners(shape: Corner, window: Corner, overlap: float) -> list[Corner]:
    """First voxels of all windows over a view, D slowest."""
    starts = [tile_starts(n, w, overlap) for n, w in zip(shape, window, strict=True)]
    return [(d, h, w) for d in starts[0] for h in starts[1] for w in starts[2]]


def corners_of(view: View, window: Corner, overlap: float) -> list[Corner]:
    """First voxels of a view's windows: as its tiling lays them, else evenly spread."""
    if view.tiling is None:
        return window_corners(view.shape, window, overlap)
    d, h, w = ([first for first, _ in tile_bounds(n, c)] for n, c in zip(view.shape, window, strict=True))
    return [(z, y, x) for z in d for y in h for x in w]


def weight_of(view: View, window: Corner) -> np.ndarray:
    """Blending weight of a view's windows, float32."""
    if view.tiling is None:
        return gaussian_weight(window)
    return blending_weight(window).astype(np.float32)


def slices_of(corner: Corner, size: Corner) -> Slices:
    """Where a window of ``size`` (d, h, w) lies in an array (C, D, H, W)."""
    (z, y, x), (d, h, w) = corner, size
    return slice(None), slice(z, z + d), slice(y, y + h), slice(x, x + w)


def is_idle(image: np.ndarray, prompt: np.ndarray | None) -> bool:
    """Whether a window can hold nothing: all black, or away from the coarse result."""
    if not (image[0] > -1.0).any():
        return True
    return prompt is not None and float(prompt.max(initial=0.0)) < IDLE_PROMPT


def _thick_first(values: np.ndarray, thick: int) -> np.ndarray:
    return np.ascontiguousarray(np.moveaxis(values, 1 + thick, 1))


def _single(predict: Predict, image: np.ndarray, prompt: Probabilities | None, view: View) -> Blended:
    thick = view.thick_axis
    shown = None if prompt is None else _thick_first(np.asarray(prompt), thick)
    p, present = predict(_thick_first(image, thick), shown, view.degree)
    return Blended(np.moveaxis(p, 1, 1 + thick), present, 1, 0)

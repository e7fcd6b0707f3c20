"""Sliding-window inference over a view: skip empty windows, blend with a Gaussian, slab by slab.

A view that fits one window is run as it is. Else windows run one by one from the first planes to the last.
Planes that no later window touches are packed (see ``stages.packed_probability``) and their floats reused, so
memory grows with the window's depth, not with the view's.
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
MIN_WEIGHT = 1e-3
"""Floor of the blending weight, so that a corner covered by one window only does not lose precision."""
MIN_PROMPT = 0.02
"""A window is skipped where its spatial prompt is below this everywhere."""

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
    """(N, n) float32 per slice of the view's thick axis; 1 where it was not predicted"""
    windows: int
    skipped: int
    dropped: int = 0
    """windows not run because time ran out"""
    note: str = ""
    """that windows are smaller as the GPU ran out of memory, for the report"""


def window_shape(view: View, voxels: int) -> tuple[int, int, int]:
    """The largest window of at most ``voxels`` voxels for ``view``: its longest sides are cut first.

    Sides stay multiples of the network's downsampling factor. Voxels of a thick axis count at their length. A
    view with a tiling has its own window.
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
    """Blending weight (d, h, w) float32, 1 in the middle, ``MIN_WEIGHT`` at least."""
    weight = np.ones((1, 1, 1), np.float64)
    for axis, n in enumerate(shape):
        x = (np.arange(n) - (n - 1) / 2) / (n * SIGMA_SHARE)
        side = np.exp(-0.5 * x**2)
        weight = weight * side.reshape([-1 if a == axis else 1 for a in range(3)])
    return np.maximum(weight / weight.max(), MIN_WEIGHT).astype(np.float32)


def run_windows(
    predict: Predict,
    image: np.ndarray,
    prompt: Probabilities | None,
    view: View,
    voxels: int,
    overlap: float,
    classes: int,
    may_continue: Callable[[], bool] = lambda: True,
) -> Blended:
    """Slide windows of at most ``voxels`` voxels over a sampled view.

    When the GPU runs out of memory, the view is restarted with windows of half the size, as often as they can
    be halved, and ``Blended.note`` says so.

    Args:
        predict: runs one window, see ``Predict``.
        image: (C, D, H, W) float32 sampled on ``view``; channel 0 is -1 where the image is black.
        prompt: (N, D, H, W) float32, packed or not, or None.
        view: gives degree and thick axis.
        voxels: upper limit of a window.
        overlap: share of a side that neighbouring windows have in common.
        classes: N.
        may_continue: called before every window; on False the remaining windows are not run.

    Returns:
        see ``Blended``. The order of windows is fixed, so the same input gives the same bytes.

    Raises:
        OutOfDeviceMemoryError: even the smallest window does not fit.
    """
    note = ""
    while True:
        size = window_shape(view, voxels)
        try:
            result = _run_size(predict, image, prompt, view, size, overlap, classes, may_continue)
            return replace(result, note=note)
        except OutOfDeviceMemoryError:
            voxels = math.prod(size) // 2
            smaller = window_shape(view, voxels)
            if math.prod(smaller) >= math.prod(size):
                raise
            note = (
                f"windows of {_sides(smaller)} voxels, as those of {_sides(size)} do not fit into GPU memory"
            )
            log.warning("%s", note)


def _run_size(
    predict: Predict,
    image: np.ndarray,
    prompt: Probabilities | None,
    view: View,
    size: Corner,
    overlap: float,
    classes: int,
    may_continue: Callable[[], bool],
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
        if not may_continue():
            break
        at = slices_of(corner, size)
        part = image[at]
        prompt_part = None if prompt is None else prompt[at]
        if is_skippable(part, None if view.tiling else prompt_part):
            slabs.add(at, None)
            skipped += 1
            continue
        if prompt_part is not None:
            prompt_part = _thick_first(prompt_part, thick)
        p, present = predict(_thick_first(part, thick), prompt_part, view.degree)
        slabs.add(at, np.moveaxis(p, 1, 1 + thick))
        ran += 1
        rows = presence[:, at[1 + thick]]
        np.maximum(rows, present, out=rows)
    presence[presence < 0] = 1.0
    return Blended(slabs.finish(), presence, ran, skipped, len(corners) - ran - skipped)


class _Slabs:
    """Weighted sums over the planes that later windows touch; finished planes are packed."""

    def __init__(self, classes: int, shape: Corner, size: Corner, weight: np.ndarray) -> None:
        """Sums of (N, window's depth, H, W) floats, whatever the depth of the view of ``shape``."""
        self._packed = PackedProbability(classes, (shape[1], shape[2]))
        self._size, self._depth = size, shape[0]
        self._weight, self._min_weight = weight, float(weight.min())
        self._total = np.zeros((classes, size[0], *shape[1:]), np.float32)
        self._weights = np.zeros((size[0], *shape[1:]), np.float32)
        self._first = 0

    def add(self, at: Slices, probability: np.ndarray | None) -> None:
        """Blend in a window (N, d, h, w) of (N, D, H, W); None counts as zeros. D must not decrease."""
        first, rest = at[1].start, (slice(None), *at[2:])
        if first > self._first:
            self._finish_up_to(first)
        self._weights[rest] += self._weight
        if probability is not None:
            for total, values in zip(self._total, probability, strict=True):
                total[rest] += values * self._weight

    def finish(self) -> PackedProbability:
        """All planes; zeros where no window ran."""
        self._finish_up_to(self._depth)
        return self._packed

    def _finish_up_to(self, plane: int) -> None:
        """Pack the planes before ``plane``, at most a window's depth at a time."""
        while self._first < plane:
            count = min(plane - self._first, self._size[0])
            done = self._total[:, :count]
            done /= np.maximum(self._weights[:count], self._min_weight)
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


def is_skippable(image: np.ndarray, prompt: np.ndarray | None) -> bool:
    """Whether a window is skipped: all black, or outside of the coarse result.

    Args:
        image: (C, d, h, w) float32; channel 0 is -1 where it is black.
        prompt: (N, d, h, w) spatial prompt, or None.
    """
    if not (image[0] > -1.0).any():
        return True
    return prompt is not None and float(prompt.max(initial=0.0)) < MIN_PROMPT


def _thick_first(values: np.ndarray, thick: int) -> np.ndarray:
    return np.ascontiguousarray(np.moveaxis(values, 1 + thick, 1))


def _single(predict: Predict, image: np.ndarray, prompt: Probabilities | None, view: View) -> Blended:
    thick = view.thick_axis
    prompt_part = None if prompt is None else _thick_first(np.asarray(prompt), thick)
    p, present = predict(_thick_first(image, thick), prompt_part, view.degree)
    return Blended(np.moveaxis(p, 1, 1 + thick), present, 1, 0)

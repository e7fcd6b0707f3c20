"""Run a model over a view: cut it into windows, skip the idle ones, blend with a Gaussian.

A view that fits one window is run as it is. Probabilities are accumulated in float32 for the few classes of
one view only, so memory grows with the view, not with classes x volume.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from inference.geometry import SIDE_MULTIPLE, View, tile_starts

SIGMA_SHARE = 0.125
"""Standard deviation of the blending weight as a share of the window's side (nnU-Net and Medal S use 1/8)."""
LEAST_WEIGHT = 1e-3
"""Floor of the blending weight, so that a corner seen by one window only does not lose its precision."""
IDLE_PROMPT = 0.02
"""A window whose spatial prompt stays below this holds nothing of the targets and is skipped."""

Predict = Callable[[np.ndarray, np.ndarray | None, int], tuple[np.ndarray, np.ndarray]]
"""image (C, d, h, w), prompt (N, d, h, w) or None, degree -> probability (N, d, h, w), presence (N, d); the
thick axis comes first in all of them."""


@dataclass(frozen=True)
class Blended:
    """Result over one view, axes as in the volume."""

    probability: np.ndarray
    """(N, D, H, W) float32 of the view's shape; 0 where every window was skipped"""
    presence: np.ndarray
    """(N, n) float32 per slice of the view's thick axis; 1 where nothing measured it"""
    windows: int
    skipped: int
    unseen: int = 0
    """windows that were left out because the time was over"""


def window_shape(view: View, voxels: int) -> tuple[int, int, int]:
    """The largest window of at most ``voxels`` voxels for ``view``: its longest sides are cut first.

    Sides stay multiples of what the network halves. A thick axis counts its voxels at their length.
    """
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
    prompt: np.ndarray | None,
    view: View,
    voxels: int,
    overlap: float,
    classes: int,
    may_go_on: Callable[[], bool] = lambda: True,
) -> Blended:
    """Slide windows of at most ``voxels`` voxels over a sampled view.

    Args:
        predict: runs one window, see ``Predict``.
        image: (C, D, H, W) float32 sampled on ``view``; channel 0 is -1 where nothing is (black).
        prompt: (N, D, H, W) float32 or None.
        view: gives degree and thick axis.
        voxels: most voxels of a window.
        overlap: share of a side that neighbouring windows have in common.
        classes: N.
        may_go_on: asked before every window; where it says no, the rest is left out.

    Returns:
        see ``Blended``. The order of windows is fixed, so the same input gives the same bytes.
    """
    thick = view.thick_axis
    size = window_shape(view, voxels)
    corners = window_corners(view.shape, size, overlap)
    if len(corners) == 1:
        return _single(predict, image, prompt, view)
    total = np.zeros((classes, *view.shape), np.float32)
    weight_sum = np.zeros(view.shape, np.float32)
    presence = np.full((classes, view.shape[thick]), -1.0, np.float32)
    weight = gaussian_weight(size)
    skipped = unseen = 0
    for number, corner in enumerate(corners):
        if not may_go_on():
            unseen = len(corners) - number
            break
        at = tuple(slice(c, c + n) for c, n in zip(corner, size, strict=True))
        part = image[(slice(None), *at)]
        hint = None if prompt is None else prompt[(slice(None), *at)]
        weight_sum[at] += weight
        if is_idle(part, hint):
            skipped += 1
            continue
        p, present = predict(
            _thick_first(part, thick), None if hint is None else _thick_first(hint, thick), view.degree
        )
        total[(slice(None), *at)] += np.moveaxis(p, 1, 1 + thick) * weight
        rows = presence[:, at[thick]]
        np.maximum(rows, present, out=rows)
    total /= np.maximum(weight_sum, LEAST_WEIGHT)
    presence[presence < 0] = 1.0
    return Blended(total, presence, len(corners) - skipped - unseen, skipped, unseen)


def window_corners(
    shape: tuple[int, int, int], window: tuple[int, int, int], overlap: float
) -> list[tuple[int, int, int]]:
    """First voxels of all windows over a view, D slowest."""
    starts = [tile_starts(n, w, overlap) for n, w in zip(shape, window, strict=True)]
    return [(d, h, w) for d in starts[0] for h in starts[1] for w in starts[2]]


def is_idle(image: np.ndarray, prompt: np.ndarray | None) -> bool:
    """Whether a window can hold nothing: all black, or away from the coarse result."""
    if not (image[0] > -1.0).any():
        return True
    return prompt is not None and float(prompt.max(initial=0.0)) < IDLE_PROMPT


def _thick_first(values: np.ndarray, thick: int) -> np.ndarray:
    return np.ascontiguousarray(np.moveaxis(values, 1 + thick, 1))


def _single(predict: Predict, image: np.ndarray, prompt: np.ndarray | None, view: View) -> Blended:
    thick = view.thick_axis
    hint = None if prompt is None else _thick_first(prompt, thick)
    p, present = predict(_thick_first(image, thick), hint, view.degree)
    return Blended(np.moveaxis(p, 1, 1 + thick), present, 1, 0)

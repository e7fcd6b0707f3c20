"""Spatial prompts that are sampled window by window, so that memory does not grow with the view."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from vesal.inference.geometry.views import View
from vesal.inference.planning.rules import QueryRegion
from vesal.inference.stages.sliding_window import Slices
from vesal.inference.stages.stage_result import Latest


class WindowPrompts:
    """Reads like an array (N, D, H, W) float32, one window after the other."""

    ndim = 4

    def __init__(self, before: Sequence[Latest], view: View, region: QueryRegion) -> None:
        """``before`` are the results of N targets, which ``region`` samples on ``view``."""
        self._before, self._view, self._region = before, view, region
        self._unpacked: list[np.ndarray] | None = None

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(N, D, H, W)."""
        return len(self._before), *self._view.shape

    def __getitem__(self, at: Slices) -> np.ndarray:
        """All targets (N, d, h, w) in a window."""
        if self._unpacked is None:
            self._unpacked = [each.probability for each in self._before]
        pairs = zip(self._unpacked, self._before, strict=True)
        return np.stack([self._region.prompt(p, each.view, self._view, at[1:]) for p, each in pairs])


def prompt_of_windows(before: Sequence[Latest], region: QueryRegion) -> Callable[[View], Any]:
    """A sampler of the spatial prompts of a view, by the rule's own way: gives ``WindowPrompts``."""
    return lambda view: WindowPrompts(before, view, region)

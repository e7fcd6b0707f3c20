"""A case's volume, and views that are still to be run on it, with their cost."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from vesal.inference.data.prompt import Query
from vesal.inference.families.contract import StageModel
from vesal.inference.families.network_input import image_channels
from vesal.inference.geometry.resample import to_view
from vesal.inference.geometry.views import Box, Sides, View, fit_view
from vesal.inference.planning.rules import StageRule
from vesal.inference.stages.packed_probability import Probabilities
from vesal.inference.stages.sliding_window import Corner, corners_of, is_skippable, slices_of, window_shape
from vesal.inference.stages.spatial_prompt import PromptSampler
from vesal.inference.timing.forecast import CostEstimate
from vesal.inference.timing.ladder import Effort, FineScope

_fit = lru_cache(maxsize=1024)(fit_view)
"""The cost of the same views is estimated many times."""


@lru_cache(maxsize=1024)
def windows_of(view: View, voxels: int, overlap: float) -> tuple[Sides, tuple[Corner, ...]]:
    """Size (D, H, W) and first voxels of a view's windows of at most ``voxels`` voxels."""
    size = window_shape(view, voxels)
    return size, tuple(corners_of(view, size, overlap))


@dataclass(frozen=True)
class Volume:
    """A case's volume and its intensity statistics."""

    image: np.ndarray
    """(D, H, W) uint8"""
    spacing_dhw_mm: tuple[float, float, float]
    statistics: tuple[float, float]
    """mean and standard deviation of ``image``"""

    def channels(self, view: View) -> np.ndarray:
        """(2, d, h, w) float32 network input on ``view``."""
        return image_channels(to_view(self.image, view), self.statistics)

    def lay(self, box: Box, rule: StageRule) -> View:
        """The view over ``box`` by ``rule``."""
        voxels = rule.window_voxels * rule.max_windows
        if rule.layout is not None:
            return rule.layout.view(box, voxels)
        return _fit(box, self.spacing_dhw_mm, voxels, rule.min_spacing_mm)


@dataclass(eq=False)
class ViewTask:
    """A view that is still to be run, for some queries."""

    volume: Volume
    model: StageModel
    queries: Sequence[Query]
    box: Box
    rule: StageRule
    first: bool
    """whether there is no coarse result: then the view is always run, and may get coarser"""
    uncertain: bool = True
    """whether the coarse result is uncertain"""
    spatial_prompt: PromptSampler | None = None
    """of the first round"""
    from_user: bool = False
    """whether the prompt is the user's mask: no result, so its windows are always run"""
    share_to_run: float | None = None
    """share of windows not skipped, on the first grid on which they were counted; None before"""

    def is_wanted(self, effort: Effort, round_: int) -> bool:
        """Whether this effort still runs the round (0 is the first)."""
        if round_ >= effort.of(self.rule, self.first).rounds:
            return False
        if self.first or effort.fine is FineScope.EVERYWHERE:
            return True
        return effort.fine is FineScope.UNCERTAIN and self.uncertain

    def cost(self, effort: Effort) -> list[CostEstimate]:
        """What running it from the beginning costs."""
        if not self.is_wanted(effort, 0):
            return []
        rule = effort.of(self.rule, self.first)
        view = self.volume.lay(self.box, rule)
        size, corners = windows_of(view, rule.window_voxels, rule.overlap)
        count = (lambda: self._count_to_run(view, rule)) if len(corners) > 1 else None
        passes = passes_of(rule, self.spatial_prompt is not None)
        first = CostEstimate(view.degree, math.prod(size), len(corners), 1, passes, 1, count)
        return [first, *cost_of_rounds(view, size, rule, rule.rounds - 1)]

    def _count_to_run(self, view: View, rule: StageRule) -> int:
        """Windows of a view that are not skipped: counted on the first grid, estimated on others."""
        size, corners = windows_of(view, rule.window_voxels, rule.overlap)
        if self.share_to_run is None:
            image = self.volume.channels(view)
            prompt = self.spatial_prompt(view) if self.spatial_prompt and view.tiling is None else None
            self.share_to_run = len(windows_to_run(image, prompt, size, corners)) / len(corners)
        return math.ceil(len(corners) * self.share_to_run - 1e-6)


def cost_of_rounds(view: View, size: Sides, rule: StageRule, times: int) -> list[CostEstimate]:
    """Cost of later rounds. Several windows count as none: which are skipped depends on the round before."""
    if times <= 0 or size != view.shape:
        return []
    return [CostEstimate(view.degree, math.prod(size), 1, times, passes_of(rule, True))]


def passes_of(rule: StageRule, prompted: bool) -> int:
    """Calls of the network for one window."""
    return 2 if rule.complementary_block and prompted else 1


def windows_to_run(
    image: np.ndarray, prompt: Probabilities | None, size: Sides, corners: Sequence[Corner]
) -> list[Corner]:
    """The windows that are not skipped; a single one never is.

    Args:
        image: (C, D, H, W) float32 on a view.
        prompt: (N, D, H, W) spatial prompt on it, packed or not, or None.
        size: of a window.
        corners: first voxels of all windows.
    """
    if len(corners) == 1:
        return list(corners)
    at = {corner: slices_of(corner, size) for corner in corners}
    return [c for c in corners if not is_skippable(image[at[c]], None if prompt is None else prompt[at[c]])]

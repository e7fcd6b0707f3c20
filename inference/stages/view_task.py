"""A case's volume, and views that are still to be run on it, with their cost."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np

from vesal.inference.data.case import Case
from vesal.inference.data.prompt import Query
from vesal.inference.families.contract import EncodedPrompts, Family, StageModel, UserInput
from vesal.inference.geometry.resample import to_view
from vesal.inference.geometry.views import Box, Sides, View, VolumeGrid
from vesal.inference.planning.rules import KeptWindows, StageRule
from vesal.inference.stages.mirrors import Axes, copies_along
from vesal.inference.stages.packed_probability import Probabilities
from vesal.inference.stages.sampled_slices import SampledSlices
from vesal.inference.stages.slice_runs import wanted_runs
from vesal.inference.stages.sliding_window import Corner, slices_of
from vesal.inference.stages.spatial_prompt import PromptSampler
from vesal.inference.timing.forecast import CostEstimate
from vesal.inference.timing.ladder import Effort, FineScope


@lru_cache(maxsize=1024)
def windows_of(view: View, voxels: int, overlap: float) -> tuple[Sides, tuple[Corner, ...]]:
    """Size (D, H, W) and first voxels of a view's windows of at most ``voxels`` voxels."""
    size = view.tiling.size(view, voxels)
    return size, tuple(view.tiling.corners(view, size, overlap))


@lru_cache(maxsize=1024)
def places_of(kept: KeptWindows, view: View, voxels: int, overlap: float) -> dict[Corner, Hashable]:
    """By what a view's windows are kept encoded, by their first voxels; see ``windows_of``."""
    size, corners = windows_of(view, voxels, overlap)
    return {corner: kept.place(view, corner, size) for corner in corners}


@dataclass(frozen=True)
class Volume:
    """A case's volume, and what its family measured of it."""

    image: np.ndarray
    """(D, H, W) uint8, or the stored numbers where the family takes these"""
    spacing_dhw_mm: tuple[float, float, float]
    measured: Any = None
    """see ``families.contract.Family.measure``"""

    @classmethod
    def of(cls, case: Case, model: Family) -> Volume:
        """The volume of a case as its family takes it: of the file's own numbers, if wanted and there."""
        numbers = case.numbers if model.capabilities.stored_numbers else None
        image = case.image if numbers is None else numbers
        return cls(image, case.spacing_dhw_mm, model.measure(image))

    @property
    def grid(self) -> VolumeGrid:
        """Its shape and spacing."""
        d, h, w = self.image.shape
        return VolumeGrid((d, h, w), self.spacing_dhw_mm)

    def lay(self, box: Box, rule: StageRule, queries: Sequence[Query]) -> View:
        """The view over ``box`` by ``rule``, with slices that are thick for none of the queries."""
        thickest_mm = min((query.thickest_slice_mm for query in queries), default=math.inf)
        grid = replace(self.grid, thickest_slice_mm=thickest_mm)
        view: View = rule.layout.view(box, grid, rule.view_voxels, rule.min_spacing_mm)
        return view


@dataclass(eq=False)
class ViewTask:
    """A view that is still to be run, for some queries."""

    volume: Volume
    model: StageModel
    queries: Sequence[Query]
    prompts: EncodedPrompts
    """the queries as the family encoded them"""
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
    user: Callable[[View], UserInput] | None = None
    """boxes and points on a view, where there are some and the family takes them"""
    edges: bool = True
    """whether the edges of objects are used, where the family tells them"""
    added: bool = False
    """whether it is run though views like it were given up, as there is time for it"""
    share_to_run: float | None = None
    """share of windows not skipped, on the first grid on which they were counted; None before"""

    def lay(self, rule: StageRule) -> View:
        """Its view by a rule, which may be a cheaper one than its own."""
        return self.volume.lay(self.box, rule, self.queries)

    def sample(self, view: View) -> np.ndarray | SampledSlices:
        """(C, d, h, w) float32 network input on ``view``."""
        if view.sampler is not None:
            measured = self.volume.measured
            return SampledSlices(
                self.volume.image, view, lambda sampled: self.model.prepare(sampled, view, measured)
            )
        return self.model.prepare(to_view(self.volume.image, view), view, self.volume.measured)

    def copies(self, rule: StageRule) -> list[Axes]:
        """By which axes the copies of a window are mirrored that are run, the first one by none."""
        if not rule.mirror_axes or self.user or not all(query.may_be_mirrored for query in self.queries):
            return copies_along(())
        return copies_along(rule.mirror_axes)

    def calls(self, rule: StageRule, prompted: bool, encoded: bool = False) -> dict[str, int]:
        """Of one window with its copies, as fields of an estimate; ``encoded``: as it is it is so already."""
        copies = len(self.copies(rule))
        return {"decodings": copies * decodings_of(rule, prompted), "encodings": copies - encoded}

    def is_wanted(self, effort: Effort, round_: int) -> bool:
        """Whether this effort still runs the round (0 is the first)."""
        if round_ >= effort.of(self.rule, self.first).passes:
            return False
        if self.first or self.added or effort.fine is FineScope.EVERYWHERE:
            return True
        return effort.fine is FineScope.UNCERTAIN and self.uncertain

    def cost(self, effort: Effort) -> list[CostEstimate]:
        """What running it from the beginning costs."""
        if not self.is_wanted(effort, 0):
            return []
        rule = effort.of(self.rule, self.first)
        view = self.lay(rule)
        size, corners = windows_of(view, rule.window_voxels, rule.overlap)
        skipping = len(corners) > 1 and (rule.skip_empty or self.spatial_prompt is not None)
        count = (lambda: self._count_to_run(view, rule)) if skipping else None
        first = self.estimate(
            view,
            size,
            _planned(view, rule, len(corners)),
            views=1,
            count=count,
            **self.calls(rule, self.spatial_prompt is not None),
            **self.kept(view, rule, corners),
        )
        return [first, *self.cost_of_rounds(view, size, rule, rule.passes - 1)]

    def kept(self, view: View, rule: StageRule, corners: Sequence[Corner]) -> dict[str, Any]:
        """The fields of an estimate of windows from ``corners`` on that say which are kept encoded."""
        if rule.kept_windows is None or not corners:
            return {}
        place = places_of(rule.kept_windows, view, rule.window_voxels, rule.overlap)
        places = tuple(place[corner] for corner in corners)
        return {"places": places, "most_kept": rule.kept_windows.most}

    def estimate(self, view: View, size: Sides, windows: int, **more: Any) -> CostEstimate:
        """The cost of some windows of ``size`` (d, h, w); ``more`` are fields of the estimate."""
        seen = math.prod(n + 2 * h for n, h in zip(size, view.tiling.halo, strict=True))
        key, voxels = self.model.cost(view.degree, seen, len(self.queries))
        return CostEstimate(key, voxels, len(self.queries), windows, **more)

    def cost_of_rounds(self, view: View, size: Sides, rule: StageRule, times: int) -> list[CostEstimate]:
        """Cost of later rounds. Several windows of ``size`` (d, h, w) count as none: which are skipped
        depends on the round before.
        """
        if times <= 0 or size != view.shape:
            return []
        # The only window of a view stays encoded, but not its copies.
        return [self.estimate(view, size, 1, times=times, **self.calls(rule, True, encoded=True))]

    def windows_to_run(
        self,
        image: np.ndarray | SampledSlices,
        prompt: Probabilities | None,
        size: Sides,
        corners: Sequence[Corner],
    ) -> list[Corner]:
        """The windows that are not skipped; a single one never is.

        Args:
            image: (C, D, H, W) float32 on a view.
            prompt: (N, D, H, W) spatial prompt on it, packed or not, or None.
            size: of a window, (d, h, w).
            corners: first voxels of all windows.
        """
        if len(corners) == 1 or (prompt is None and not self.rule.skip_empty):
            return list(corners)
        at = {corner: slices_of(corner, size) for corner in corners}
        return [c for c in corners if not self.skips(image[at[c]], None if prompt is None else prompt[at[c]])]

    def skips(self, image: np.ndarray, prompt: np.ndarray | None) -> bool:
        """Whether a window is skipped: empty, or outside of the coarse result.

        Args:
            image: (C, d, h, w) float32.
            prompt: (N, d, h, w) spatial prompt, or None.
        """
        if self.rule.skip_empty and self.model.is_empty(image):
            return True
        return prompt is not None and float(prompt.max(initial=0.0)) < self.rule.min_window_prompt

    def _count_to_run(self, view: View, rule: StageRule) -> int:
        """Windows of a view that are not skipped: counted on the first grid, estimated on others."""
        size, corners = windows_of(view, rule.window_voxels, rule.overlap)
        if self.share_to_run is None:
            prompt = None
            if self.spatial_prompt and rule.min_window_prompt:
                prompt = self.spatial_prompt(view)
            found = self.windows_to_run(self.sample(view), prompt, size, corners)
            self.share_to_run = len(found) / len(corners)
        return math.ceil(_planned(view, rule, len(corners)) * self.share_to_run - 1e-6)


def _planned(view: View, rule: StageRule, windows: int) -> int:
    """How many of a view's windows are run by a rule."""
    return len(wanted_runs(windows, rule.every)) if view.tiling.apart else windows


def decodings_of(rule: StageRule, prompted: bool) -> int:
    """Decodings of one window: two with complementary halves of its spatial prompt, and as many again for
    each time that it is refined by its own prediction.
    """
    halves = 2 if rule.complementary_block else 1
    return (halves if prompted else 1) + halves * (rule.rounds - rule.passes)


def grid_of(rule: StageRule) -> tuple[int, int, float, float]:
    """The fields of a rule that set the grid of the windows."""
    return rule.window_voxels, rule.max_windows, rule.overlap, rule.min_spacing_mm

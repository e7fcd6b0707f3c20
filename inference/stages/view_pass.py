"""One view pass: a view over a region, its windows and its refinement rounds, as far as time allows.

The ladder is checked before every window. A step that changes the grid restarts the round on the new one;
any other step applies from the next window on.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from vesal.inference.geometry.region import is_uncertain
from vesal.inference.planning.rules import StageRule
from vesal.inference.stages.block_masks import half_of_blocks
from vesal.inference.stages.packed_probability import Probabilities
from vesal.inference.stages.sliding_window import Blended, Corner, run_windows, slices_of
from vesal.inference.stages.view_task import (
    ViewTask,
    cost_of_rounds,
    passes_of,
    windows_of,
    windows_to_run,
)
from vesal.inference.timing.forecast import Approval, CostEstimate
from vesal.inference.timing.ladder import Effort, FineScope, Ladder

Prediction = tuple[np.ndarray, np.ndarray]
"""probability (N, d, h, w) and presence (N, d) of one window, thick axis first"""


class ViewPass:
    """Runs one task; `view` is the grid of its result."""

    def __init__(self, task: ViewTask, ladder: Ladder) -> None:
        """Nothing is run yet. ``task`` is no longer upcoming on the ladder."""
        self._task, self._ladder = task, ladder
        self._embedding = task.model.embed(task.queries)
        self._rule = self._adapted = ladder.effort.of(task.rule, task.first)
        self.view = task.volume.lay(task.box, self._rule)
        self._image = np.empty((0, 0, 0, 0), np.float32)
        self._begin_round(0, None)

    def run(self) -> tuple[Blended, int]:
        """Run round by round.

        Returns:
            the last complete result, with the windows of all rounds; and the number of rounds.
        """
        result = self._run_first_round()
        ran, skipped, done = result.windows, result.skipped, 1
        while not result.dropped and self._task.is_wanted(self._ladder.effort, done):
            again = self._run_round(done, result.probability)
            ran, skipped = ran + again.windows, skipped + again.skipped
            if again.dropped:  # the previous round is complete
                break
            result, done = again, done + 1
        return replace(result, windows=ran, skipped=skipped), done

    def cost(self, effort: Effort) -> list[CostEstimate]:
        """What is left of it under an effort, from the next window on."""
        task = self._task
        if not task.is_wanted(effort, self._round):
            return []
        rule = effort.of(task.rule, task.first)
        if _grid_of(rule) != _grid_of(self._rule):
            return task.cost(effort)
        left = self._windows_left(effort)
        if self._voxels != math.prod(self._size):
            left = max(1, left)  # out of GPU memory: more and smaller windows than were counted
        passes = passes_of(rule, self._prompt is not None)
        mine = [CostEstimate(self.view.degree, self._voxels, left, 1, passes)] if left else []
        return [*mine, *cost_of_rounds(self.view, self._size, rule, rule.rounds - self._round - 1)]

    def _run_first_round(self) -> Blended:
        """Run the windows of the first round that there is time for."""
        task = self._task
        while True:
            with self._ladder.forecast.sampling():
                self._image = task.volume.channels(self.view)
                prompt = task.spatial_prompt(self.view) if task.spatial_prompt else None
            result = self._run_round(0, prompt)
            effort = self._ladder.effort
            rule = effort.of(task.rule, task.first)
            if not task.is_wanted(effort, 0) or _grid_of(rule) == _grid_of(self._rule):
                return result
            self._rule = rule
            self.view = task.volume.lay(task.box, rule)

    def _run_round(self, number: int, prompt: Probabilities | None) -> Blended:
        """Run one round; no window where there is no time for the first.

        Args:
            number: 0 is the first.
            prompt: (N, d, h, w) spatial prompt: float32 0..1, packed or not, or bool.
        """
        self._begin_round(number, prompt)
        classes = len(self._task.queries)
        if not self._may_begin_window():
            nothing = np.zeros((classes, *self.view.shape), np.float32)
            presence = np.ones((classes, self.view.shape[self.view.thick_axis]), np.float32)
            return Blended(nothing, presence, 0, 0, len(self._corners))
        return run_windows(
            self._predict,
            self._image,
            prompt,
            self.view,
            self._rule.window_voxels,
            self._rule.overlap,
            classes,
            self._may_begin_window,
        )

    def _begin_round(self, number: int, prompt: Probabilities | None) -> None:
        self._round, self._prompt = number, prompt
        self._size, self._corners = windows_of(self.view, self._rule.window_voxels, self._rule.overlap)
        self._n_run, self._voxels = 0, math.prod(self._size)
        self._to_run: list[Corner] | None = None
        self._approval = Approval()

    def _may_begin_window(self) -> bool:
        """Whether the next window may be run on this grid; the ladder may take steps."""
        ladder = self._ladder
        if ladder.forecast.now() < self._approval.until:
            return True
        if ladder.fits(self):
            self._approval = ladder.approve(self)
        elif not ladder.fits(self, alone=True):
            # If the lowest effort does not fit either, this view is dropped first.
            ladder.omit(self)
            return False
        task, effort = self._task, ladder.effort
        self._adapted = effort.of(task.rule, task.first)
        return task.is_wanted(effort, self._round) and _grid_of(self._adapted) == _grid_of(self._rule)

    def _windows_left(self, effort: Effort) -> int:
        if self._to_run is None:
            prompt = self._prompt if self.view.tiling is None else None
            self._to_run = windows_to_run(self._image, prompt, self._size, self._corners)
            if not self._round and self._task.share_to_run is None:
                self._task.share_to_run = len(self._to_run) / len(self._corners)
        waiting = self._to_run[self._n_run :]
        if self._prompt is None or not self._may_settle(effort):
            return len(waiting)
        return sum(is_uncertain(self._prompt[slices_of(corner, self._size)]) for corner in waiting)

    def _may_settle(self, effort: Effort) -> bool:
        """Whether windows with a confident coarse result keep it; a user's mask is no result."""
        task = self._task
        return effort.fine is FineScope.UNCERTAIN and not (task.first or task.from_user or self._round)

    def _predict(self, image: np.ndarray, prompt: np.ndarray | None, degree: int) -> Prediction:
        """One window's prediction; with complementary masks, merged from one for each half (see the rule).

        Args:
            image: (C, d, h, w) float32, thick axis first.
            prompt: (N, d, h, w) float32 0..1 or bool, or None.
            degree: of anisotropy.
        """
        self._n_run, self._voxels = self._n_run + 1, image[0].size
        prediction = self._predict_window(image, prompt, degree)
        if self._ladder.progress is not None:
            self._ladder.report_progress(self)
        return prediction

    def _predict_window(self, image: np.ndarray, prompt: np.ndarray | None, degree: int) -> Prediction:
        rule = self._adapted
        if prompt is None:
            return self._call(image, None, degree)
        if self._ladder.effort.fine is FineScope.UNCERTAIN and self._is_settled(prompt):
            prompt = prompt.astype(np.float32, copy=False)
            return prompt, prompt.max((2, 3))
        if rule.binary_prompts:
            prompt = prompt > 0.5  # 1 byte a voxel: floats of many prompts would dominate the memory
        if not rule.complementary_block:
            return self._call(image, prompt, degree)
        block = rule.refinement_block if self._round and rule.refinement_block else rule.complementary_block
        half = half_of_blocks(prompt.shape[1:], block)
        first, present_first = self._call(image, prompt * half, degree)
        second, present_second = self._call(image, prompt * ~half, degree)
        if rule.merge_unprompted:
            np.copyto(first, second, where=half)
        else:
            first += second
            first /= 2
        return first, np.maximum(present_first, present_second)

    def _is_settled(self, prompt: np.ndarray) -> bool:
        return self._may_settle(self._ladder.effort) and not is_uncertain(prompt)

    def _call(self, image: np.ndarray, prompt: np.ndarray | None, degree: int) -> Prediction:
        forecast = self._ladder.forecast
        started = forecast.now()
        prediction = self._task.model.predict(image, prompt, self._embedding, degree)
        seconds = forecast.now() - started
        forecast.record_call(degree, image[0].size, seconds)
        self._approval.called(seconds)
        return prediction


def _grid_of(rule: StageRule) -> tuple[int, int, float]:
    """The fields of a rule that set the grid of the windows."""
    return rule.window_voxels, rule.max_windows, rule.overlap

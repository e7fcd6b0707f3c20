"""One view pass: a view over a region, its windows and its refinement rounds, as far as time allows.

The ladder is checked before every window. A step that changes the grid restarts the round on the new one;
any other step applies from the next window on. So does a window that does not fit into GPU memory: the ladder
then counts smaller and more of them.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np

from vesal.inference.data.errors import OutOfDeviceMemoryError
from vesal.inference.families.contract import Decoded, UserInput
from vesal.inference.geometry.region import is_uncertain
from vesal.inference.geometry.views import sides_text
from vesal.inference.stages.block_masks import half_of_blocks
from vesal.inference.stages.complementary import merge_halves
from vesal.inference.stages.logits import UNSEEN, to_logits, to_ordered_probabilities, to_probabilities
from vesal.inference.stages.mirrors import Axes, CopiesLeft, mean_of_copies, mirrored, mirrored_window
from vesal.inference.stages.packed_probability import Probabilities
from vesal.inference.stages.sampled_slices import SampledSlices
from vesal.inference.stages.slice_runs import RunOrder, SliceRuns
from vesal.inference.stages.sliding_window import Blended, Corner, Prediction, Slices, run_windows, slices_of
from vesal.inference.stages.view_task import ViewTask, decodings_of, grid_of, windows_of
from vesal.inference.stages.window_input import spatial_of, user_input_of, window_of
from vesal.inference.timing.forecast import Approval, CostEstimate
from vesal.inference.timing.ladder import Effort, FineScope, Ladder

log = logging.getLogger("vesal")

ENLARGED_TIMES = 5
"""What a plane takes that is enlarged, merged and brought back at the end, in times of enlarging it alone:
11.7 against 2.4 ms were measured for 128 x 128 logits on slices of 512 x 512."""


class ViewPass:
    """Runs one task; `view` is the grid of its result."""

    def __init__(self, task: ViewTask, ladder: Ladder) -> None:
        """Nothing is run yet. ``task`` is no longer upcoming on the ladder."""
        self._task, self._ladder = task, ladder
        self._rule = self._adapted = ladder.effort.of(task.rule, task.first)
        self.view = task.lay(self._rule)
        self._image: np.ndarray | SampledSlices = np.empty((0, 0, 0, 0), np.float32)
        self._encoded: tuple[Slices, Any] | None = None
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
        return replace(result, windows=ran, skipped=skipped, note=self._note()), done

    def cost(self, effort: Effort) -> list[CostEstimate]:
        """What is left of it under an effort, from the next window on."""
        task = self._task
        if not task.is_wanted(effort, self._round):
            return []
        rule = effort.of(task.rule, task.first)
        if grid_of(rule) != grid_of(self._rule):
            return task.cost(effort)
        left = self._windows_left(effort)
        calls = task.calls(rule, self._prompt is not None, self._encoded is not None)
        mine = []
        if left:
            kept = task.kept(self.view, self._rule, left)
            mine = [task.estimate(self.view, self._size, len(left), **calls, **kept)]
        return [*mine, *task.cost_of_rounds(self.view, self._size, rule, rule.passes - self._round - 1)]

    def _run_first_round(self) -> Blended:
        """Run the windows of the first round that there is time for."""
        task = self._task
        while True:
            self._encoded = None
            with self._ladder.forecast.sampling():
                self._image = task.sample(self.view)
                prompt = task.spatial_prompt(self.view) if task.spatial_prompt else None
            result = self._run_round(0, prompt)
            effort = self._ladder.effort
            rule = effort.of(task.rule, task.first)
            if not task.is_wanted(effort, 0) or grid_of(rule) == grid_of(self._rule):
                return result
            self._rule = rule
            self.view = task.lay(rule)

    def _run_round(self, number: int, prompt: Probabilities | None) -> Blended:
        """Run one round; no window where there is no time for the first.

        Args:
            number: 0 is the first.
            prompt: (N, d, h, w) spatial prompt: float32 0..1, packed or not, or bool.
        """
        while True:
            self._begin_round(number, prompt)
            if not self._may_begin_window():
                return self._nothing()
            try:
                if self._runs is not None:
                    found = self._runs.run(self._predict_planes, self._order(), self._skips)
                    if not found.interpolated and not found.dropped:
                        self._ladder.take_back_fewer_slices()
                    return found
                return run_windows(
                    self._predict,
                    self.view,
                    self._size,
                    self._corners,
                    len(self._task.queries),
                    self._may_begin_window,
                    self._skips,
                    *self._of_logits(),
                )
            except OutOfDeviceMemoryError:
                if not self._halve_windows():
                    raise

    def _of_logits(self) -> tuple[Callable[[np.ndarray], object] | None, float]:
        """What makes probabilities of blended values, and the value of a window that shows nothing."""
        if not self._rule.blends_logits:
            return None, 0.0
        return (to_ordered_probabilities if self._rule.keeps_order else to_probabilities), UNSEEN

    def _nothing(self) -> Blended:
        """The result of a round of which no window was run."""
        if self._runs is not None:
            return self._runs.finish(1)
        classes, length = len(self._task.queries), self.view.shape[self.view.thick_axis]
        zeros = np.zeros((classes, *self.view.shape), np.float32)
        ones = np.ones((classes, length), np.float32)
        return Blended(zeros, ones, 0, 0, dropped=len(self._corners))

    def _halve_windows(self) -> bool:
        """Go on with windows of half the size, on the same view; False where there are none smaller."""
        task, ladder, effort = self._task, self._ladder, self._ladder.effort
        for times in range(1, task.rule.window_voxels.bit_length()):
            rule = replace(effort, halvings=effort.halvings + times).of(task.rule, task.first)
            size, _ = windows_of(self.view, rule.window_voxels, rule.overlap)
            if math.prod(size) < math.prod(self._size):
                break
        else:
            return False
        ladder.halve_windows(times)
        self._rule = rule
        log.warning("windows of %s voxels do not fit into GPU memory", sides_text(self._size))
        return True

    def _note(self) -> str:
        """That windows are smaller, as larger ones did not fit into GPU memory in this view or one before."""
        effort = replace(self._ladder.effort, halvings=0)
        rule = effort.of(self._task.rule, self._task.first)
        planned, _ = windows_of(self.view, rule.window_voxels, rule.overlap)
        if planned == self._size:
            return ""
        size, too_large = sides_text(self._size), sides_text(planned)
        return f"windows of {size} voxels, as those of {too_large} do not fit into GPU memory"

    def _begin_round(self, number: int, prompt: Probabilities | None) -> None:
        self._round, self._prompt = number, prompt
        self._size, self._corners = windows_of(self.view, self._rule.window_voxels, self._rule.overlap)
        self._runs: SliceRuns | None = None
        if self.view.tiling.apart:
            self._runs = SliceRuns(len(self._task.queries), self.view, self._size, self._corners)
        self._n_run = 0
        self._to_run: list[Corner] | None = None
        self._approval = Approval()
        self._began: tuple[float, float, int] | None = None

    def _may_begin_window(self) -> bool:
        """Whether the next window may be run on this grid; measures what the one before took in all."""
        forecast = self._ladder.forecast
        if self._began is not None and self._n_run > self._began[2]:
            seconds = forecast.now() - self._began[0] - (forecast.calls_s - self._began[1])
            forecast.record_beside(*self._key(), len(self._task.queries), max(0.0, seconds))
        may = self._fits()
        self._began = forecast.now(), forecast.calls_s, self._n_run
        return may

    def _fits(self) -> bool:
        """Whether the next window fits on this grid; the ladder may take steps."""
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
        if not task.is_wanted(effort, self._round) and ladder.may_add(self):
            task.added, self._approval = True, Approval()
        return task.is_wanted(effort, self._round) and grid_of(self._adapted) == grid_of(self._rule)

    def _order(self) -> RunOrder:
        """Which runs of slices are run, as the ladder has it."""
        return RunOrder(
            lambda: self._adapted.every, self._task.rule.every, self._may_begin_window, self._may_add_window
        )

    def _may_add_window(self) -> bool:
        """Whether there is time for a run of slices that was given up."""
        decodings = decodings_of(self._adapted, self._prompt is not None)
        return self._ladder.affords([self._task.estimate(self.view, self._size, 1, decodings=decodings)])

    def _windows_left(self, effort: Effort) -> list[Corner]:
        if self._to_run is None:
            prompt = self._prompt if self._rule.min_window_prompt else None
            self._to_run = self._task.windows_to_run(self._image, prompt, self._size, self._corners)
            if not self._round and self._task.share_to_run is None:
                self._task.share_to_run = len(self._to_run) / len(self._corners)
        if self._runs is not None:
            every = effort.of(self._task.rule, self._task.first).every
            coming = {self._corners[number] for number in self._runs.left(every)}
            return [corner for corner in self._to_run if corner in coming]
        waiting = self._to_run[self._n_run :]
        if self._prompt is None or not self._may_settle(effort):
            return waiting
        return [c for c in waiting if is_uncertain(self._prompt[slices_of(c, self._size)])]

    def _skips(self, at: Slices) -> bool:
        """Whether a window is empty, or outside of the result before."""
        prompt = self._prompt if self._rule.min_window_prompt else None
        return self._task.skips(self._image[at], None if prompt is None else prompt[at])

    def _may_settle(self, effort: Effort) -> bool:
        """Whether windows with a confident coarse result keep it; a user's mask is no result."""
        task = self._task
        if effort.fine is not FineScope.UNCERTAIN or self._round:
            return False
        return not (task.first or task.from_user or task.added)

    def _predict(self, at: Slices) -> Prediction:
        """One window's prediction, its axes as in the view.

        Args:
            at: where it lies.
        """
        found = self._predict_planes(at)
        thick = 1 + self.view.thick_axis
        edges = None if found.edges is None else np.moveaxis(found.edges, 1, thick)
        return np.moveaxis(found.probability, 1, thick), found.presence, edges

    def _predict_planes(self, at: Slices) -> Decoded:
        """One window's prediction, thick axis first."""
        self._n_run += 1
        found = self._predict_window(at)
        if self._n_run == 1 and found.enlarge is not None:
            self._tell_finishing(found)
        if self._ladder.progress is not None:
            self._ladder.report_progress(self)
        return found

    def _tell_finishing(self, found: Decoded) -> None:
        """Keep time for planes that are enlarged only when the labels are made."""
        assert found.enlarge is not None
        forecast, axis = self._ladder.forecast, self.view.thick_axis
        a, b = (n for at, n in enumerate(self.view.shape) if at != axis)
        seconds = []
        for _ in range(3):  # the first one makes tables
            started = forecast.now()
            found.enlarge(found.probability[:1, 0], (a, b))
            seconds.append(forecast.now() - started)
        planes = len(found.probability) * self.view.shape[axis]
        forecast.record_finishing(ENLARGED_TIMES * planes * min(seconds), self._ladder.effort.share)
        self._approval = Approval()  # it was given without this

    def _predict_window(self, at: Slices) -> Decoded:
        """A window's prediction, thick axis first: the mean of its mirrored copies."""
        rule, prompt = self._adapted, spatial_of(self._prompt, self.view, at)
        if prompt is not None and self._is_settled(prompt):
            prompt = prompt.astype(np.float32, copy=False)
            return Decoded(to_logits(prompt) if rule.blends_logits else prompt, prompt.max((2, 3)))
        copies = self._task.copies(rule)
        with self._window_calls():
            return mean_of_copies(self._predict_copies(at, prompt, copies), copies)

    def _predict_copies(
        self, at: Slices, prompt: np.ndarray | None, copies: Sequence[Axes]
    ) -> Iterator[Decoded]:
        """The predictions of a window and of its mirrored copies, these as long as there is time."""
        user, calls = self._user_input(at), decodings_of(self._adapted, prompt is not None)
        for number, axes in enumerate(copies):
            if number and not self._may_mirror(len(copies) - number, calls):
                return
            yield self._predict_copy(at, None if prompt is None else mirrored(prompt, axes), user, axes)

    def _may_mirror(self, left: int, calls: int) -> bool:
        """Whether there is time for ``left`` copies of a window, of so many decodings each."""
        more = self._task.estimate(self.view, self._size, 1, decodings=left * calls, encodings=left)
        return self._ladder.fits(CopiesLeft(more, self)) and self._ladder.effort.mirrors

    def _predict_copy(
        self, at: Slices, prompt: np.ndarray | None, user: UserInput | None, axes: Axes
    ) -> Decoded:
        """One of them; with complementary masks, merged from one for each half."""
        rule, encoded = self._adapted, self._encode(at, axes)
        found = self._decode_round(encoded, at, prompt, user, self._round)
        for number in range(rule.passes, rule.rounds):
            found = self._decode_round(encoded, at, found.probability, user, number)
        return found

    def _decode_round(
        self, encoded: Any, at: Slices, prompt: np.ndarray | None, user: UserInput | None, number: int
    ) -> Decoded:
        """Decode one round, 0 is the first, with the spatial prompts (N, d, h, w), if any."""
        rule = self._adapted
        if prompt is None:
            return self._decode(encoded, at, None, user)
        if rule.binary_prompts:
            prompt = prompt > 0.5  # 1 byte a voxel: floats of many prompts would dominate the memory
        if not rule.complementary_block:
            return self._decode(encoded, at, prompt, user)
        return self._decode_halves(encoded, at, prompt, user, number)

    def _decode_halves(
        self, encoded: Any, at: Slices, prompt: np.ndarray, user: UserInput | None, number: int
    ) -> Decoded:
        """Merge two predictions of which each sees half of the blocks of ``prompt`` (N, d, h, w)."""
        rule = self._adapted
        block = rule.refinement_block if number and rule.refinement_block else rule.complementary_block
        corner, shape = (at[1].start, at[2].start, at[3].start), prompt.shape[1:]
        if rule.block_masks is None:
            half = half_of_blocks(shape, block)
        else:
            half = rule.block_masks(rule.name, corner, number, shape, block)
        first = self._decode(encoded, at, prompt * half, user)
        second = self._decode(encoded, at, prompt * ~half, user)
        return merge_halves(first, second, half if rule.merge_unprompted else None)

    def _is_settled(self, prompt: np.ndarray) -> bool:
        return self._may_settle(self._ladder.effort) and not is_uncertain(prompt)

    def _user_input(self, at: Slices) -> UserInput | None:
        task = self._task
        return user_input_of(task.user(self.view), self.view, at) if task.user else None

    def _encode(self, at: Slices, axes: Axes) -> Any:
        """Encode a copy of a window; the only window of a view stays encoded for later rounds as it is."""
        if self._encoded is not None and self._encoded[0] == at and not axes:
            return self._encoded[1]
        window, forecast = window_of(self._image, self.view, at), self._ladder.forecast
        task = self._task
        window = replace(
            window, prompted=self._prompt is not None, measured=task.volume.measured, edges=task.edges
        )
        started = forecast.now()
        encoded = task.model.encode(mirrored_window(window, axes))
        kept = task.kept(self.view, self._rule, [window.corner])
        (place,) = kept.get("places", (None,))
        forecast.record_encoding(*self._key(), forecast.now() - started, place, kept.get("most_kept", 0))
        if len(self._corners) == 1 and self._rule.passes > 1 and not axes:
            self._encoded = at, encoded
        return encoded

    def _decode(
        self, encoded: Any, at: Slices, spatial: np.ndarray | None, user: UserInput | None
    ) -> Decoded:
        task, forecast = self._task, self._ladder.forecast
        started = forecast.now()
        decoded = task.model.decode(encoded, task.prompts, spatial, user)
        forecast.record_decoding(*self._key(), len(task.queries), forecast.now() - started)
        return decoded

    def _key(self) -> tuple[str, int]:
        """What a call of this view counts as in the forecast."""
        estimate = self._task.estimate(self.view, self._size, 1)
        return estimate.key, estimate.voxels

    @contextmanager
    def _window_calls(self) -> Iterator[None]:
        """Tell the approval what the calls of one window took."""
        forecast = self._ladder.forecast
        before = forecast.calls_s
        yield
        self._approval.ran(forecast.calls_s - before)

"""One look: a view over a region, its windows, and the rounds that refine it, as far as the ladder lets them.

The ladder is asked before every window. A step that changes the grid begins the round again on the new one;
every other step holds from the next window on.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache

import numpy as np

from vesal.inference.data.prompt import Query
from vesal.inference.families.contract import Embedding, StageModel
from vesal.inference.families.network_input import image_channels
from vesal.inference.geometry.region import is_uncertain
from vesal.inference.geometry.resample import to_view
from vesal.inference.geometry.views import Box, Sides, View, fit_view
from vesal.inference.planning.profile import StageRule
from vesal.inference.stages.block_masks import half_of_blocks
from vesal.inference.stages.packed_probability import Probabilities
from vesal.inference.stages.sliding_window import Blended, corners_of, is_idle, run_windows, window_shape
from vesal.inference.timing.forecast import Load
from vesal.inference.timing.ladder import Effort, FineScope, Ladder

Later = Callable[[Effort], list[Load]]
"""What is to come after the present look, under an effort."""

Answer = tuple[np.ndarray, np.ndarray]
"""probability (N, d, h, w) and presence (N, d) of one window, thick axis first"""

Corner = tuple[int, int, int]

_fit = lru_cache(maxsize=1024)(fit_view)
"""The same views are weighed before every window."""


@lru_cache(maxsize=1024)
def _cut(view: View, voxels: int, overlap: float) -> tuple[Sides, list[Corner]]:
    """Size and corners of a view's windows."""
    size = window_shape(view, voxels)
    return size, corners_of(view, size, overlap)


@dataclass(frozen=True)
class Sight:
    """The volume as the stages see it."""

    image: np.ndarray
    """(D, H, W) uint8"""
    spacing_dhw_mm: tuple[float, float, float]
    statistics: tuple[float, float]
    """mean and standard deviation of ``image``"""

    def channels(self, view: View) -> np.ndarray:
        """(2, D, H, W) float32 network input on ``view``."""
        return image_channels(to_view(self.image, view), self.statistics)

    def lay(self, box: Box, rule: StageRule) -> View:
        """The view that ``rule`` lays over ``box``."""
        if rule.layout is not None:
            return rule.layout.view(box, rule.window_voxels * rule.max_windows)
        return _fit(box, self.spacing_dhw_mm, rule.window_voxels * rule.max_windows, rule.min_spacing_mm)


@dataclass(frozen=True)
class Task:
    """What is looked at, and for what."""

    sight: Sight
    model: StageModel
    queries: Sequence[Query]
    box: Box
    rule: StageRule
    first: bool
    """whether nothing coarser is known of the volume: then the look is always wanted, and may be coarser"""
    unsure: bool = True
    """whether the coarse stage left something open"""
    hint: Callable[[View], np.ndarray] | None = None
    """gives the first round's spatial prompt (N, d, h, w) on a view: float32 0..1, or bool"""
    given: bool = False
    """whether the user gave that prompt: it is no result, so nothing is settled by it"""
    busy_shares: list[float] = field(default_factory=list, compare=False)
    """of windows that hold something, on the first grid on which they were counted"""

    def wanted(self, effort: Effort, round_: int) -> bool:
        """Whether this effort still runs the round (0 is the first)."""
        if round_ >= effort.of(self.rule, self.first).rounds:
            return False
        return (
            self.first
            or effort.fine is FineScope.EVERYWHERE
            or (effort.fine is FineScope.UNSURE and self.unsure)
        )

    def load(self, effort: Effort, times: int = 1) -> list[Load]:
        """What looking costs from the beginning, so many times."""
        if times == 0 or not self.wanted(effort, 0):
            return []
        rule = effort.of(self.rule, self.first)
        view = self.sight.lay(self.box, rule)
        size, corners = _cut(view, rule.window_voxels, rule.overlap)
        return [
            Load(
                view.degree,
                math.prod(size),
                len(corners),
                times,
                _passes(rule, self.hint is not None),
                times,
                (lambda: self._count(view, rule)) if len(corners) > 1 else None,
            ),
            *_rounds(view, size, rule, times * (rule.rounds - 1)),
        ]

    def _count(self, view: View, rule: StageRule) -> int:
        """Windows of a view that hold something: counted on one grid, about as many of another."""
        size, corners = _cut(view, rule.window_voxels, rule.overlap)
        if not self.busy_shares:
            image = self.sight.channels(view)
            hint = self.hint(view) if self.hint and view.tiling is None else None
            self.busy_shares.append(len(_busy(image, hint, size, corners)) / len(corners))
        return math.ceil(len(corners) * self.busy_shares[0] - 1e-6)


def loads_of(tasks: Sequence[Task], effort: Effort) -> list[Load]:
    """What looking at all of these costs under an effort."""
    return [load for task in tasks for load in task.load(effort)]


class Look:
    """Carries out one task."""

    def __init__(self, task: Task, ladder: Ladder, later: Later) -> None:
        """``later``: what comes after this look, which has to fit as well."""
        self._task, self._ladder, self._later = task, ladder, later
        self._embedding: Embedding = task.model.embed(task.queries)
        self._rule = ladder.effort.of(task.rule, task.first)
        self.view = task.sight.lay(task.box, self._rule)

    def first_round(self) -> Blended:
        """Run the windows of the first round; those for which there is no time are left out."""
        while True:
            with self._ladder.pace.sampling():
                image = self._task.sight.channels(self.view)
                prompt = self._task.hint(self.view) if self._task.hint else None
            result = _Round(self, image, prompt, 0).run()
            rule = self._ladder.effort.of(self._task.rule, self._task.first)
            if not self._task.wanted(self._ladder.effort, 0) or _grid(rule) == _grid(self._rule):
                self._image = image
                return result
            self._rule = rule
            self.view = self._task.sight.lay(self._task.box, rule)

    def next_round(self, before: Probabilities, round_: int) -> Blended:
        """Run a later round with the result before it, (N, d, h, w), as spatial prompt."""
        return _Round(self, self._image, before, round_).run()


class _Round:
    """The windows of one round on one grid."""

    def __init__(self, look: Look, image: np.ndarray, prompt: Probabilities | None, number: int) -> None:
        self._task, self._ladder, self._later = look._task, look._ladder, look._later
        self._embedding, self._rule, self._view = look._embedding, look._rule, look.view
        self._image, self._prompt, self._number = image, prompt, number
        self._size, self._corners = _cut(self._view, self._rule.window_voxels, self._rule.overlap)
        self._asked, self._voxels = 0, math.prod(self._size)

    def run(self) -> Blended:
        """Run the windows that may be run, none where there is no time for the first."""
        classes = len(self._task.queries)
        if not self._may_go_on():
            nothing = np.zeros((classes, *self._view.shape), np.float32)
            presence = np.ones((classes, self._view.shape[self._view.thick_axis]), np.float32)
            return Blended(nothing, presence, 0, 0, len(self._corners))
        rule = self._rule
        return run_windows(
            self._predict,
            self._image,
            self._prompt,
            self._view,
            rule.window_voxels,
            rule.overlap,
            classes,
            self._may_go_on,
        )

    def _may_go_on(self) -> bool:
        """Whether the next window may be run on this grid; asks the ladder, which may take steps."""
        # Where not even the least effort makes room for everything, this look goes first.
        if not (self._ladder.fits(self._all) or self._ladder.fits(self._mine)):
            self._ladder.left_out(self._mine(self._ladder.effort))
            return False
        effort = self._ladder.effort
        rule = effort.of(self._task.rule, self._task.first)
        return self._task.wanted(effort, self._number) and _grid(rule) == _grid(self._rule)

    def _all(self, effort: Effort) -> list[Load]:
        return [*self._mine(effort), *self._later(effort)]

    def _mine(self, effort: Effort) -> list[Load]:
        """What is left of this look under an effort, from the next window on."""
        if not self._task.wanted(effort, self._number):
            return []
        rule = effort.of(self._task.rule, self._task.first)
        if _grid(rule) != _grid(self._rule):
            return self._task.load(effort)
        passes, left = _passes(rule, self._prompt is not None), self._left(effort)
        if self._voxels != math.prod(self._size):
            left = max(1, left)  # for want of memory there are more and smaller windows than were counted
        mine = [Load(self._view.degree, self._voxels, left, 1, passes)] if left else []
        return [*mine, *_rounds(self._view, self._size, rule, rule.rounds - self._number - 1)]

    def _left(self, effort: Effort) -> int:
        waiting = self._busy[self._asked :]
        if not self._may_settle(effort):
            return len(waiting)
        parts = (_part(self._prompt, corner, self._size) for corner in waiting)
        return sum(part is None or is_uncertain(part) for part in parts)

    @cached_property
    def _busy(self) -> list[Corner]:
        prompt = self._prompt if self._view.tiling is None else None
        busy = _busy(self._image, prompt, self._size, self._corners)
        if not self._number and not self._task.busy_shares:
            self._task.busy_shares.append(len(busy) / len(self._corners))
        return busy

    def _may_settle(self, effort: Effort) -> bool:
        """Whether windows of which the coarse stage was sure keep its result; a user's mask is none."""
        task = self._task
        return effort.fine is FineScope.UNSURE and not (task.first or task.given or self._number)

    def _predict(self, image: np.ndarray, prompt: np.ndarray | None, degree: int) -> Answer:
        """One window's prediction; with complementary masks, of two that see one half each (see the rule)."""
        self._asked, self._voxels = self._asked + 1, math.prod(image.shape[1:])
        effort = self._ladder.effort
        if prompt is not None and self._may_settle(effort) and not is_uncertain(prompt):
            prompt = prompt.astype(np.float32, copy=False)
            return prompt, prompt.max((2, 3))
        rule = effort.of(self._task.rule, self._task.first)
        if prompt is not None and rule.binary_prompts:
            prompt = prompt > 0.5  # a byte a voxel: of many prompts the floats would be most of the memory
        if prompt is None or not rule.complementary_block:
            return self._call(image, prompt, degree)
        block = rule.refinement_block if self._number and rule.refinement_block else rule.complementary_block
        seen = half_of_blocks(prompt.shape[1:], block)
        first, present_first = self._call(image, prompt * seen, degree)
        second, present_second = self._call(image, prompt * ~seen, degree)
        if rule.merge_unprompted:
            np.copyto(first, second, where=seen)
        else:
            first += second
            first /= 2
        return first, np.maximum(present_first, present_second)

    def _call(self, image: np.ndarray, prompt: np.ndarray | None, degree: int) -> Answer:
        with self._ladder.pace.call(degree, math.prod(image.shape[1:])):
            return self._task.model.predict(image, prompt, self._embedding, degree)


def _rounds(view: View, size: Sides, rule: StageRule, times: int) -> list[Load]:
    """Later rounds. Of several windows none is promised: which are skipped depends on the round before."""
    if times <= 0 or size != view.shape:
        return []
    return [Load(view.degree, math.prod(size), 1, times, _passes(rule, True))]


def _busy(
    image: np.ndarray, prompt: Probabilities | None, size: Sides, corners: Sequence[Corner]
) -> list[Corner]:
    """The windows that will not be skipped; a single one never is."""
    if len(corners) == 1:
        return list(corners)
    return [c for c in corners if not is_idle(image[_at(c, size)], _part(prompt, c, size))]


def _at(corner: Corner, size: Sides) -> tuple[slice, ...]:
    return (slice(None), *(slice(c, c + n) for c, n in zip(corner, size, strict=True)))


def _part(values: Probabilities | None, corner: Corner, size: Sides) -> np.ndarray | None:
    return None if values is None else values[_at(corner, size)]


def _passes(rule: StageRule, prompted: bool) -> int:
    """Calls of the network for one window."""
    return 2 if rule.complementary_block and prompted else 1


def _grid(rule: StageRule) -> tuple[int, int, float]:
    """What of a rule decides where the windows lie."""
    return rule.window_voxels, rule.max_windows, rule.overlap

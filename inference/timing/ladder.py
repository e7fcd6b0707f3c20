"""What is dropped when time runs short, and in which order (docs/design.md, Time).

A rung is data: fields of the effort that it changes. The effort changes a stage's rule, so the cost of a plan
under a rung is the cost of its changed rules; nothing here depends on windows or networks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
from msgspec import structs

from vesal.inference.data.errors import CancelledError
from vesal.inference.data.results import LadderStep
from vesal.inference.planning.rules import StageRule
from vesal.inference.timing.forecast import Approval, CostEstimate, Forecast
from vesal.inference.timing.progress import ProgressCallback, WindowProgress


class FineScope(Enum):
    """Which views of the fine stage are run after a coarse stage."""

    EVERYWHERE = "everywhere"
    UNCERTAIN = "where the coarse stage was uncertain"
    NOWHERE = "nowhere"


@dataclass(frozen=True)
class Effort:
    """How much of the plan is run; by default all."""

    rounds: int | None = None
    """maximum of refinement rounds; None: the rule's"""
    complementary: bool = True
    """whether the complementary pass is run"""
    mirrors: bool = True
    """whether mirrored copies are run"""
    overlap: float = 1.0
    """maximum overlap of windows"""
    fine: FineScope = FineScope.EVERYWHERE
    share: float = 1.0
    """share of the voxels of the first view over the volume"""
    every: int = 1
    """where windows are runs of slices: every so manieth is run for sure, the others while time lasts"""
    finest_mm: float = 0.0
    """no finer spacing in stages whose layout has a spacing for short time (``rung_mm``)"""
    halvings: int = 0
    """how often windows were halved, as they did not fit into GPU memory; the views stay as they are"""

    def of(self, rule: StageRule, first: bool) -> StageRule:
        """The rule as this effort runs it.

        Args:
            rule: the profile's.
            first: whether there is no coarse result before its view. Only such a view is made coarser: fewer
                windows, and then fewer voxels in the last one.
        """
        return _reduced(self, rule, first)


@lru_cache(maxsize=1024)
def _reduced(effort: Effort, rule: StageRule, first: bool) -> StageRule:
    """Cached: called before every window, for all remaining views."""
    halvings = min(effort.halvings, max(0, (rule.window_voxels // rule.layout.min_voxels).bit_length() - 1))
    voxels, windows = rule.window_voxels >> halvings, rule.max_windows << halvings
    if first and effort.share < 1:
        allowed = voxels * windows * effort.share
        if not rule.by_slices:
            windows = max(1, int(windows * effort.share))
        voxels = min(voxels, int(allowed / windows))
    rule = rule.thinned(effort.every)
    several = rule.max_windows > 1 or rule.max_windows_if_empty > 1 or halvings > 0
    return structs.replace(
        rule,
        window_voxels=max(min(rule.layout.min_voxels, rule.window_voxels), voxels),
        max_windows=windows,
        rounds=rule.rounds if effort.rounds is None else min(rule.rounds, effort.rounds),
        complementary_block=rule.complementary_block if effort.complementary else 0,
        mirror_axes=rule.mirror_axes if effort.mirrors else (),
        overlap=min(rule.overlap, effort.overlap) if several else rule.overlap,
        min_spacing_mm=max(rule.min_spacing_mm, min(effort.finest_mm, _rung_mm(rule))),
    )


def _rung_mm(rule: StageRule) -> float:
    """The spacing that the stage's layout has for short time; 0: none."""
    return float(getattr(rule.layout, "rung_mm", 0.0))


@dataclass(frozen=True)
class PlannedStage:
    """One stage of a plan: its rule, and whether it is the first over the volume."""

    rule: StageRule
    first: bool


@dataclass(frozen=True)
class Rung:
    """One step down: its name for the report, and the fields of the effort that it sets."""

    step: str
    change: Mapping[str, Any] = field(default_factory=dict)


ONLY_UNCERTAIN = Rung("fine stage only where the coarse stage was uncertain", {"fine": FineScope.UNCERTAIN})
COARSE_ONLY = Rung("coarse only", {"fine": FineScope.NOWHERE})
FEWER_SLICES = Rung("every second slice first, those between while time lasts", {"every": 2})


def rungs(stages: Sequence[PlannedStage]) -> Iterator[Rung]:
    """The whole ladder for a plan, first step first."""
    if any(stage.rule.mirror_axes for stage in stages):
        yield Rung("no mirrored copies", {"mirrors": False})
    # Then what costs least: of VoxTell's windows, three quarters of a side apart found what half of it did.
    yield Rung("overlap 0.25", {"overlap": 0.25})
    max_rounds = max((stage.rule.rounds for stage in stages), default=1)
    for rounds in range(max_rounds - 1, 0, -1):
        yield Rung(f"fewer refinement rounds: {rounds}", {"rounds": rounds})
    yield Rung("no complementary pass", {"complementary": False})
    if coarser := max((_rung_mm(stage.rule) for stage in stages), default=0.0):
        yield Rung(f"spacing of {coarser:g} mm", {"finest_mm": coarser})
    yield Rung("overlap 0", {"overlap": 0.0})
    if any(stage.rule.thinned(2) is not stage.rule for stage in stages):
        yield FEWER_SLICES
    yield ONLY_UNCERTAIN
    yield COARSE_ONLY
    firsts = [stage.rule for stage in stages if stage.first]
    step = min((getattr(rule.layout, "share_step", 0.5) for rule in firsts), default=0.5)
    share = step
    while any(share * rule.view_voxels >= rule.layout.min_voxels for rule in firsts):
        yield Rung(f"coarser spacing: 1/{1 / share:.0f} of the voxels", {"share": share})
        share *= step


class Costed(Protocol):
    """Work that is still to be done."""

    def cost(self, effort: Effort) -> list[CostEstimate]:
        """Remaining cost under an effort, the next window first; empty where it is not run."""


class Ladder:
    """Takes steps down as the clock demands, and never up again.

    `upcoming` are the views after the current one; `begin` removes one.
    """

    def __init__(
        self,
        forecast: Forecast,
        stages: Sequence[PlannedStage] = (),
        progress: ProgressCallback | None = None,
    ) -> None:
        """``stages`` are those of the plan: a rung that changes none of them is not reported.

        ``progress`` is called after every window, see ``report_progress``.
        """
        self.forecast = forecast
        self.progress = progress
        self.effort = Effort()
        self.steps: list[LadderStep] = []
        self.upcoming: list[Costed] = []
        self._stages = stages
        self._rungs = list(rungs(stages))
        self._stage, self._windows = "", 0

    def without_steps(self, stage: str) -> Ladder:
        """Another one for a stage of its own: same clock, but its steps change nothing here."""
        own = Ladder(self.forecast.anew(), (), self.progress)
        own.plan(stage, ())
        return own

    def plan(self, stage: str, tasks: Sequence[Costed]) -> None:
        """Begin a stage with all of its views upcoming."""
        self._stage, self._windows = stage, 0
        self.upcoming = list(tasks)

    def begin(self, task: Costed) -> None:
        """Remove a view that is begun from the upcoming ones."""
        if task in self.upcoming:
            self.upcoming.remove(task)

    def fits(self, current: Costed | None = None, alone: bool = False) -> bool:
        """Whether the remaining work fits, if need be with less effort.

        Args:
            current: the current view; its next window comes first.
            alone: without the upcoming views.

        Returns:
            False where not even the lowest rung fits; then the effort stays as it was, and the view must be
            dropped.
        """
        if self.forecast.fits(self._costs(self.effort, current, alone)):
            return True
        effort = self.effort
        for number, rung in enumerate(self._rungs):
            effort = replace(effort, **rung.change)
            if self.forecast.fits(self._costs(effort, current, alone), effort.share):
                self._take(number + 1, self.forecast.why_not(self._costs(self.effort, current, alone)))
                return True
        return False

    def affords(self, estimates: Sequence[CostEstimate]) -> bool:
        """Whether there is time for work that was given up, without a step for any upcoming view."""
        return self.forecast.fits([*estimates, *self._costs(self.effort, None, False)])

    def may_add(self, view: Costed) -> bool:
        """Whether there is time for a view that was given up, beside all that were not."""
        if self.effort.fine is FineScope.EVERYWHERE:
            return False
        estimates = view.cost(replace(self.effort, fine=FineScope.EVERYWHERE))
        return bool(estimates) and self.affords(estimates)

    def tell_added(self, count: int, views: int) -> None:
        """Say in the step by which views were given up that so many of ``views`` were run all the same."""
        given_up = [n for n, s in enumerate(self.steps) if s.step in (ONLY_UNCERTAIN.step, COARSE_ONLY.step)]
        if count and given_up:
            told = f"fine stage only for as many views as there was time for: {count} of {views}"
            if self.effort.fine is FineScope.UNCERTAIN:
                told = f"{ONLY_UNCERTAIN.step}, and for {count} more views as there was time"
            self.steps[given_up[-1]] = replace(self.steps[given_up[-1]], step=told)

    def take_back_fewer_slices(self) -> None:
        """There was time for all slices in the end: as if the step had not been taken."""
        taken = [step for step in self.steps if step.step == FEWER_SLICES.step]
        if taken and self.effort.every > 1:
            self.steps.remove(taken[-1])
            self.effort = replace(self.effort, every=1)
            self._rungs.insert(0, FEWER_SLICES)

    def report_progress(self, current: Costed) -> None:
        """Call ``progress`` after a window of ``current``. Raises CancelledError where it returns False."""
        if self.progress is None:
            return
        self._windows += 1
        left = sum(n.windows * n.times for n in self._costs(self.effort, current, False))
        status = WindowProgress(self._stage, self._windows, self._windows + left, self.forecast.spent_s())
        answer = self.progress(status)
        if isinstance(answer, (bool, np.bool_)) and not answer:
            raise CancelledError(
                f"The case was cancelled after window {self._windows} of the {status.stage} stage."
            )

    def may_save(self) -> bool:
        """Whether there is time to bring a better result to disk before the upcoming views."""
        return self.forecast.may_save(self._costs(self.effort, None, False))

    def halve_windows(self, times: int = 1) -> None:
        """Halve all windows from now on so often: one did not fit into GPU memory."""
        self.effort = replace(self.effort, halvings=self.effort.halvings + times)

    def approve(self, current: Costed) -> Approval:
        """How long it will hold that ``current`` and all that is upcoming fit, see `Forecast.approve`."""
        return self.forecast.approve(self._costs(self.effort, current, False))

    def omit(self, current: Costed) -> None:
        """Report that the remaining windows of ``current`` are not run."""
        estimates = [n.counted() for n in current.cost(self.effort)]
        windows = sum(n.windows * n.times for n in estimates)
        why = self.forecast.why_not(estimates)
        self.steps.append(LadderStep(f"windows left out: {windows}", why, self.forecast.spent_s()))

    def omit_cuts(self, components: int) -> None:
        """Report that so many components were not separated into the objects that touch in them."""
        left_s, end_s = self.forecast.usable_s(), self.forecast.end_s()
        why = f"{left_s:.2f} s are left, of which filtering and writing take {end_s:.2f} s"
        self.steps.append(
            LadderStep(
                f"touching objects not separated: {components} components", why, self.forecast.spent_s()
            )
        )

    def _costs(self, effort: Effort, current: Costed | None, alone: bool) -> list[CostEstimate]:
        first = [] if current is None else current.cost(effort)
        return first if alone else [*first, *(n for view in self.upcoming for n in view.cost(effort))]

    def _take(self, count: int, why: str) -> None:
        for number, rung in enumerate(self._rungs[:count]):
            lower = replace(self.effort, **rung.change)
            # Of several halvings at once only the last one is reported.
            is_on_the_way = "share" in rung.change and number + 1 < count
            if self._changes(lower) and not is_on_the_way:
                self.steps.append(LadderStep(rung.step, why, self.forecast.spent_s()))
            self.effort = lower
        del self._rungs[:count]

    def _changes(self, lower: Effort) -> bool:
        """Whether a step down changes any stage of the plan."""
        if lower.fine is not self.effort.fine:
            return any(not stage.first for stage in self._stages)
        return any(lower.of(s.rule, s.first) != self.effort.of(s.rule, s.first) for s in self._stages)

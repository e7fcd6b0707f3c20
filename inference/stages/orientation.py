"""The orientation of a case: the challenge's npz does not store it, and some targets need the trained one.

In a head only the orientation separates left from right, so the network was trained on heads as the training
set stores them (``any_orientation`` is false). A head reversed along an axis gives a nearly empty result.
Where the confidence is low, the coarse stage is run on the case reversed along one or more axes, and the
orientation with the highest mean confidence is taken. Of two that are equal, as a head and its mirror image,
it is the one with fewer reversed axes.

No network here was trained on axes in another order (D, H and W exchanged), of whatever target. Where the
confidence is still far below that of a case that lies as it was learned, these are tried, too: 5 orders, and
for targets that were trained in one orientation each with all reversals.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from vesal.inference.data.notes import Caution
from vesal.inference.data.orientation import STORED, Orientation
from vesal.inference.data.terms import LOCATE
from vesal.inference.families.contract import EncodedPrompts, Family
from vesal.inference.geometry.region import FOREGROUND_THRESHOLD
from vesal.inference.geometry.views import View
from vesal.inference.planning.plan import AppliedRule, Batch, Plan
from vesal.inference.planning.rules import OrientationRule
from vesal.inference.planning.seen_together import asked_alone
from vesal.inference.stages.filters import filter_pass
from vesal.inference.stages.passes import locating_tasks, run_locating
from vesal.inference.stages.stage_result import StageResult
from vesal.inference.stages.view_task import Volume
from vesal.inference.timing.ladder import Effort, Ladder

Axes = tuple[int, ...]
"""Axes of (D, H, W) along which a case is reversed; empty: as stored."""

REVERSALS: tuple[Axes, ...] = ((0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2))
"""All orientations with axes in the stored order but the stored one, fewest axes first."""
ORDERS = ((0, 2, 1), (1, 0, 2), (2, 1, 0), (1, 2, 0), (2, 0, 1))
"""All other orders of the axes, two exchanged first."""
MIN_ORIENTED_TARGETS = 2
"""Fewest targets trained in one orientation for others to be tried: a single absent target may give a false
positive in some orientation. The same number for axes in another order, trained in any orientation or not."""
LOOK_TARGETS = 4
"""Targets of a batch that are asked for where a cheaper rule is run (``StageRule.look``)."""
TIME_SHARE, ORDERS_TIME_SHARE = 0.1, 0.25
"""Share of the remaining time that reversals may take, and other orders."""


@dataclass(frozen=True)
class OrientationFound:
    """The chosen orientation, its reason and its cost."""

    orientation: Orientation
    why: str
    windows: int
    seconds: float


def depends_on_orientation(plan: Plan) -> bool:
    """Whether enough of a plan's queries, at least half, were trained in one orientation only."""
    queries = [query for batch in plan.batches for query in batch.queries]
    return sum(not query.any_orientation for query in queries) >= max(MIN_ORIENTED_TARGETS, len(queries) / 2)


def mean_confidence(passes: Sequence[StageResult]) -> float:
    """Confidence of the coarse stage in its targets, 0 to 1: the mean over its queries.

    For one query it is the mean probability of the voxels on its view, weighted by itself: 1 for
    probabilities of 0 and 1 only. It is 0 where no voxel is above 0.5.
    """
    return float(np.mean([_confidence_of(p) for result in passes for p in result.probability]))


def found_confidence(passes: Sequence[StageResult]) -> float:
    """The same of the queries alone that have a voxel above 0.5; 0 where fewer than half of them have."""
    each = [_confidence_of(probability) for result in passes for probability in result.probability]
    found = [confidence for confidence in each if confidence]
    return float(np.mean(found)) if found and 2 * len(found) >= len(each) else 0.0


def _confidence_of(probability: np.ndarray) -> float:
    if not (probability > FOREGROUND_THRESHOLD).any():
        return 0.0
    p = probability.astype(np.float64)
    return float((p * p).sum() / p.sum())


def find_orientation(
    volume: Volume,
    model: Family,
    plan: Plan,
    prompts: Sequence[EncodedPrompts],
    rule: OrientationRule,
    stored: Sequence[StageResult],
    ladder: Ladder,
) -> OrientationFound | None:
    """Run the coarse stage in other orientations, if the confidence as stored is low.

    Args:
        volume: as it is stored.
        model: the network.
        plan: of the case.
        prompts: of each batch, as the family encoded them.
        rule: thresholds of the confidence.
        stored: results of the coarse stage, of the batches that have one; none where it is not run yet, and
            orientations are compared by a cheaper rule.
        ladder: the case's, with no step taken; it is not changed.

    Returns:
        the orientation found; None where none was tried, or time was too short for all of them.
    """
    plan, prompts, stored = _without_companions(plan, prompts, stored)
    if not stored and not (looks_first(plan) and depends_on_orientation(plan)):
        return None
    search = _Search(volume, model, plan, prompts, rule, stored, ladder)
    if depends_on_orientation(plan) and search.best_confidence < rule.low_confidence:
        reversals = [Orientation(STORED.order, axes) for axes in REVERSALS]
        if not search.has_time(len(reversals), TIME_SHARE) or not search.run(reversals):
            return None
    if _is_exchanged(search, depends_on_orientation(plan), found_confidence(search.stored)):
        orders = list(_other_orders(search.stored[0].view, depends_on_orientation(plan)))
        if search.has_time(len(orders), ORDERS_TIME_SHARE):
            search.run(orders, until=rule.low_confidence)
    return search.found() if search.windows else None


def _without_companions(
    plan: Plan, prompts: Sequence[EncodedPrompts], stored: Sequence[StageResult]
) -> tuple[Plan, Sequence[EncodedPrompts], Sequence[StageResult]]:
    """What is asked for alone: that others are absent says nothing of how the case lies."""
    if not any(query.companion for batch in plan.batches for query in batch.queries):
        return plan, prompts, stored
    alone = asked_alone(plan)
    counts = [len(batch.queries) for batch in alone.batches]
    prompts = [part.part(range(n)) for part, n in zip(prompts, counts, strict=True)]
    located = [n for batch, n in zip(alone.batches, counts, strict=True) if _locates(batch)]
    results = zip(stored, located[: len(stored)], strict=True)
    firsts = [
        replace(result, probability=result.probability[list(range(n))], presence=result.presence[:n])
        for result, n in results
    ]
    return alone, prompts, firsts


def turning_notes(orientation: Orientation, plan: Plan) -> tuple[str, ...]:
    """What the report says of a case that was turned: also that its mirror image would look the same."""
    told = (
        f"the case was segmented with {orientation}, as it was found best so; the labels lie as it is stored"
    )
    queries = [query for batch in plan.batches for query in batch.queries if not query.companion]
    sided = [query.name for query in queries if query.side and not query.any_orientation]
    if not sided:
        return (Caution(told),)
    sides = f"a mirror image looks the same, so left and right may be exchanged: {', '.join(sided)}"
    return (Caution(f"{told}; {sides}"),)


def _is_exchanged(search: _Search, oriented: bool, as_stored: float) -> bool:
    """Whether the axes may lie in another order: even what is found in the stored one is found badly.

    Targets that are absent say nothing of it, unless they are most: a case that lies as it was learned, with
    some absent, is not searched. Those that were trained in one orientation have to reach more.
    """
    rule = search.rule
    enough = rule.low_confidence if oriented else rule.axes_below
    few = search.targets < MIN_ORIENTED_TARGETS
    return not few and as_stored < enough and search.best_confidence < rule.axes_below


def _other_orders(view: View, reversed_too: bool) -> Iterator[Orientation]:
    """Axes in other orders, fewest reversed first.

    Where a view has a thick axis, networks see that one first in any order: only the others are exchanged.
    """
    orders: Sequence[tuple[int, int, int]] = ORDERS
    if view.degree:
        order = [0, 1, 2]
        first, second = (axis for axis in order if axis != view.thick_axis)
        order[first], order[second] = second, first
        orders = ((order[0], order[1], order[2]),)
    for axes in ((), *REVERSALS) if reversed_too else ((),):
        yield from (Orientation(each, axes) for each in orders)


class _Search:
    """The best orientation so far, of those that were run."""

    def __init__(
        self,
        volume: Volume,
        model: Family,
        plan: Plan,
        prompts: Sequence[EncodedPrompts],
        rule: OrientationRule,
        stored: Sequence[StageResult],
        ladder: Ladder,
    ) -> None:
        """See ``find_orientation``; nothing is run yet."""
        self.volume, self.model, self.plan, self.rule = volume, model, plan, rule
        self.windows = 0
        self.targets = sum(len(batch.queries) for batch in plan.batches)
        self._forecast = ladder.forecast
        self._started = self._forecast.now()
        # On a ladder of its own: a step that it takes ends the search, and does not change the case.
        self._ladder = ladder.without_steps("orientation")
        self._batches = [pair for pair in zip(plan.batches, prompts, strict=True) if _locates(pair[0])]
        self.stored = stored or self._passes(STORED)
        self.best, self.best_confidence = STORED, mean_confidence(self.stored)
        self._as_stored = self.best_confidence
        self._took_s = sum(result.seconds for result in self.stored)
        self.windows += 0 if stored else sum(result.windows for result in self.stored)

    def has_time(self, count: int, share: float) -> bool:
        """Whether so many orientations fit into a share of the time left."""
        return self._took_s * count <= share * self._forecast.usable_s()

    def run(self, orientations: Sequence[Orientation], until: float = math.inf) -> bool:
        """Run the coarse stage in each, until the best confidence is at least ``until``.

        Returns:
            whether there was time for all; if not, the best so far does not change.
        """
        best, best_confidence = self.best, self.best_confidence
        for orientation in orientations:
            passes = self._passes(orientation)
            if self._ladder.effort != Effort() or any(result.dropped for result in passes):
                return False
            self.windows += sum(result.windows for result in passes)
            confidence = mean_confidence(passes)
            if confidence > max(best_confidence + self.rule.min_gain, self.rule.min_confidence):
                best_confidence, best = confidence, orientation
                if confidence >= until:
                    break
        self.best, self.best_confidence = best, best_confidence
        return True

    def _passes(self, orientation: Orientation) -> list[StageResult]:
        """Results of the coarse stage in one orientation."""
        # A numpy view, not a copy: only the chosen orientation is copied.
        turned = replace(
            self.volume,
            image=orientation.turn(self.volume.image),
            spacing_dhw_mm=orientation.axes(self.volume.spacing_dhw_mm),
        )
        return [
            _run_coarse(turned, self.model, batch, encoded, self.plan.rules, self._ladder)
            for batch, encoded in self._batches
        ]

    def found(self) -> OrientationFound:
        """The best one, with its reason and cost."""
        why = f"mean confidence of the coarse stage {self._as_stored:.2f} as the case is stored, "
        if self.best.is_stored:
            why += "not much higher in any other orientation"
        else:
            why += f"{self.best_confidence:.2f} with {self.best}"
        return OrientationFound(self.best, why, self.windows, self._forecast.now() - self._started)


def looks_first(plan: Plan) -> bool:
    """Whether orientations are compared before the first stage is run, by a rule that is cheaper."""
    return any(batch.stages[0].look for batch in plan.batches if _locates(batch))


def _locates(batch: Batch) -> bool:
    return batch.stages[0].role == LOCATE and not batch.stages[0].skip


def _run_coarse(
    volume: Volume,
    model: Family,
    batch: Batch,
    prompts: EncodedPrompts,
    rules: Sequence[AppliedRule],
    ladder: Ladder,
) -> StageResult:
    rule, queries = batch.stages[0], batch.queries
    if rule.look is not None:
        rule, queries = rule.look, queries[:LOOK_TARGETS]
        prompts = prompts.part(range(len(queries)))
    tasks = locating_tasks(volume, model.stage(rule.name), queries, prompts, rule)
    return filter_pass(run_locating(tasks, ladder), queries, rules)

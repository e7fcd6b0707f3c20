"""The orientation of a case: the challenge's npz does not store it, and some targets need the trained one.

In a head only the orientation separates left from right, so the network was trained on heads as the training
set stores them (``any_orientation`` is false). A head reversed along an axis gives a nearly empty result.
Where the confidence is low, the coarse stage is run on the case reversed along one or more axes, and the
orientation with the highest mean confidence is taken. Of two that are equal, as a head and its mirror image,
it is the one with fewer reversed axes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from vesal.inference.data.case import Case
from vesal.inference.data.terms import LOCATE
from vesal.inference.families.contract import EncodedPrompts, Family
from vesal.inference.geometry.region import FOREGROUND_THRESHOLD
from vesal.inference.planning.plan import AppliedRule, Batch, Plan
from vesal.inference.planning.rules import OrientationRule
from vesal.inference.stages.filters import filter_pass
from vesal.inference.stages.passes import locating_tasks, run_locating
from vesal.inference.stages.stage_result import StageResult
from vesal.inference.stages.view_task import Volume
from vesal.inference.timing.ladder import Effort, Ladder

Axes = tuple[int, ...]
"""Axes of (D, H, W) along which a case is reversed; empty: as stored."""

AXES = "DHW"
"""Names of the axes of a volume."""
REVERSALS: tuple[Axes, ...] = ((0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2))
"""All orientations but the stored one, fewest axes first."""
MIN_ORIENTED_TARGETS = 2
"""Fewest targets trained in one orientation for others to be tried: a single absent target may give a false
positive in some orientation."""
TIME_SHARE = 0.1
"""Share of the remaining time that the other orientations may take."""


@dataclass(frozen=True)
class OrientationFound:
    """The chosen orientation, its reason and its cost."""

    axes: Axes
    why: str
    windows: int
    seconds: float


def reversed_case(case: Case, axes: Axes) -> Case:
    """The case reversed along ``axes``, the user's mask, boxes and points with it."""
    user = case.user.reversed(case.image.shape, axes)
    return replace(case, image=reverse_axes(case.image, axes), user=user)


def reverse_axes(volume: np.ndarray, axes: Axes) -> np.ndarray:
    """(D, H, W) reversed along ``axes``, C-contiguous; the same array for none. Twice gives it back."""
    return np.ascontiguousarray(np.flip(volume, axes)) if axes else volume


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
    """Run the coarse stage in every orientation, if the confidence as stored is low.

    Args:
        volume: as it is stored.
        model: the network.
        plan: of the case.
        prompts: of each batch, as the family encoded them.
        rule: thresholds of the confidence.
        stored: results of the coarse stage, of the batches that have one.
        ladder: the case's, with no step taken; it is not changed.

    Returns:
        the orientation found; None where none was tried, or time was too short for all of them.
    """
    if not stored or not depends_on_orientation(plan):
        return None
    best_confidence = as_stored = mean_confidence(stored)
    took_s = sum(result.seconds for result in stored)
    if as_stored >= rule.low_confidence or took_s * len(REVERSALS) > TIME_SHARE * ladder.forecast.usable_s():
        return None
    # On a ladder of its own: a step that it takes ends the search, and does not change the case.
    own_ladder = ladder.without_steps("orientation")
    batches = [pair for pair in zip(plan.batches, prompts, strict=True) if _locates(pair[0])]
    started, windows, best = ladder.forecast.now(), 0, Axes()
    for axes in REVERSALS:
        # A numpy view, not a copy: only the chosen orientation is copied.
        reversed_volume = replace(volume, image=np.flip(volume.image, axes))
        passes = [
            _run_coarse(reversed_volume, model, batch, encoded, plan.rules, own_ladder)
            for batch, encoded in batches
        ]
        if own_ladder.effort != Effort() or any(result.dropped for result in passes):
            return None
        windows += sum(result.windows for result in passes)
        confidence = mean_confidence(passes)
        if confidence > max(best_confidence + rule.min_gain, rule.min_confidence):
            best_confidence, best = confidence, axes
    why = f"mean confidence of the coarse stage {as_stored:.2f} as the case is stored, "
    if best:
        why += f"{best_confidence:.2f} with {name_of(best)} reversed"
    else:
        why += "not much higher in any other orientation"
    return OrientationFound(best, why, windows, ladder.forecast.now() - started)


def name_of(axes: Axes) -> str:
    """Axes in words: D and H."""
    return " and ".join(AXES[axis] for axis in axes)


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
    rule = batch.stages[0]
    tasks = locating_tasks(volume, model.stage(rule.name), batch.queries, prompts, rule)
    return filter_pass(run_locating(tasks, ladder), batch.queries, rules)

"""The orientation of a case: the challenge's npz does not say, and some targets are known in one only.

In a head nothing but its orientation tells left from right, so the network was trained on heads as the
training set stores them (``any_orientation`` is false). One that is reversed along an axis, face down instead
of up, comes out nearly empty. A network is confident of what it knows; so where it is not, the coarse stage
is run on the case reversed along one axis or several, and the orientation with the highest mean confidence is
taken. Where two look alike, as a head and its mirror image do, the one with fewer reversed axes is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from vesal.inference.data.case import Case
from vesal.inference.families.contract import StageModel
from vesal.inference.geometry.region import FOREGROUND_THRESHOLD
from vesal.inference.planning.plan import Batch, Plan
from vesal.inference.planning.rules import FilterRule, OrientationRule
from vesal.inference.stages.filters import filter_pass
from vesal.inference.stages.passes import coarse_tasks, run_coarse
from vesal.inference.stages.stage_result import StageResult
from vesal.inference.stages.view_task import Volume
from vesal.inference.timing.ladder import Effort, Ladder

Axes = tuple[int, ...]
"""Axes of (D, H, W) along which a case is reversed; none where it is taken as it is stored."""

AXES = "DHW"
"""Names of the axes of a volume."""
REVERSALS: tuple[Axes, ...] = ((0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2))
"""All other orientations than the stored one, fewest axes first."""
MIN_BOUND_TARGETS = 2
"""Targets that are known in one orientation only, from which on others are tried: of one alone that is not
there something may be found in some orientation."""
TIME_SHARE = 0.1
"""Of the time that a case has left, how much the other orientations may take."""


@dataclass(frozen=True)
class OrientationFound:
    """The orientation that was taken, and what it took to find it."""

    axes: Axes
    why: str
    windows: int
    seconds: float


def reversed_case(case: Case, axes: Axes) -> Case:
    """The case reversed along ``axes``, the user's mask with it."""
    mask = case.mask and replace(case.mask, labels=reverse_axes(case.mask.labels, axes))
    return replace(case, image=reverse_axes(case.image, axes), mask=mask)


def reverse_axes(volume: np.ndarray, axes: Axes) -> np.ndarray:
    """(D, H, W) reversed along ``axes``, C-contiguous; the same array for none. Twice gives it back."""
    return np.ascontiguousarray(np.flip(volume, axes)) if axes else volume


def depends_on_orientation(plan: Plan) -> bool:
    """Whether some of a plan's queries, and at least half of them, were learned in one orientation only."""
    queries = [query for batch in plan.batches for query in batch.queries]
    return sum(not query.any_orientation for query in queries) >= max(MIN_BOUND_TARGETS, len(queries) / 2)


def mean_confidence(passes: Sequence[StageResult]) -> float:
    """Confidence of the coarse stage in its targets, 0 to 1: the mean over its queries.

    Of one query it is the mean probability, weighted by itself, of the voxels on its view: probabilities of 0
    and 1 give 1, a blur gives what it has. It is 0 where no voxel is more probable than not.
    """
    return float(np.mean([_confidence_of(p) for result in passes for p in result.probability]))


def _confidence_of(probability: np.ndarray) -> float:
    if not (probability > FOREGROUND_THRESHOLD).any():
        return 0.0
    p = probability.astype(np.float64)
    return float((p * p).sum() / p.sum())


def find_orientation(
    volume: Volume,
    model: StageModel,
    plan: Plan,
    rule: OrientationRule,
    stored: Sequence[StageResult],
    ladder: Ladder,
) -> OrientationFound | None:
    """Run the coarse stage in every orientation, if the confidence is low as it is stored.

    Args:
        volume: as it is stored.
        model: the network of the coarse stage.
        plan: what is asked for.
        rule: below which confidence others are tried, and which one another has to reach.
        stored: results of the coarse stage, of the batches that have one.
        ladder: the case's, of which no step was taken; none is.

    Returns:
        what was tried; None where nothing had to be, or where there was not the time for all of it.
    """
    if not stored or not depends_on_orientation(plan):
        return None
    best_confidence = as_stored = mean_confidence(stored)
    took_s = sum(result.seconds for result in stored)
    if as_stored >= rule.low_confidence or took_s * len(REVERSALS) > TIME_SHARE * ladder.forecast.usable_s():
        return None
    # On a ladder of its own: what these passes would have to give up ends them, and not the case.
    own = ladder.without_steps("orientation")
    batches = [batch for batch in plan.batches if not batch.coarse.skip]
    started, windows, best = ladder.forecast.now(), 0, Axes()
    for axes in REVERSALS:
        # A view of the volume, no copy: only the orientation that is taken is worth one.
        seen = replace(volume, image=np.flip(volume.image, axes))
        passes = [_run_coarse(seen, model, batch, plan.filters, own) for batch in batches]
        if own.effort != Effort() or any(result.dropped for result in passes):
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


def _run_coarse(
    volume: Volume, model: StageModel, batch: Batch, filters: FilterRule, ladder: Ladder
) -> StageResult:
    tasks = coarse_tasks(volume, model, batch.queries, batch.coarse)
    return filter_pass(run_coarse(tasks, ladder), batch.queries, filters)

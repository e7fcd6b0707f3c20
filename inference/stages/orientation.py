"""Which way a case lies: the challenge's npz does not say, and some targets are known in one way only.

In a head nothing but the way it lies tells left from right, so the network was shown heads as the training
set stores them (``any_orientation`` is false). One that is stored the other way round along an axis, face
down instead of up, comes out nearly empty. A network is sure of what it knows; so where it is not, the coarse
stage looks at the case reversed along one axis or several, and the way that it is surest of is taken. Where
two ways look alike, as a head and its mirror image do, the case stays nearer to how it is stored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from vesal.inference.data.case import Case
from vesal.inference.families.contract import StageModel
from vesal.inference.geometry.region import FOREGROUND_THRESHOLD
from vesal.inference.planning.plan import Batch, Plan
from vesal.inference.planning.profile import FilterRule, OrientationRule
from vesal.inference.stages.filters import filter_pass
from vesal.inference.stages.passes import Pass, coarse_tasks, run_coarse
from vesal.inference.stages.view_pass import Sight
from vesal.inference.timing.call_costs import CallCosts
from vesal.inference.timing.clock import Clock
from vesal.inference.timing.forecast import Forecast
from vesal.inference.timing.ladder import Effort, Ladder

Axes = tuple[int, ...]
"""Axes of (D, H, W) along which a case is reversed; none where it is taken as it is stored."""

AXES = "DHW"
"""Names of the axes of a volume."""
REVERSALS: tuple[Axes, ...] = ((0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2))
"""All others than the stored one, fewest axes first."""
LEAST_BOUND = 2
"""Targets that are known in one way only, from which on the way is looked for: of one alone that is not there
something may be seen in some way."""
SHARE = 0.1
"""Of the time that a case has left, how much the other ways may take."""


@dataclass(frozen=True)
class OrientationFound:
    """The way that was taken, and what it took to find it."""

    axes: Axes
    why: str
    windows: int
    seconds: float


def along(case: Case, axes: Axes) -> Case:
    """The case reversed along ``axes``, the user's mask with it."""
    mask = case.mask and replace(case.mask, labels=reverse_axes(case.mask.labels, axes))
    return replace(case, image=reverse_axes(case.image, axes), mask=mask)


def reverse_axes(volume: np.ndarray, axes: Axes) -> np.ndarray:
    """(D, H, W) reversed along ``axes``, C-contiguous; the same array for none. Twice gives it back."""
    return np.ascontiguousarray(np.flip(volume, axes)) if axes else volume


def depends_on_orientation(plan: Plan) -> bool:
    """Whether some of a plan's queries, and at least half of them, were learned in one way only."""
    queries = [query for batch in plan.batches for query in batch.queries]
    return sum(not query.any_orientation for query in queries) >= max(LEAST_BOUND, len(queries) / 2)


def mean_confidence(passes: Sequence[Pass]) -> float:
    """How sure the coarse stage is of its targets: 0 of none, 1 of all; the mean over its queries.

    Of one query it is the mean probability, weighted by itself, of the voxels on its view: probabilities of 0
    and 1 give 1, a blur gives what it has. It is 0 where no voxel is more probable than not.
    """
    return float(np.mean([_sure_of(p) for result in passes for p in result.probability]))


def _sure_of(probability: np.ndarray) -> float:
    if not (probability > FOREGROUND_THRESHOLD).any():
        return 0.0
    p = probability.astype(np.float64)
    return float((p * p).sum() / p.sum())


def find_orientation(
    sight: Sight,
    model: StageModel,
    plan: Plan,
    rule: OrientationRule,
    stored: Sequence[Pass],
    clock: Clock,
    costs: CallCosts,
) -> OrientationFound | None:
    """Look at a case in every way, if it is unclear as it is stored.

    Args:
        sight: the volume as it is stored.
        model: the network of the coarse stage.
        plan: what is asked for.
        rule: from when on a case is unclear, and how sure another way has to be.
        stored: results of the coarse stage, of the batches that have one.
        clock: the case's.
        costs: what calls of the network took before.

    Returns:
        what was tried; None where nothing had to be, or where there was not the time for all of it.
    """
    if not stored or not depends_on_orientation(plan):
        return None
    surest = as_stored = mean_confidence(stored)
    took_s = sum(result.seconds for result in stored)
    if as_stored >= rule.low_confidence or took_s * len(REVERSALS) > SHARE * clock.usable_s():
        return None
    # A ladder of its own: what these looks would have to give up is not given up for the case, but ends them.
    ladder = Ladder(Forecast(clock, costs))
    batches = [batch for batch in plan.batches if not batch.coarse.skip]
    started, windows, best = clock.now(), 0, Axes()
    for axes in REVERSALS:
        # A view of the volume, no copy: only the one way that is taken is worth one.
        seen = replace(sight, image=np.flip(sight.image, axes))
        passes = [_look(seen, model, batch, plan.filters, ladder) for batch in batches]
        if ladder.effort != Effort() or any(result.unseen for result in passes):
            return None
        windows += sum(result.windows for result in passes)
        if (sure := mean_confidence(passes)) > max(surest + rule.min_gain, rule.min_confidence):
            surest, best = sure, axes
    why = f"the coarse stage is sure of {as_stored:.2f} of its targets as the case is stored, "
    why += f"of {surest:.2f} with {name_of(best)} reversed" if best else "and not much surer in any other way"
    return OrientationFound(best, why, windows, clock.now() - started)


def name_of(axes: Axes) -> str:
    """Axes in words: D and H."""
    return " and ".join(AXES[axis] for axis in axes)


def _look(sight: Sight, model: StageModel, batch: Batch, filters: FilterRule, ladder: Ladder) -> Pass:
    tasks = coarse_tasks(sight, model, batch.queries, batch.coarse)
    return filter_pass(run_coarse(tasks, ladder), batch.queries, filters)

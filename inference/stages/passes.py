"""The two passes over a case: coarse over the whole volume, fine around what the coarse one found.

Medal S 2.6 (two stages), 2.3 and 2.4 (the coarse result is the spatial prompt), SegVol (zoom out, zoom in).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from msgspec import structs

from vesal.inference.data.prompt import Query
from vesal.inference.families.contract import StageModel
from vesal.inference.geometry.foreground import foreground_box
from vesal.inference.geometry.resample import between
from vesal.inference.geometry.views import View, whole
from vesal.inference.planning.profile import StageRule
from vesal.inference.stages.packed_probability import Probabilities, join
from vesal.inference.stages.sliding_window import Blended
from vesal.inference.stages.spatial_prompt import (
    MaskPrompt,
    PromptSampler,
    has_mask,
    prompt_from_labels,
    prompt_from_probabilities,
    split_by_mask,
)
from vesal.inference.stages.view_pass import Later, Look, Sight, Task
from vesal.inference.timing.forecast import Load
from vesal.inference.timing.ladder import Effort, Ladder

if TYPE_CHECKING:
    from vesal.inference.stages.regions import Target

MOST_QUERIES = 16
"""Queries in one pass of the coarse stage, where they do not see each other: bounds memory, costs one encoder
pass more for every 16."""


@dataclass(frozen=True)
class Pass:
    """Result of one stage for some queries."""

    view: View
    probability: Probabilities
    """(N, d, h, w) float32, packed where it is large"""
    presence: np.ndarray
    """(N, n) float32 per slice of the view's thick axis"""
    windows: int
    skipped: int
    seconds: float
    why: str
    unseen: int = 0
    """windows left out because the time was over; the result is then good for nothing but what was seen"""
    labels: np.ndarray | None = None
    """(D, H, W) prompt ids that it makes of the volume, where a layout of the fine stage wants them"""
    note: str = ""
    """what had to be given up for want of memory"""


def nothing_later(effort: Effort) -> list[Load]:
    """What comes after the last look."""
    return []


def run_coarse(tasks: Sequence[Task], ladder: Ladder, later: Later = nothing_later) -> Pass:
    """See the whole volume at once, without spatial prompts but the user's.

    Args:
        tasks: see ``coarse_tasks``; at least one.
        ladder: asked before every window.
        later: what comes after this stage.
    """
    started = ladder.pace.now()
    done: list[tuple[View, Blended]] = []
    for number, task in enumerate(tasks):

        def rest(effort: Effort, task: Task = task, more: int = len(tasks) - number - 1) -> list[Load]:
            return [*task.load(effort, more), *later(effort)]

        with ladder.pace.view():
            look = Look(task, ladder, rest)
            result, _ = _rounds(look, task, ladder)
            done.append((look.view, result))
    view = done[-1][0]
    ruled = ladder.effort.of(tasks[0].rule, True)
    marked = ", some with the user's mask as spatial prompt" if any(task.hint for task in tasks) else ""
    return Pass(
        view,
        join([_probability_on(view, *d) for d in done]),
        np.concatenate([_presence_on(view, *d) for d in done]),
        sum(result.windows for _, result in done),
        sum(result.skipped for _, result in done),
        ladder.pace.now() - started,
        f"the whole volume in {ruled.max_windows} window(s) of up to {ruled.window_voxels} voxels, "
        f"degree {view.degree}" + marked,
        sum(result.unseen for _, result in done),
        note="; ".join(dict.fromkeys(result.note for _, result in done if result.note)),
    )


def coarse_tasks(
    sight: Sight,
    model: StageModel,
    queries: Sequence[Query],
    rule: StageRule,
    mask: MaskPrompt | None = None,
) -> list[Task]:
    """The looks of a coarse stage.

    Args:
        sight: the volume.
        model: the network.
        queries: any number, asked in passes of ``MOST_QUERIES``, or in one where rules lay the views; those
            with a mask apart from the others.
        rule: the coarse stage's.
        mask: the user's, where this stage takes it.
    """
    box = whole(sight.image.shape) if rule.layout else foreground_box(sight.image)
    once = coarse_rule(rule)
    tasks = []
    most = len(queries) if rule.layout else MOST_QUERIES
    for group in split_by_mask(queries, mask, most):
        hint = prompt_from_probabilities(group, mask) if has_mask(mask, group[0]) else None
        tasks.append(Task(sight, model, group, box, once, first=True, hint=hint))
    return tasks


def coarse_rule(rule: StageRule) -> StageRule:
    """A coarse rule as it is run: one round, as there is no spatial prompt that a later one could refine.

    Rules with a layout say themselves how often a result is refined by itself.
    """
    return rule if rule.layout else structs.replace(rule, rounds=1, complementary_block=0)


def _rounds(look: Look, task: Task, ladder: Ladder) -> tuple[Blended, int]:
    """Look round by round: the last result, with the windows of all rounds, and how many there were."""
    result = look.first_round()  # may change the view
    ran, skipped, done = result.windows, result.skipped, 1
    while not result.unseen and task.wanted(ladder.effort, done):
        again = look.next_round(result.probability, done)
        ran, skipped = ran + again.windows, skipped + again.skipped
        if again.unseen:  # the round before is whole, or no worse
            break
        result, done = again, done + 1
    return replace(result, windows=ran, skipped=skipped), done


def _probability_on(view: View, own: View, result: Blended) -> Probabilities:
    """A pass's probability on the view of the last pass: it differs where the passes became coarser."""
    if own == view:
        return result.probability
    return np.stack([between(p, own, view) for p in result.probability])


def _presence_on(view: View, own: View, result: Blended) -> np.ndarray:
    """A pass's presence, 1 (not measured) where its slices are not those of the last pass."""
    if own == view:
        return result.presence
    return np.ones((len(result.presence), view.shape[view.thick_axis]), np.float32)


def fine_task(
    sight: Sight,
    model: StageModel,
    queries: Sequence[Query],
    rule: StageRule,
    target: Target,
    coarse: Pass | None,
    index: Sequence[int],
    mask: MaskPrompt | None = None,
) -> Task:
    """The look of a fine view.

    Args:
        sight: the volume.
        model: the network.
        queries: those of one fine view.
        rule: the fine stage's.
        target: of these queries, with a box.
        coarse: result of the coarse stage, or None where it was left out.
        index: rows of ``queries`` in ``coarse``.
        mask: the user's, where this stage takes it; stands in for the coarse result of its prompts.
    """
    assert target.box is not None
    windows = rule.max_windows if target.found or coarse is None else rule.max_windows_if_empty

    def coarse_row(row: int, view: View) -> np.ndarray:
        if coarse is None:
            return np.zeros(view.shape, np.float32)
        return between(coarse.probability[index[row]], coarse.view, view)

    if rule.layout is not None and rule.binary_prompts:
        hint: PromptSampler | None = (
            None if target.labels is None else prompt_from_labels(queries, target.labels, rule.layout, mask)
        )
    else:
        hint = prompt_from_probabilities(queries, mask, coarse_row) if target.found else None

    return Task(
        sight,
        model,
        queries,
        target.box,
        structs.replace(rule, max_windows=windows),
        first=coarse is None,
        unsure=target.unsure,
        hint=hint,
        given=target.given,
    )


def run_fine(task: Task, why: str, ladder: Ladder, later: Later = nothing_later) -> Pass:
    """Look again at the region of some queries, round by round.

    Args:
        task: see ``fine_task``.
        why: reason for the region.
        ladder: asked before every window.
        later: what comes after this view.
    """
    started = ladder.pace.now()
    with ladder.pace.view():
        look = Look(task, ladder, later)
        result, done = _rounds(look, task, ladder)
    rule = ladder.effort.of(task.rule, task.first)
    rounds = f"{done} round(s)" if done == task.rule.rounds else f"{done} of {task.rule.rounds} rounds"
    why += f", {rule.max_windows} window(s) of up to {rule.window_voxels} voxels, {rounds}, "
    why += f"degree {look.view.degree}"
    seconds = ladder.pace.now() - started
    return Pass(
        look.view,
        result.probability,
        result.presence,
        result.windows,
        result.skipped,
        seconds,
        why,
        result.unseen,
        note=result.note,
    )

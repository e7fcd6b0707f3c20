"""The two passes over a case: coarse over the whole volume, fine around the coarse result.

Medal S 2.6 (two stages), 2.3 and 2.4 (the coarse result is the spatial prompt), SegVol (zoom out, zoom in).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from msgspec import structs

from vesal.inference.data.prompt import Query
from vesal.inference.families.contract import StageModel
from vesal.inference.geometry.foreground import foreground_box
from vesal.inference.geometry.resample import between
from vesal.inference.geometry.views import View, whole
from vesal.inference.planning.rules import StageRule
from vesal.inference.stages.packed_probability import Probabilities, join_classes
from vesal.inference.stages.regions import FineRegion
from vesal.inference.stages.sliding_window import Blended
from vesal.inference.stages.spatial_prompt import (
    MaskPrompt,
    PromptSampler,
    has_mask,
    prompt_from_labels,
    prompt_from_probabilities,
    split_by_mask,
)
from vesal.inference.stages.stage_result import StageResult
from vesal.inference.stages.view_pass import ViewPass
from vesal.inference.stages.view_task import ViewTask, Volume
from vesal.inference.timing.ladder import Ladder

MAX_QUERIES = 16
"""Queries in one pass of the coarse stage without a layout: bounds memory, costs one encoder pass for every
16."""


def coarse_tasks(
    volume: Volume,
    model: StageModel,
    queries: Sequence[Query],
    rule: StageRule,
    mask: MaskPrompt | None = None,
) -> list[ViewTask]:
    """The views of a coarse stage, all of the whole volume.

    Args:
        volume: of the case.
        model: the network.
        queries: any number, run in passes of ``MAX_QUERIES``, or in one with a layout; those with
            a mask in passes of their own.
        rule: the coarse stage's.
        mask: the user's, where this stage takes it.
    """
    box = whole(volume.image.shape) if rule.layout else foreground_box(volume.image)
    once = coarse_rule(rule)
    tasks = []
    max_queries = len(queries) if rule.layout else MAX_QUERIES
    for group in split_by_mask(queries, mask, max_queries):
        prompt = prompt_from_probabilities(group, mask) if has_mask(mask, group[0]) else None
        tasks.append(ViewTask(volume, model, group, box, once, first=True, spatial_prompt=prompt))
    return tasks


def coarse_rule(rule: StageRule) -> StageRule:
    """A coarse rule as it is run: one round, as there is no spatial prompt to refine.

    A rule with a layout keeps its own number of rounds.
    """
    return rule if rule.layout else structs.replace(rule, rounds=1, complementary_block=0)


def run_coarse(tasks: Sequence[ViewTask], ladder: Ladder) -> StageResult:
    """Run the coarse stage over the whole volume; the only spatial prompt is the user's mask.

    Args:
        tasks: see ``coarse_tasks``; at least one. They are upcoming on the ladder, or not known to it.
        ladder: checked before every window.
    """
    started = ladder.forecast.now()
    done = [_run(task, ladder) for task in tasks]
    view = done[-1][0].view
    rule = ladder.effort.of(tasks[0].rule, True)
    why = f"the whole volume in {rule.max_windows} window(s) of up to {rule.window_voxels} voxels, "
    why += f"degree {view.degree}"
    if any(task.spatial_prompt for task in tasks):
        why += ", some with the user's mask as spatial prompt"
    return StageResult(
        view,
        join_classes([_probability_on(view, own.view, result) for own, result, _ in done]),
        np.concatenate([_presence_on(view, own.view, result) for own, result, _ in done]),
        sum(result.windows for _, result, _ in done),
        sum(result.skipped for _, result, _ in done),
        ladder.forecast.now() - started,
        why,
        sum(result.dropped for _, result, _ in done),
        note="; ".join(dict.fromkeys(result.note for _, result, _ in done if result.note)),
    )


def _run(task: ViewTask, ladder: Ladder) -> tuple[ViewPass, Blended, int]:
    """Run one view: its pass, the result and the number of rounds."""
    ladder.begin(task)
    with ladder.forecast.view():
        view_pass = ViewPass(task, ladder)
        return view_pass, *view_pass.run()


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
    volume: Volume,
    model: StageModel,
    queries: Sequence[Query],
    rule: StageRule,
    region: FineRegion,
    coarse: StageResult | None,
    index: Sequence[int],
    mask: MaskPrompt | None = None,
) -> ViewTask:
    """One view of the fine stage.

    Args:
        volume: of the case.
        model: the network.
        queries: those of one fine view.
        rule: the fine stage's.
        region: of these queries, with a box.
        coarse: result of the coarse stage, or None where it was skipped.
        index: rows of ``queries`` in ``coarse``.
        mask: the user's, where this stage takes it; replaces the coarse result of its prompts.
    """
    assert region.box is not None
    windows = rule.max_windows if region.found or coarse is None else rule.max_windows_if_empty

    def coarse_row(row: int, view: View) -> np.ndarray:
        if coarse is None:
            return np.zeros(view.shape, np.float32)
        return between(coarse.probability[index[row]], coarse.view, view)

    prompt: PromptSampler | None = None
    if rule.layout is not None and rule.binary_prompts:
        if region.labels is not None:
            prompt = prompt_from_labels(queries, region.labels, rule.layout, mask)
    elif region.found:
        prompt = prompt_from_probabilities(queries, mask, coarse_row)
    return ViewTask(
        volume,
        model,
        queries,
        region.box,
        structs.replace(rule, max_windows=windows),
        first=coarse is None,
        uncertain=region.uncertain,
        spatial_prompt=prompt,
        from_user=region.from_user,
    )


def run_fine(task: ViewTask, why: str, ladder: Ladder) -> StageResult:
    """Run the fine stage on the region of some queries, round by round.

    Args:
        task: see ``fine_task``; upcoming on the ladder, or not known to it.
        why: reason for the region.
        ladder: checked before every window.
    """
    started = ladder.forecast.now()
    view_pass, result, done = _run(task, ladder)
    rule = ladder.effort.of(task.rule, task.first)
    rounds = f"{done} round(s)" if done == task.rule.rounds else f"{done} of {task.rule.rounds} rounds"
    why += f", {rule.max_windows} window(s) of up to {rule.window_voxels} voxels, {rounds}, "
    why += f"degree {view_pass.view.degree}"
    return StageResult(
        view_pass.view,
        result.probability,
        result.presence,
        result.windows,
        result.skipped,
        ladder.forecast.now() - started,
        why,
        result.dropped,
        note=result.note,
    )

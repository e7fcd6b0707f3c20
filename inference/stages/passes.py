"""The two kinds of passes over a case: over the whole volume, and around the result before.

Medal S 2.6 (two stages), 2.3 and 2.4 (the coarse result is the spatial prompt), SegVol (zoom out, zoom in).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from msgspec import structs

from vesal.inference.data.prompt import Query
from vesal.inference.families.contract import EncodedPrompts, StageModel, UserInput
from vesal.inference.geometry.layouts import first_box
from vesal.inference.geometry.resample import between
from vesal.inference.geometry.views import View
from vesal.inference.planning.rules import StageRule
from vesal.inference.stages.marks import DrawnPrompts
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
from vesal.inference.stages.stage_result import Latest, StageResult
from vesal.inference.stages.view_pass import ViewPass
from vesal.inference.stages.view_task import ViewTask, Volume
from vesal.inference.stages.window_prompts import prompt_of_windows
from vesal.inference.timing.ladder import Ladder

UserOnView = Callable[[Sequence[Query]], Callable[[View], UserInput] | None]
"""Gives the user's boxes and points of some queries on a view."""


def locating_tasks(
    volume: Volume,
    model: StageModel,
    queries: Sequence[Query],
    prompts: EncodedPrompts,
    rule: StageRule,
    mask: MaskPrompt | None = None,
    user: UserOnView | None = None,
) -> list[ViewTask]:
    """The views of a locating stage, all of the whole volume.

    Args:
        volume: of the case.
        model: the network.
        queries: any number, run in passes of ``rule.max_queries``; those with a mask in passes of their own.
        prompts: the queries as the family encoded them.
        rule: the stage's.
        mask: the user's, where this stage takes it.
        user: the user's boxes and points of some queries on a view, where the family takes them.
    """
    box = first_box(rule.layout, volume.image)
    tasks = []
    for rows in split_by_mask(queries, mask, rule.max_queries):
        group = [queries[row] for row in rows]
        prompt = prompt_from_probabilities(group, mask) if has_mask(mask, group[0]) else None
        tasks.append(
            ViewTask(
                volume,
                model,
                group,
                prompts.part(rows),
                box,
                rule,
                first=True,
                spatial_prompt=prompt,
                user=user(group) if user else None,
            )
        )
    return tasks


def run_locating(tasks: Sequence[ViewTask], ladder: Ladder) -> StageResult:
    """Run a locating stage over the whole volume; the only spatial prompt is the user's mask.

    Args:
        tasks: see ``locating_tasks``; at least one. They are upcoming on the ladder, or not known to it.
        ladder: checked before every window.
    """
    started = ladder.forecast.now()
    done = [_run(task, ladder) for task in tasks]
    view = done[-1][0].view
    rule = ladder.effort.of(tasks[0].rule, True)
    why = f"the whole volume in {rule.max_windows} window(s) of up to {rule.window_voxels} voxels, "
    why += f"degree {view.degree}"
    why += _interpolated(sum(result.interpolated for _, result, _ in done))
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
        edges=_joined_edges(view, done),
    )


def _interpolated(runs: int) -> str:
    """The end of a reason where runs of slices were not run."""
    return f", {runs} runs of slices between others interpolated" if runs else ""


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


def _joined_edges(view: View, done: Sequence[tuple[ViewPass, Blended, int]]) -> Probabilities | None:
    """Edges of several passes on one view; None where a pass has none, or became coarser."""
    found = [result.edges for own, result, _ in done if own.view == view and result.edges is not None]
    return join_classes(found) if len(found) == len(done) else None


def _presence_on(view: View, own: View, result: Blended) -> np.ndarray:
    """A pass's presence, 1 (not measured) where its slices are not those of the last pass."""
    if own == view:
        return result.presence
    return np.ones((len(result.presence), view.shape[view.thick_axis]), np.float32)


def refining_task(
    volume: Volume,
    model: StageModel,
    queries: Sequence[Query],
    prompts: EncodedPrompts,
    rule: StageRule,
    region: FineRegion,
    before: Sequence[Latest | None],
    mask: MaskPrompt | None = None,
    user: UserOnView | None = None,
    marks: DrawnPrompts | None = None,
) -> ViewTask:
    """One view of a refining stage.

    Args:
        volume: of the case.
        model: the network.
        queries: those of one view.
        prompts: the queries as the family encoded them.
        rule: the stage's.
        region: of these queries, with a box.
        before: the latest result of each query, or None.
        mask: the user's, where this stage takes it; replaces the result before of its prompts.
        user: the user's boxes and points of some queries on a view, where the family takes them.
        marks: those that are drawn: the spatial prompt of queries without a result before.
    """
    assert region.box is not None
    first = all(latest is None for latest in before)
    drawn = marks is not None and any(map(marks.has, queries))
    windows = rule.max_windows if region.found or first else rule.max_windows_if_empty

    def row_before(row: int, view: View) -> np.ndarray:
        latest = before[row]
        if latest is None:
            return np.zeros(view.shape, np.float32) if marks is None else marks.drawn(queries[row], view)
        return between(latest.probability, latest.view, view)

    prompt: PromptSampler | None = None
    if (own := rule.query_region) is not None:
        if rule.spatial_prompts and region.found and all(before):
            prompt = prompt_of_windows([each for each in before if each is not None], own)
    elif rule.label_region is not None and rule.binary_prompts:
        if region.labels is not None:
            prompt = prompt_from_labels(queries, region.labels, rule.label_region, mask)
    elif rule.spatial_prompts and region.found and not (first and mask is None and not drawn):
        prompt = prompt_from_probabilities(queries, mask, row_before)
    return ViewTask(
        volume,
        model,
        queries,
        prompts,
        region.box,
        structs.replace(rule, max_windows=windows),
        first=first,
        uncertain=region.uncertain,
        spatial_prompt=prompt,
        from_user=region.from_user,
        user=user(queries) if user else None,
    )


def run_refining(task: ViewTask, why: str, ladder: Ladder) -> StageResult:
    """Run a refining stage on the region of some queries, round by round.

    Args:
        task: see ``refining_task``; upcoming on the ladder, or not known to it.
        why: reason for the region.
        ladder: checked before every window.
    """
    started = ladder.forecast.now()
    view_pass, result, done = _run(task, ladder)
    rule = ladder.effort.of(task.rule, task.first)
    if rule.refine_windows:
        done = rule.rounds  # within each window
    rounds = f"{done} round(s)" if done == task.rule.rounds else f"{done} of {task.rule.rounds} rounds"
    why += f", {rule.max_windows} window(s) of up to {rule.window_voxels} voxels, {rounds}, "
    why += f"degree {view_pass.view.degree}{_interpolated(result.interpolated)}"
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
        edges=result.edges,
    )

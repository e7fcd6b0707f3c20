"""Report entries of stages and prompts, counted from the final label map."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from vesal.inference.data.case import Case
from vesal.inference.data.prompt import Prompt, Query
from vesal.inference.data.results import PromptResult, StageReport
from vesal.inference.planning.plan import Plan
from vesal.inference.stages.label_map import LabelMap
from vesal.inference.stages.stage_result import StageResult


def stage_report(
    stage: str,
    targets: Sequence[str],
    result: StageResult,
    spacing_dhw_mm: tuple[float, float, float],
    peak_mb: float,
) -> StageReport:
    """The report of one pass; ``targets`` are those of a fine view."""
    return StageReport(
        name=" ".join([stage, ", ".join(targets)]).rstrip(),
        stage=stage,
        targets=tuple(targets),
        spacing_dhw_mm=result.view.spacing_mm(spacing_dhw_mm),
        grid=result.view.shape,
        windows=result.windows,
        skipped=result.skipped,
        seconds=result.seconds,
        peak_mb=peak_mb,
        why=result.why,
    )


def prompt_results(
    prompts: Sequence[Prompt],
    plan: Plan,
    result: LabelMap,
    labels: np.ndarray,
    case: Case,
    ran: Mapping[int, Sequence[str]],
) -> dict[int, PromptResult]:
    """The result of each prompt.

    Args:
        prompts: all of the case.
        plan: which were run, and why.
        result: classes and probabilities per voxel, before objects were split.
        labels: (D, H, W) as written.
        case: for the voxel's volume and whether instances are wanted.
        ran: class -> stages.
    """
    voxel_ml = math.prod(case.spacing_dhw_mm) / 1000
    modalities = {q.class_id: q.modality for b in plan.batches for q in b.queries}
    asked = {q.class_id: _asked_as(q) for b in plan.batches for q in b.queries}
    # Count in the labels as written: small objects were dropped from them.
    known = {each for id_ in plan.covered for each in plan.classes_of(id_)}
    counted = {each: result.totals(each, labels) for each in known}
    results = {}
    for prompt in prompts:
        covered = prompt.id in plan.covered
        classes = plan.classes_of(prompt.id) if covered else ()
        mine = [each for each in classes if plan.written_as.get(each, each) == prompt.id]
        voxels = sum(counted[each][0] for each in mine)
        total = sum(counted[each][1] for each in mine)
        lost = _lost(prompt.id, classes, plan, counted)
        results[prompt.id] = PromptResult(
            id=prompt.id,
            text=prompt.text,
            target=prompt.target,
            modality=next((modalities[each] for each in classes if each in modalities), prompt.modality),
            found_by=prompt.found_by,
            why=(plan.covered.get(prompt.id) or plan.refused[prompt.id])
            + said_of_lost(lost, voxels, prompts),
            covered=covered,
            voxels=voxels,
            volume_ml=voxels * voxel_ml,
            mean_probability=total / voxels if voxels else None,
            stages=tuple(dict.fromkeys(stage for each in classes for stage in ran.get(each, ()))),
            objects=_objects(labels, np.isin(result.labels, mine)) if case.instance and covered else None,
            asked_as=next((asked[each] for each in classes if each in asked), None),
            lost_to=lost,
        )
    return results


def _asked_as(query: Query) -> str:
    """What the network was given to find it by; see ``PromptResult``."""
    if query.sentence:
        return "sentence"
    return "user prompts" if query.concept is None else "target"


def _lost(
    prompt_id: int, classes: Sequence[int], plan: Plan, counted: Mapping[int, tuple[int, float]]
) -> dict[int, int]:
    """Voxels of a prompt's result that are written as another prompt, by its id."""
    lost: dict[int, int] = {}
    for each in classes:
        owner = plan.written_as.get(each, each)
        if owner != prompt_id:
            lost[owner] = lost.get(owner, 0) + counted[each][0]
    return lost


def said_of_lost(lost: Mapping[int, int], kept: int, prompts: Sequence[Prompt]) -> str:
    """The end of a prompt's reason: who has how many of its voxels, of which it ``kept`` the others; empty
    where it lost none.
    """
    if not lost:
        return ""
    names = {prompt.id: prompt.name for prompt in prompts}
    to = ", ".join(f"{n} as prompt {id_} ({names[id_]})" for id_, n in lost.items())
    whole = kept + sum(lost.values())
    return f"; of its {whole} voxels {kept} have its id, as a voxel has one id only; written are {to}"


def _objects(labels: np.ndarray, mine: np.ndarray) -> int:
    ids = np.unique(labels[mine])
    return int((ids > 0).sum())

"""Report entries of stages and prompts, counted from the final label map."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from vesal.inference.data.case import Case
from vesal.inference.data.prompt import Prompt
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
        result: prompt ids and probabilities per voxel, before objects were split.
        labels: (D, H, W) as written.
        case: for the voxel's volume and whether instances are wanted.
        ran: prompt id -> stages.
    """
    voxel_ml = math.prod(case.spacing_dhw_mm) / 1000
    modalities = {q.prompt_id: q.modality for b in plan.batches for q in b.queries}
    asked = {q.prompt_id: "sentence" if q.sentence else "target" for b in plan.batches for q in b.queries}
    results = {}
    for prompt in prompts:
        covered = prompt.id in plan.covered
        # Count in the labels as written: small objects were dropped from them.
        voxels, total = result.totals(prompt.id, labels)
        results[prompt.id] = PromptResult(
            id=prompt.id,
            text=prompt.text,
            target=prompt.target,
            modality=modalities.get(prompt.id, prompt.modality),
            found_by=prompt.found_by,
            why=plan.covered.get(prompt.id) or plan.refused[prompt.id],
            covered=covered,
            voxels=voxels,
            volume_ml=voxels * voxel_ml,
            mean_probability=total / voxels if voxels else None,
            stages=tuple(ran.get(prompt.id, ())),
            objects=_objects(labels, result.labels == prompt.id) if case.instance and covered else None,
            asked_as=asked.get(prompt.id),
        )
    return results


def _objects(labels: np.ndarray, mine: np.ndarray) -> int:
    ids = np.unique(labels[mine])
    return int((ids > 0).sum())

"""Run the plan's rules on results; the rules themselves are in postprocess."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from vesal.inference.data.prompt import Query
from vesal.inference.planning.plan import AppliedRule
from vesal.inference.runtime.threads import in_parallel
from vesal.inference.stages.label_map import Box, LabelMap
from vesal.inference.stages.stage_result import StageResult
from vesal.postprocess.rule import ClassPart, ClassRule, SliceRule, SpacingMm


def filter_pass(result: StageResult, queries: Sequence[Query], rules: Sequence[AppliedRule]) -> StageResult:
    """Empty the slices of a stage's result that the rules do not keep.

    Slices run along the view's thick axis. The given result is not changed; it is returned where nothing is
    removed. Classes are unpacked alone, or with the sides they compete with.
    """
    axis = 1 + result.view.thick_axis
    used = [(applied.rule, applied.ids) for applied in rules if isinstance(applied.rule, SliceRule)]
    rivals = _rivals(queries) if any(rule.competes for rule, _ in used) else []
    alone = any(not rule.competes for rule, _ in used)
    rows = set(range(len(queries))) if alone else set()
    groups = [*rivals, *([row] for row in sorted(rows.difference(*rivals)))]
    probability = result.probability
    for group in groups:
        ids = {queries[row].class_id for row in group}
        mine = [rule for rule, of in used if ids <= of and (len(group) > 1 or not rule.competes)]
        if not mine:
            continue
        planes = np.moveaxis(result.probability[group], axis, 1)
        keep = np.ones(planes.shape[:2], bool)
        for rule in mine:
            seen = planes if keep.all() else planes * keep[:, :, None, None]
            keep &= rule.keep(seen, result.presence[group])
        if keep.all():
            continue
        if probability is result.probability:
            probability = probability.copy()
        probability[group] = np.moveaxis(planes * keep[:, :, None, None], 1, axis)
    return result if probability is result.probability else replace(result, probability=probability)


def _rivals(queries: Sequence[Query]) -> list[list[int]]:
    """Rows of the sides of one concept, where there are several."""
    sides: dict[str, list[int]] = {}
    for row, query in enumerate(queries):
        if query.side is not None and query.concept is not None:
            sides.setdefault(query.concept, []).append(row)
    return [rows for rows in sides.values() if len(rows) > 1]


def filter_classes(
    result: LabelMap, rules: Sequence[AppliedRule], spacing_dhw_mm: SpacingMm, instance: bool
) -> None:
    """Run the rules on each class of a label map inside its own box, in place.

    Args:
        result: labels and probabilities.
        rules: of the plan.
        spacing_dhw_mm: of the volume.
        instance: whether objects are wanted.
    """
    for applied in rules:
        rule = applied.rule
        if not isinstance(rule, ClassRule) or not (rule.instances if instance else rule.semantic):
            continue
        margin = rule.margin(spacing_dhw_mm)
        boxes = {id_: box for id_ in sorted(applied.ids) if (box := result.box(id_, margin)) is not None}

        def change(id_: int, rule: ClassRule = rule, boxes: dict[int, Box] = boxes) -> None:
            at = boxes[id_]
            rule.apply(ClassPart(result.labels[at], result.probability[at], id_, spacing_dhw_mm))

        if rule.only_removes:
            in_parallel(change, list(boxes))
            continue
        for id_, at in boxes.items():
            before = result.labels[at] == id_
            change(id_)
            _set_won(result.labels[at] == id_, before, result.probability[at])
            result.boxes[id_] = at


def _set_won(after: np.ndarray, before: np.ndarray, probability: np.ndarray) -> None:
    """Give the voxels that a class won by a rule the class's mean probability, in place; all (d, h, w)."""
    won = after & ~before
    if won.any() and before.any():
        probability[won] = probability[before].mean(dtype=np.float64)

"""Run the plan's rules on results; the rules themselves are in postprocess."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from vesal.inference.data.prompt import Query
from vesal.inference.planning.plan import AppliedRule
from vesal.inference.runtime.threads import in_parallel, in_slabs
from vesal.inference.stages.label_map import Box, LabelMap
from vesal.inference.stages.packed_probability import PackedProbability, Probabilities
from vesal.inference.stages.stage_result import StageResult
from vesal.postprocess.rule import ClassPart, ClassRule, SliceRule, SpacingMm

TOGETHER_VOXELS = 1 << 23
"""Voxels of all classes that a rule is given at once: 32 MB."""


def filter_pass(result: StageResult, queries: Sequence[Query], rules: Sequence[AppliedRule]) -> StageResult:
    """Empty the slices of a stage's result that the rules do not keep.

    Slices run along the view's thick axis. The given result is not changed; it is returned where nothing is
    removed. Classes are unpacked alone, or with those that they compete with.
    """
    waiting: list[tuple[SliceRule, frozenset[int]]] = []
    for applied in rules:
        if not isinstance(applied.rule, SliceRule):
            continue
        if not applied.rule.competes_with_all:
            waiting.append((applied.rule, applied.ids))
            continue
        result = _filter(result, queries, waiting)
        result, waiting = _filter_together(result, queries, applied.rule, applied.ids), []
    return _filter(result, queries, waiting)


def _filter_together(
    result: StageResult, queries: Sequence[Query], rule: SliceRule, ids: frozenset[int]
) -> StageResult:
    """A rule that is given all of its classes, some slices at a time."""
    axis = 1 + result.view.thick_axis
    rows = [row for row, query in enumerate(queries) if query.class_id in ids]
    if not rows:
        return result
    depth = result.view.shape[axis - 1]
    result = _emptied(result, rows, rule.may_keep(result.presence[rows]))
    keep = np.ones((len(rows), depth), bool)
    for slab in in_slabs(depth, TOGETHER_VOXELS * depth // (len(rows) * math.prod(result.view.shape))):
        planes = np.moveaxis(_part(result.probability, rows, axis, slab), axis, 1)
        keep[:, slab] = rule.keep(planes, result.presence[rows, slab])
    return _emptied(result, rows, keep)


def _emptied(result: StageResult, rows: Sequence[int], keep: np.ndarray) -> StageResult:
    """The result without the slices of some rows that ``keep`` (n, S) bool does not hold."""
    emptied = np.flatnonzero(~keep.all(1)).tolist()
    if not emptied:
        return result
    axis, probability = result.view.thick_axis, result.probability.copy()
    for place in emptied:
        if isinstance(probability, PackedProbability) and probability.axis == axis:
            probability.empty_planes(rows[place], keep[place])
            continue
        planes = np.moveaxis(result.probability[rows[place]], axis, 0)
        probability[[rows[place]]] = np.moveaxis(planes * keep[place, :, None, None], 0, axis)[None]
    return replace(result, probability=probability)


def _part(probability: Probabilities, rows: Sequence[int], axis: int, slab: slice) -> np.ndarray:
    """(n, d, h, w) of some classes and the slices ``slab`` along an axis."""
    if isinstance(probability, np.ndarray) or probability.axis == axis - 1:
        at = tuple(slab if a == axis else slice(None) for a in range(4))
        return np.asarray(probability[at])[rows]
    return np.stack([np.take(probability[row], range(slab.start, slab.stop), axis - 1) for row in rows])


def _filter(
    result: StageResult, queries: Sequence[Query], used: Sequence[tuple[SliceRule, frozenset[int]]]
) -> StageResult:
    """Rules that look at a class alone, or beside the other side of its concept."""
    axis = 1 + result.view.thick_axis
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
        if isinstance(probability, PackedProbability) and probability.axis == axis - 1:
            for place, row in enumerate(group):
                probability.empty_planes(row, keep[place])
            continue
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

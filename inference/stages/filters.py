"""Apply the profile's filter rules to results; the filters themselves are in postprocess."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from vesal.inference.data.prompt import Query
from vesal.inference.planning.rules import FilterRule
from vesal.inference.runtime.threads import in_parallel
from vesal.inference.stages.label_map import LabelMap
from vesal.inference.stages.stage_result import StageResult


def filter_pass(result: StageResult, queries: Sequence[Query], rule: FilterRule) -> StageResult:
    """Empty slices without presence, and suppress overlapping sides of one concept slice by slice.

    Slices run along the view's thick axis. The given result is not changed; it is returned where nothing is
    removed. Classes are unpacked alone, or with the sides they compete with.
    """
    axis = 1 + result.view.thick_axis
    rivals = _rivals(queries) if rule.slice_nms_iou > 0 else []
    rows = set(range(len(queries))) if rule.presence_threshold > 0 else set()
    groups = [*rivals, *([row] for row in sorted(rows.difference(*rivals)))]
    probability = result.probability
    for group in groups:
        planes = np.moveaxis(result.probability[group], axis, 1)
        keep = _slices_to_keep(planes, result.presence[group], rule, len(group) > 1)
        if keep.all():
            continue
        if probability is result.probability:
            probability = probability.copy()
        probability[group] = np.moveaxis(planes * keep[:, :, None, None], 1, axis)
    return result if probability is result.probability else replace(result, probability=probability)


def _slices_to_keep(planes: np.ndarray, presence: np.ndarray, rule: FilterRule, compete: bool) -> np.ndarray:
    """(n, slices) bool for (n, slices, h, w) probabilities: present (BiomedParse-V), and not suppressed."""
    keep = np.ones(planes.shape[:2], bool)
    if rule.presence_threshold > 0:
        from vesal.postprocess.slices import present_slices

        keep = present_slices(presence, rule.presence_threshold)
    if compete:
        from vesal.postprocess.slices import slice_nms

        keep &= slice_nms(planes * keep[:, :, None, None], presence, rule.slice_nms_iou)
    return keep


def _rivals(queries: Sequence[Query]) -> list[list[int]]:
    """Rows of the sides of one concept, where there are several."""
    sides: dict[str, list[int]] = {}
    for row, query in enumerate(queries):
        if query.side is not None:
            sides.setdefault(query.concept, []).append(row)
    return [rows for rows in sides.values() if len(rows) > 1]


def filter_components(result: LabelMap, queries: Sequence[Query], rule: FilterRule) -> None:
    """Choose the components of the classes that the rule asks for (Medal S algorithm 3), in place.

    Each class is filtered inside its own box. A prompt that was run as two sides is not filtered: both
    components are wanted.
    """
    n_queries = Counter(q.prompt_id for q in queries)
    wanted = {q.prompt_id for q in queries if q.kind in rule.component_kinds} | set(rule.component_ids)
    ids = sorted(id_ for id_ in wanted if n_queries[id_] == 1)
    found = {id_: box for id_ in ids if (box := result.box(id_)) is not None}
    if not found:
        return
    from vesal.postprocess.components import ComponentRules, filter_class

    chosen_by = ComponentRules(
        max_components=rule.max_components,
        max_probability_drop=rule.max_probability_drop,
        high_probability=rule.high_probability,
        min_size_ratio=rule.min_size_ratio,
    )

    def choose(id_: int) -> None:
        box = found[id_]
        filter_class(result.labels[box], result.probability[box], id_, chosen_by)

    in_parallel(choose, list(found))


def split_into_objects(labels: np.ndarray, min_voxels: int) -> np.ndarray:
    """(D, H, W) any labels -> uint8 with one id per 6-connected object, largest first, at most 255."""
    from vesal.postprocess.instances import split_instances

    return split_instances(labels, min_voxels)

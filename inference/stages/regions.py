"""Where the fine stage is run, and which targets share a view (docs/design.md, The way of a case)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vesal.inference.data.prompt import Query
from vesal.inference.geometry.region import FOREGROUND_THRESHOLD, grown_region, is_uncertain, region_of
from vesal.inference.geometry.view_groups import bounding_box, group
from vesal.inference.geometry.views import Box, Sides, whole
from vesal.inference.planning.rules import StageLayout, StageRule
from vesal.inference.stages.spatial_prompt import MaskPrompt, has_mask, overlay_mask, union_box
from vesal.inference.stages.stage_result import StageResult
from vesal.inference.stages.view_task import Volume


@dataclass(frozen=True)
class FineRegion:
    """Where the fine stage is run for some queries."""

    box: Box | None
    """native voxel edges; None where it is not run"""
    why: str
    found: bool = False
    """whether it comes from a coarse result or mask; else it is the whole volume"""
    uncertain: bool = True
    """whether the coarse result is uncertain; True without a coarse stage"""
    from_user: bool = False
    """whether it comes from the user's mask"""
    labels: np.ndarray | None = None
    """(D, H, W) prompt ids: the spatial prompt, where the rule's layout samples it"""


Grouped = list[tuple[tuple[int, ...], FineRegion]]
"""Rows of the queries that share a view, and where it is laid."""


def find_regions(
    volume: Volume,
    rule: StageRule,
    coarse: StageResult | None,
    queries: Sequence[Query],
    mask: MaskPrompt | None = None,
) -> Grouped:
    """The views of a fine stage: which queries share one (``geometry.view_groups``), and its region.

    Args:
        volume: of the case.
        rule: of the fine stage; one with a layout runs all queries in one view.
        coarse: result of the coarse stage for ``queries``, row by row; None where it was skipped.
        queries: in prompt order.
        mask: the user's, where this stage takes it; its box is joined with the coarse result's.
    """
    if not queries:
        return []
    if rule.layout is not None:
        return [(tuple(range(len(queries))), _laid_region(volume, rule.layout, coarse, queries, mask))]
    shape = volume.image.shape
    found = _regions(coarse, len(queries), shape, rule.low_threshold)
    given = [mask.box([q.prompt_id]) if mask and has_mask(mask, q) else None for q in queries]
    known = [f if g is None else union_box(g, f) for g, f in zip(given, found, strict=True)]
    if coarse is None:
        known = [box or whole(shape) for box in known]
    groups = group(
        known,
        volume.spacing_dhw_mm,
        rule.window_voxels * rule.max_windows,
        rule.max_targets_per_view,
        rule.max_spacing_ratio,
        rule.min_spacing_mm,
    )
    return [(index, _grouped_region(volume, rule, coarse, index, known, given)) for index in groups]


def _regions(coarse: StageResult | None, count: int, shape: Sides, low_threshold: float) -> list[Box | None]:
    """The box of each query's coarse foreground; if empty, at ``low_threshold``."""
    if coarse is None:
        return [None] * count
    boxes: list[Box | None] = []
    for i in range(count):
        probability = coarse.probability[[i]]
        box = region_of(probability, coarse.view, shape)
        if box is None and low_threshold < FOREGROUND_THRESHOLD:
            box = region_of(probability, coarse.view, shape, low_threshold)
        boxes.append(box)
    return boxes


def _grouped_region(
    volume: Volume,
    rule: StageRule,
    coarse: StageResult | None,
    index: tuple[int, ...],
    known: Sequence[Box | None],
    given: Sequence[Box | None],
) -> FineRegion:
    """The region of one group."""
    boxes = [box for box in (known[i] for i in index) if box is not None]
    shape = volume.image.shape
    if any(given[i] is not None for i in index):
        step = (1.0, 1.0, 1.0) if coarse is None else coarse.view.step
        box = grown_region(bounding_box(boxes), rule.margin_factor, step, shape)
        return FineRegion(
            box, f"the box of the user's mask grown {rule.margin_factor:g} times", True, from_user=True
        )
    if coarse is None:
        return FineRegion(whole(shape), "the whole volume, as these targets have no coarse stage")
    uncertain = is_uncertain(coarse.probability[list(index)])
    if boxes:
        box = grown_region(bounding_box(boxes), rule.margin_factor, coarse.view.step, shape)
        only = (
            rule.low_threshold < FOREGROUND_THRESHOLD
            and not (coarse.probability[list(index)] > FOREGROUND_THRESHOLD).any()
        )
        from_low = f", from {rule.low_threshold:g} on," if only else ""
        return FineRegion(
            box, f"the coarse result's box{from_low} grown {rule.margin_factor:g} times", True, uncertain
        )
    if rule.max_windows_if_empty:
        return FineRegion(whole(shape), "the whole volume, as the coarse result is empty", False, uncertain)
    return FineRegion(None, "nothing: the coarse result is empty")


def _laid_region(
    volume: Volume,
    layout: StageLayout,
    coarse: StageResult | None,
    queries: Sequence[Query],
    mask: MaskPrompt | None,
) -> FineRegion:
    """The region of a layout: by the label map of the coarse stage, the user's mask laid over it."""
    labels = overlay_mask(None if coarse is None else coarse.labels, queries, mask)
    if labels is None:
        return FineRegion(
            whole(volume.image.shape), "the whole volume, as these targets have no coarse stage"
        )
    box, found, why = layout.region(labels)
    given = any(has_mask(mask, query) for query in queries)
    if given:
        why += ", the user's mask laid over it"
    # A label map is never uncertain: where time is short, it is not refined.
    return FineRegion(box, why, found, given, given, labels if found else None)

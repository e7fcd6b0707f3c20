"""Where the fine stage looks, and for which targets together (DESIGN section 3, step 5)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vesal.inference.data.prompt import Query
from vesal.inference.geometry.region import FOREGROUND_THRESHOLD, grown_region, is_uncertain, region_of
from vesal.inference.geometry.view_groups import around, group
from vesal.inference.geometry.views import Box, Sides, whole
from vesal.inference.planning.rules import StageLayout, StageRule
from vesal.inference.stages.passes import Pass
from vesal.inference.stages.spatial_prompt import MaskPrompt, has_mask, joined, overlay_mask
from vesal.inference.stages.view_pass import Sight


@dataclass(frozen=True)
class Target:
    """Where the fine stage looks for some queries."""

    box: Box | None
    """native voxel edges; None where there is nothing to look for"""
    why: str
    found: bool = False
    """whether the coarse stage pointed there"""
    unsure: bool = True
    """whether the coarse stage left something open; True where there was none"""
    given: bool = False
    """whether the user did"""
    labels: np.ndarray | None = None
    """(D, H, W) prompt ids: the spatial prompt, where the rule's layout samples it"""


Grouped = list[tuple[tuple[int, ...], Target]]
"""Rows of the queries that share a view, and where it is laid."""


def find_regions(
    sight: Sight,
    rule: StageRule,
    coarse: Pass | None,
    queries: Sequence[Query],
    mask: MaskPrompt | None = None,
) -> Grouped:
    """The views of a fine stage: which queries share one (``geometry.view_groups``), and what it looks at.

    Args:
        sight: the volume.
        rule: of the fine stage; one with a layout looks at all queries at once.
        coarse: result of the coarse stage for ``queries``, row by row; None where it was left out.
        queries: in prompt order.
        mask: the user's, where this stage takes it; counts beside what was found.
    """
    if not queries:
        return []
    if rule.layout is not None:
        return [(tuple(range(len(queries))), _laid_target(sight, rule.layout, coarse, queries, mask))]
    shape = sight.image.shape
    found = _regions(coarse, len(queries), shape, rule.low_threshold)
    given = [mask.box([q.prompt_id]) if mask and has_mask(mask, q) else None for q in queries]
    known = [f if g is None else joined(g, f) for g, f in zip(given, found, strict=True)]
    if coarse is None:
        known = [box or whole(shape) for box in known]
    groups = group(
        known,
        sight.spacing_dhw_mm,
        rule.window_voxels * rule.max_windows,
        rule.max_targets_per_view,
        rule.max_spacing_ratio,
        rule.min_spacing_mm,
    )
    return [(index, _target(sight, rule, coarse, index, known, given)) for index in groups]


def _regions(coarse: Pass | None, count: int, shape: Sides, suspect: float) -> list[Box | None]:
    """The box of what the coarse stage found of each query, or else of what it suspects."""
    if coarse is None:
        return [None] * count
    boxes: list[Box | None] = []
    for i in range(count):
        probability = coarse.probability[[i]]
        box = region_of(probability, coarse.view, shape)
        if box is None and suspect < FOREGROUND_THRESHOLD:
            box = region_of(probability, coarse.view, shape, suspect)
        boxes.append(box)
    return boxes


def _target(
    sight: Sight,
    rule: StageRule,
    coarse: Pass | None,
    index: tuple[int, ...],
    known: Sequence[Box | None],
    given: Sequence[Box | None],
) -> Target:
    """The region of one group."""
    boxes = [box for box in (known[i] for i in index) if box is not None]
    shape = sight.image.shape
    if any(given[i] is not None for i in index):
        step = (1.0, 1.0, 1.0) if coarse is None else coarse.view.step
        box = grown_region(around(boxes), rule.margin_factor, step, shape)
        return Target(box, f"the box of the user's mask grown {rule.margin_factor:g} times", True, given=True)
    if coarse is None:
        return Target(whole(shape), "the whole volume, as these targets have no coarse stage")
    unsure = is_uncertain(coarse.probability[list(index)])
    if boxes:
        box = grown_region(around(boxes), rule.margin_factor, coarse.view.step, shape)
        only = (
            rule.low_threshold < FOREGROUND_THRESHOLD
            and not (coarse.probability[list(index)] > FOREGROUND_THRESHOLD).any()
        )
        suspected = f", from {rule.low_threshold:g} on," if only else ""
        return Target(
            box, f"the coarse result's box{suspected} grown {rule.margin_factor:g} times", True, unsure
        )
    if rule.max_windows_if_empty:
        return Target(whole(shape), "the whole volume, as the coarse result is empty", False, unsure)
    return Target(None, "nothing: the coarse result is empty")


def _laid_target(
    sight: Sight, layout: StageLayout, coarse: Pass | None, queries: Sequence[Query], mask: MaskPrompt | None
) -> Target:
    """Where a layout looks: by the label map of the coarse stage, the user's mask laid over it."""
    labels = overlay_mask(None if coarse is None else coarse.labels, queries, mask)
    if labels is None:
        return Target(whole(sight.image.shape), "the whole volume, as these targets have no coarse stage")
    box, found, why = layout.region(labels)
    given = any(has_mask(mask, query) for query in queries)
    if given:
        why += ", the user's mask laid over it"
    # A label map leaves nothing open: where the time is too short for all of it, it stands.
    return Target(box, why, found, given, given, labels if found else None)

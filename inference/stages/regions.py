"""Where a refining stage is run, and which targets share a view (docs/design.md, The way of a case)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vesal.inference.data.prompt import Query
from vesal.inference.geometry.region import grown_region, is_uncertain, region_of
from vesal.inference.geometry.view_groups import bounding_box, group
from vesal.inference.geometry.views import Box, Sides, Triple, whole
from vesal.inference.planning.rules import LabelRegion, QueryRegion, StageRule
from vesal.inference.stages.spatial_prompt import MaskPrompt, has_mask, overlay_mask, union_box
from vesal.inference.stages.stage_result import Latest
from vesal.inference.stages.view_task import Volume


@dataclass(frozen=True)
class FineRegion:
    """Where a refining stage is run for some queries."""

    box: Box | None
    """native voxel edges; None where it is not run"""
    why: str
    found: bool = False
    """whether it comes from a result before or from the user; else it is the whole volume"""
    uncertain: bool = True
    """whether the result before is uncertain; True where there is none"""
    from_user: bool = False
    """whether it comes from what the user marked"""
    labels: np.ndarray | None = None
    """(D, H, W) prompt ids: the spatial prompt, where the rule takes it from a label map"""


Grouped = list[tuple[tuple[int, ...], FineRegion]]
"""Rows of the queries that share a view, and where it is laid."""


def find_regions(
    volume: Volume,
    rule: StageRule,
    before: Sequence[Latest | None],
    queries: Sequence[Query],
    mask: MaskPrompt | None = None,
    labels: np.ndarray | None = None,
    boxes: Sequence[Box | None] = (),
) -> Grouped:
    """The views of a refining stage: which queries share one (``geometry.view_groups``), and its region.

    Args:
        volume: of the case.
        rule: of the stage; one with a label region runs all queries in one view.
        before: the latest result of each query; None where no stage was run for it.
        queries: in prompt order.
        mask: the user's, where this stage takes it; its box is joined with that of the result before.
        labels: (D, H, W) label map of the stage before, for a rule with a label region; None where there is
            none.
        boxes: around the user's boxes of each query, where the family takes them: the region is theirs.
    """
    if not queries:
        return []
    if rule.query_region is not None:
        return _own_regions(rule.query_region, before, rule.max_targets_per_view)
    if rule.label_region is not None:
        return [(tuple(range(len(queries))), _by_labels(volume, rule.label_region, labels, queries, mask))]
    shape = volume.image.shape
    found = [_foreground(latest, shape, rule) for latest in before]
    given = [mask.box([q.prompt_id]) if mask and has_mask(mask, q) else None for q in queries]
    known = [f if g is None else union_box(g, f) for g, f in zip(given, found, strict=True)]
    for i, box in enumerate(boxes):
        if box is not None:
            known[i] = given[i] = box
    known = [whole(shape) if box is None and b is None else box for box, b in zip(known, before, strict=True)]
    groups = [
        [
            (index, _grouped_region(volume, rule, before, index, known, given))
            for index in _groups_of(rows, known, volume, rule)
        ]
        for rows in _seen_together(queries, known)
    ]
    return [view for each in groups for view in _beside_wanted(each, queries)]


def _beside_wanted(groups: Grouped, queries: Sequence[Query]) -> Grouped:
    """Of the views of targets that are seen together those of what is asked for, and behind them those of
    companions alone that overlap one of these: their targets win the voxels there that they would win if they
    were asked for."""
    wanted: Grouped = []
    others: Grouped = []
    for each in groups:
        (others if all(queries[row].companion for row in each[0]) else wanted).append(each)
    boxes = [region.box for _, region in wanted if region.box is not None]
    return wanted + [
        (index, region)
        for index, region in others
        if region.box is not None and any(region.box.overlaps(box) for box in boxes)
    ]


def _seen_together(queries: Sequence[Query], known: Sequence[Box | None]) -> list[list[int]]:
    """Rows of the queries that may share a view: those of none of the groups, and those of one, in its order:
    which of them share a view may hang on it.

    A query that is in several groups counts to that of which most is found. Companions that were not found
    are among them, as they are where they are asked for: a finer view may find them yet.
    """
    found: dict[int, list[bool]] = {}
    for query, box in zip(queries, known, strict=True):
        if len(query.seen_with) == 1:
            (number,) = query.seen_with
            found.setdefault(number, []).append(box is not None)
    rows: dict[int | None, list[tuple[int, int]]] = {}
    for row, query in enumerate(queries):
        best = max(query.seen_with, key=lambda n: np.mean(found.get(n, [False])), default=None)
        rows.setdefault(best, []).append((row if best is None else query.seen_with[best], row))
    return [[row for _, row in sorted(mine)] for mine in rows.values()]


def _groups_of(
    rows: Sequence[int], known: Sequence[Box | None], volume: Volume, rule: StageRule
) -> list[tuple[int, ...]]:
    """The rows that share a view, of some rows."""
    groups = group(
        [known[row] for row in rows],
        volume.spacing_dhw_mm,
        rule.view_voxels,
        rule.max_targets_per_view,
        rule.max_spacing_ratio,
        rule.min_spacing_mm,
    )
    return [tuple(rows[place] for place in places) for places in groups]


def _own_regions(own: QueryRegion, before: Sequence[Latest | None], most: int) -> Grouped:
    """The region of each query by its own result before; up to ``most`` with the same one share a view."""
    groups: dict[Box | None, list[int]] = {}
    why: dict[Box | None, str] = {}
    for row, latest in enumerate(before):
        box, reason = own.region(*((None, None) if latest is None else (latest.probability, latest.view)))
        groups.setdefault(box, []).append(row)
        why.setdefault(box, reason)
    found = []
    parts = [(box, rows[n : n + most]) for box, rows in groups.items() for n in range(0, len(rows), most)]
    for box, rows in parts:
        latest_of = [before[row] for row in rows]
        uncertain = any(one is None or is_uncertain(one.probability[None]) for one in latest_of)
        found.append((tuple(rows), FineRegion(box, why[box], all(latest_of), uncertain)))
    return found


def _foreground(latest: Latest | None, shape: Sides, rule: StageRule) -> Box | None:
    """The box of a query's foreground so far; if empty, at the lower threshold."""
    if latest is None:
        return None
    probability, share = latest.probability[None], rule.min_component_share
    box = region_of(probability, latest.view, shape, rule.foreground_threshold, share)
    if box is None and rule.low_threshold < rule.foreground_threshold:
        box = region_of(probability, latest.view, shape, rule.low_threshold, share)
    return box


def _grouped_region(
    volume: Volume,
    rule: StageRule,
    before: Sequence[Latest | None],
    index: tuple[int, ...],
    known: Sequence[Box | None],
    given: Sequence[Box | None],
) -> FineRegion:
    """The region of one group."""
    boxes = [box for box in (known[i] for i in index) if box is not None]
    latest = [each for each in (before[i] for i in index) if each is not None]
    shape, margin = volume.image.shape, rule.margin_factor
    if any(given[i] is not None for i in index):
        box = grown_region(bounding_box(boxes), margin, _step(latest), shape)
        return FineRegion(
            box, f"the box of what the user marked grown {margin:g} times", True, from_user=True
        )
    if not latest:
        return FineRegion(whole(shape), "the whole volume, as these targets have no coarse stage")
    uncertain = any(is_uncertain(each.probability[None]) for each in latest)
    if boxes:
        box = grown_region(bounding_box(boxes), margin, _step(latest), shape)
        low = rule.low_threshold < rule.foreground_threshold
        only = low and not any((each.probability > rule.foreground_threshold).any() for each in latest)
        from_low = f", from {rule.low_threshold:g} on," if only else ""
        return FineRegion(box, f"the coarse result's box{from_low} grown {margin:g} times", True, uncertain)
    if rule.max_windows_if_empty:
        return FineRegion(whole(shape), "the whole volume, as the coarse result is empty", False, uncertain)
    return FineRegion(None, "nothing: the coarse result is empty")


def _step(latest: Sequence[Latest]) -> Triple:
    """Native voxels (D, H, W) per voxel of the results before, the coarsest of them: the least margin."""
    steps = [each.view.step for each in latest] or [(1.0, 1.0, 1.0)]
    d, h, w = (max(step[axis] for step in steps) for axis in range(3))
    return d, h, w


def _by_labels(
    volume: Volume,
    region: LabelRegion,
    labels: np.ndarray | None,
    queries: Sequence[Query],
    mask: MaskPrompt | None,
) -> FineRegion:
    """The region by the label map (D, H, W) of the stage before, the user's mask laid over it."""
    labels = overlay_mask(labels, queries, mask)
    if labels is None:
        why = "the whole volume, as these targets have no coarse stage"
        return FineRegion(whole(volume.image.shape), why)
    box, found, why = region.region(labels)
    given = any(has_mask(mask, query) for query in queries)
    if given:
        why += ", the user's mask laid over it"
    # A label map is never uncertain: where time is short, it is not refined.
    return FineRegion(box, why, found, given, given, labels if found else None)

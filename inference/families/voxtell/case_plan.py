"""The plan of a case: how it is turned, its one stage, and what the report says of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from msgspec import structs

from vesal.inference.data.case import Case
from vesal.inference.data.orientation import CANONICAL, AxisCodes, Orientation, towards
from vesal.inference.data.prompt import Prompt, Query
from vesal.inference.families.voxtell.fields import VoxTellFields
from vesal.inference.families.voxtell.later_wins import LaterWins
from vesal.inference.families.voxtell.layouts import Cropped, window_starts
from vesal.inference.families.voxtell.preprocess import nonzero_box
from vesal.inference.planning.plan import Batch, Plan, Understands, make_plan
from vesal.inference.planning.profile import Profile
from vesal.inference.planning.rules import CaseStageRule, StageRule

RAS: AxisCodes = ("S", "A", "R")
"""Right, anterior, superior of (X, Y, Z), as released, in the order (D, H, W)."""
SUM_VOXELS = 1 << 30
"""Of all prompts of one pass together: sums of 4 GB. A further pass encodes every window again."""
LOOK_FROM = 8
"""Windows from which on one coarse window is a cheap way to compare orientations."""


def plan_case(
    prompts: Sequence[Prompt], profile: Profile, case: Case, fields: VoxTellFields, understands: Understands
) -> Plan:
    """The plan of a case.

    Args:
        prompts: of the case.
        profile: its first stage is the one that is run.
        case: its numbers and its axes decide what is looked at, and how it lies.
        fields: of the profile.
        understands: see ``contract.Family``.
    """
    plan = make_plan(prompts, profile, understands)
    if not plan.batches:
        return plan
    turned = towards(case.axis_codes or CANONICAL, RAS)
    rules = {rule: _rule(rule, case, turned, fields) for batch in plan.batches for rule in batch.stages}
    batches = tuple(
        Batch(_queries(b.queries, fields), tuple(rules[rule] for rule in b.stages)) for b in plan.batches
    )
    return replace(
        plan,
        batches=batches,
        notes=(*plan.notes, *_notes(case, turned, fields)),
        orientation=turned,
        assumed=case.axis_codes is None,
        nests=fields.overlaps == "nested",
    )


def _queries(queries: Sequence[Query], fields: VoxTellFields) -> tuple[Query, ...]:
    """Where the later prompt wins, equal ones are not run as one: each has its own place in the order."""
    if fields.overlaps != "later":
        return tuple(queries)
    return tuple(replace(query, own_class=query.prompt_id) for query in queries)


def _notes(case: Case, turned: Orientation, fields: VoxTellFields) -> list[str]:
    """What the report says of how a case is run."""
    known = "as its file says how it lies"
    if case.axis_codes is None:
        known = "taken to lie as an axial series from the feet up does, as nothing says how it lies"
    notes = [f"the volume is turned to right, anterior, superior, {known}: {turned}"]
    if case.numbers is not None:
        notes.append("the network gets the numbers as they are stored, not those that are shown as 0 to 255")
    if fields.overlaps == "later":
        notes.append("of prompts that overlap the later one has the voxel")
    return notes


def _rule(rule: StageRule, case: Case, turned: Orientation, fields: VoxTellFields) -> CaseStageRule:
    """The rule of the stage for a case that is run as ``turned``."""
    window = fields.network.window_dhw
    box = nonzero_box(case.image if case.numbers is None else case.numbers)
    sides = [max(round(n), m) for n, m in zip(turned.axes(box.size), window, strict=True)]
    finer = any(mm < fields.rung_mm for mm in case.spacing_dhw_mm)
    own: dict[str, Any] = {
        "layout": Cropped(window, fields.half_weights, fields.rung_mm if finer else 0.0),
        "window_voxels": math.prod(window),
        "max_windows": math.prod(-(-n // m) for n, m in zip(sides, window, strict=True)),
        "max_windows_if_empty": 0,
        "max_queries": max(1, SUM_VOXELS // (window[0] * sides[1] * sides[2])),
        "rounds": 1,
        "min_window_prompt": 0.0,
        "spatial_prompts": False,
        "complementary_block": 0,
        "blends_logits": True,
        "keeps_order": True,
        "label_maker": LaterWins() if fields.overlaps == "later" else None,
    }
    found = CaseStageRule(**(structs.asdict(rule) | own))
    laid = math.prod(len(window_starts(n, m, 1 - rule.overlap)) for n, m in zip(sides, window, strict=True))
    if case.axis_codes is None and laid >= LOOK_FROM:
        return structs.replace(found, look=structs.replace(found, max_windows=1))
    return found

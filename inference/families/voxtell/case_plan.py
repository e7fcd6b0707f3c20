"""The plan of a case: how it is turned, its one stage, and what the report says of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from msgspec import structs

from vesal.inference.data.case import Case
from vesal.inference.data.orientation import CANONICAL, AxisCodes, towards
from vesal.inference.data.prompt import Prompt
from vesal.inference.families.voxtell.fields import VoxTellFields
from vesal.inference.families.voxtell.later_wins import LaterWins
from vesal.inference.families.voxtell.layouts import Cropped
from vesal.inference.families.voxtell.preprocess import nonzero_box
from vesal.inference.geometry.views import VolumeGrid
from vesal.inference.planning.plan import Plan, Understands, make_plan
from vesal.inference.planning.profile import Profile
from vesal.inference.planning.rules import CaseStageRule, StageRule

SUM_VOXELS = 1 << 30
"""Of all prompts of one pass together: sums of 4 GB. A further pass encodes every window again."""
RAS: AxisCodes = ("S", "A", "R")
"""Right, anterior, superior of (X, Y, Z), as released, in the order (D, H, W)."""


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
    known = case.axis_codes is not None
    turned = towards(case.axis_codes or CANONICAL, RAS)
    rules = {rule: _rule(rule, case, fields) for batch in plan.batches for rule in batch.stages}
    batches = tuple(replace(b, stages=tuple(rules[rule] for rule in b.stages)) for b in plan.batches)
    lies = "as its file says how it lies" if known else "taken as stored from the feet up, front to back"
    note = f"the volume is turned to right, anterior, superior, {lies}: {turned}"
    return replace(plan, batches=batches, notes=(*plan.notes, note), orientation=turned, assumed=not known)


def _rule(rule: StageRule, case: Case, fields: VoxTellFields) -> CaseStageRule:
    """The rule of the stage for a case."""
    window = fields.network.window_dhw
    numbers = case.image if case.numbers is None else case.numbers
    box = nonzero_box(numbers)
    # Sides of the turned volume may be any of these; of all windows as acquired there are most.
    finer = any(mm < fields.rung_mm for mm in case.spacing_dhw_mm)
    layout = Cropped(window, fields.half_weights, fields.rung_mm if finer else 0.0)
    order = towards(case.axis_codes or CANONICAL, RAS)
    d, h, w = order.axes(case.image.shape)
    grid = VolumeGrid((d, h, w), order.axes(case.spacing_dhw_mm))
    sizes = order.axes([round(n) for n in box.size])
    windows = math.prod(-(-n // m) for n, m in zip(sizes, window, strict=True))
    sums = window[0] * math.prod(max(n, m) for n, m in zip(sizes[1:], window[1:], strict=True))
    own: dict[str, Any] = {
        "layout": layout,
        "window_voxels": math.prod(window),
        "max_windows": windows,
        "max_windows_if_empty": 0,
        "max_queries": max(1, SUM_VOXELS // sums),
        "rounds": 1,
        "min_window_prompt": 0.0,
        "spatial_prompts": False,
        "complementary_block": 0,
        "blends_logits": True,
        "keeps_order": True,
        "label_maker": LaterWins() if fields.overlaps == "later" else None,
    }
    return CaseStageRule(**(structs.asdict(rule) | own))

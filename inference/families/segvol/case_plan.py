"""The plan of a case: how it is turned, what is looked at, both stages, and what the report says of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from msgspec import structs

from vesal.inference.data.case import Case
from vesal.inference.data.orientation import STORED, AxisCodes, Orientation, towards
from vesal.inference.data.prompt import Prompt, Query
from vesal.inference.data.terms import LOCATE
from vesal.inference.families.segvol.fields import SegVolFields
from vesal.inference.families.segvol.layouts import KeptPlaces, Whole, Zoomed, window_starts
from vesal.inference.families.segvol.nearest_labels import NearestLabels
from vesal.inference.families.segvol.preprocess import look_at
from vesal.inference.families.segvol.regions import ZoomRegion
from vesal.inference.geometry.views import Sides
from vesal.inference.planning.plan import Batch, Plan, Understood, make_plan, open_sentence
from vesal.inference.planning.profile import Profile
from vesal.inference.planning.rules import CaseStageRule, StageRule

AT_ONCE = 16
"""Prompts of zoom-out in one pass, 8 MB each and step; later passes find the volume encoded."""
SLAB_VOXELS = 1 << 27
"""Of all prompts of a view of zoom-in together: sums of 0.5 GB."""
RAS: AxisCodes = ("S", "A", "R")
"""Right, anterior, superior of (X, Y, Z), as the released demo means to turn, in the order (D, H, W)."""
CT = "CT"


def understand(prompt: Prompt) -> Understood:
    """The targets that the vocabulary knows in a prompt, each by its name; else the sentence's own words.

    The network was trained with bare names in one sentence (``fields.TEMPLATE``), not with whole sentences.
    """
    if not prompt.targets:
        return open_sentence(prompt)
    queries = tuple(
        Query(prompt.id, target.name, target.concept, target.side, prompt.modality, target.kind)
        for target in prompt.targets
    )
    names = ", ".join(query.name for query in queries)
    return Understood(queries, f"{prompt.why}; asked by name: {names}")


def plan_case(prompts: Sequence[Prompt], profile: Profile, case: Case, fields: SegVolFields) -> Plan:
    """The plan of a case.

    Args:
        prompts: of the case; one that has neither a sentence nor a mark was refused before.
        profile: its first stage is zoom-out, if it has one.
        case: its grey levels decide what is looked at.
        fields: of the profile.
    """
    plan = make_plan(prompts, profile, understand)
    if not plan.batches:
        return plan
    turned, why = _orientation(case, fields)
    seen = look_at(turned.turn(case.image))
    marked = bool(case.user.boxes or case.user.points)

    def rules(batch: Batch) -> tuple[StageRule, ...]:
        return tuple(_rule(rule, seen.start, seen.shape, fields, marked) for rule in batch.stages)

    batches = tuple(replace(batch, stages=rules(batch)) for batch in plan.batches)
    foreign = sorted({q.modality for batch in plan.batches for q in batch.queries} - {CT})
    notes = [why, f"windows of zoom-in: {fields.windows}"]
    if foreign:
        notes.append(f"{', '.join(foreign)} is asked as computed tomography, the only kind it was trained on")
    return replace(plan, batches=batches, notes=(*plan.notes, *notes), orientation=turned)


def _orientation(case: Case, fields: SegVolFields) -> tuple[Orientation, str]:
    """How a case is turned for the network, and why."""
    if not fields.paper:
        return STORED, "the volume is run as it lies, as the released code does"
    if case.axis_codes is None:
        return STORED, "the volume is run as it lies, as its file does not say how that is"
    turned = towards(case.axis_codes, RAS)
    return turned, f"the volume is turned to right, anterior, superior: {turned}"


def _rule(rule: StageRule, start: Sides, shape: Sides, fields: SegVolFields, marked: bool) -> CaseStageRule:
    """The rule of one stage for a case whose part from ``start`` on of ``shape`` is looked at.

    ``marked`` says whether the user gave boxes or points.
    """
    window = fields.network.window_dhw
    own: dict[str, Any] = {
        "window_voxels": math.prod(window),
        "max_windows_if_empty": 0,
        "max_queries": AT_ONCE,
        "min_window_prompt": 0.0,
        "rounds": 1,
        "skip_empty": False,
        "kept_windows": KeptPlaces(fields.kept_windows),
    }
    if rule.role == LOCATE:
        own |= {
            "layout": Whole(start, shape, window),
            "max_windows": 1,
            "overlap": 0.0,
            "spatial_prompts": False,
            "label_maker": NearestLabels(start, shape),
        }
    else:
        sides = zip(shape, window, strict=True)
        own |= {
            "layout": Zoomed(window),
            "max_targets_per_view": max(1, SLAB_VOXELS // (window[0] * shape[1] * shape[2])),
            # Without marks the network is asked by text alone, and what zoom-out found is not read.
            "spatial_prompts": marked,
            "max_windows": math.prod(len(window_starts(n, m, rule.overlap)) for n, m in sides),
            "query_region": ZoomRegion(start, shape, window, fields.windows == "shared"),
            "blends_logits": True,
        }
    return CaseStageRule(**(structs.asdict(rule) | own))

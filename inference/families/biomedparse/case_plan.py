"""The plan of a case: along which axis it is sliced, what is run, and what the report says of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from msgspec import structs

from vesal.inference.data.case import Case
from vesal.inference.data.prompt import Prompt
from vesal.inference.data.terms import LOCATE
from vesal.inference.families.biomedparse.fields import BOLTZMANN, SINGLE, BiomedParseFields
from vesal.inference.families.biomedparse.fractal import slices_per_side
from vesal.inference.families.biomedparse.nearest_labels import NearestLabels
from vesal.inference.geometry.square_slices import SquareSlices, slice_axis
from vesal.inference.planning.plan import Plan, make_plan, open_sentence
from vesal.inference.planning.profile import Profile
from vesal.inference.planning.rules import CaseStageRule, StageRule

ALL = 65535
"""All targets of a case are run at once: in every slice they share the encoded image, and compete."""


PARTS = 3
"""Parts of slices that see each other whose step makes a run: one more is run for each, as parts overlap."""


def plan_case(
    prompts: Sequence[Prompt],
    profile: Profile,
    case: Case,
    fields: BiomedParseFields,
    length: Callable[[str], tuple[int, int]],
) -> Plan:
    """The plan of a case: every sentence as it stands.

    Args:
        prompts: of the case.
        profile: its stages have the layout ``square-slices``.
        case: its shape decides how it is sliced.
        fields: of the profile.
        length: of a sentence in tokens, and how many of them are read.
    """
    plan = make_plan(prompts, profile, open_sentence)
    if not plan.batches:
        return plan
    axis, why = slice_axis(case.image.shape, fields.lowest_ratio)
    batches = tuple(
        replace(batch, stages=_stages(batch.stages, case, fields, axis)) for batch in plan.batches
    )
    cut = [_cut(prompt, *length(prompt.text)) for prompt in prompts if prompt.id in plan.covered]
    notes = (f"slices lie {why}", *_settings(fields), *(note for note in cut if note))
    return replace(plan, batches=batches, notes=(*plan.notes, *notes))


def _settings(fields: BiomedParseFields) -> tuple[str, ...]:
    """How the network is run, in words."""
    if fields.attention == BOLTZMANN:
        attention = "Boltzmann sampling, drawn by case, sentence, slice, layer and head: always the same"
    else:
        attention = "full, the network was trained with Boltzmann sampling"
    alone = "each sentence stands alone" if fields.groups == SINGLE else "filled up to the longest sentence"
    seen = slices_per_side(fields.order)
    around = f"{seen} slice(s) on each side, {fields.border} at the ends"
    told = (f"attention: {attention}", f"prompts: {alone}", f"volume around a slice: {around}")
    if (setting := fields.sequences) and fields.cross_slice:
        away = ", ".join(f"{offset:+d}" for offset in fields.cross_slice.offsets)
        rates = " and ".join(map(str, setting.rates))
        seen_by = f"{setting.depth} slices run together at rate {rates}, heads that look {away} slices away"
        return *told, f"slices see each other: {seen_by}"
    if fields.dual_rate:
        return *told, "dual_rate changes nothing, as no head looks at another slice: it is left out"
    return told


def _cut(prompt: Prompt, tokens: int, read: int) -> str:
    """That a sentence is longer than the text encoder reads; empty where it is not."""
    if tokens <= read:
        return ""
    return f"prompt {prompt.id} has {tokens} tokens, of which the text encoder reads the first {read}"


def _stages(
    stages: Sequence[StageRule], case: Case, fields: BiomedParseFields, axis: int
) -> tuple[StageRule, ...]:
    """The rules of one batch for a case; the stage that locates is skipped where only one stage is wanted."""
    refines = any(rule.role != LOCATE and not rule.skip for rule in stages)
    found = []
    for rule in stages:
        skip = rule.skip or (rule.role == LOCATE and refines and not fields.two_stage)
        found.append(_stage_rule(rule, case, fields, axis, skip))
    return tuple(found)


def _stage_rule(
    rule: StageRule, case: Case, fields: BiomedParseFields, axis: int, skip: bool
) -> CaseStageRule:
    assert isinstance(rule.layout, SquareSlices)
    layout = structs.replace(
        rule.layout, axis=axis, context=slices_per_side(fields.order), border=fields.border
    )
    # Where slices are left out, each is a run by itself.
    if (setting := fields.sequences) and layout.every == 1:
        run, around = max(layout.run, PARTS * setting.step), setting.depth - 1
        layout = structs.replace(layout, run=run, context=layout.context + around)
    runs = -(-case.image.shape[axis] // layout.run)
    d, h, w = case.image.shape
    own: dict[str, Any] = {
        "layout": layout,
        "window_voxels": layout.run * layout.side**2,
        "max_windows": runs,
        "max_windows_if_empty": 0,
        "overlap": 0.0,
        "max_queries": ALL,
        "max_targets_per_view": ALL,
        "max_spacing_ratio": float(ALL),
        "min_window_prompt": 0.0,
        "spatial_prompts": False,
        "skip": skip,
        "label_maker": NearestLabels((d, h, w)) if fields.labels == "nearest" else None,
    }
    return CaseStageRule(**(structs.asdict(rule) | own))

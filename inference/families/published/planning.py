"""The plan of a case by a published system's rules: one batch of queries, with stage rules of the case."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from msgspec import structs

from vesal.inference.data.case import Case
from vesal.inference.data.prompt import Prompt, Query
from vesal.inference.data.terms import COARSE
from vesal.inference.families.published.case_decisions import (
    CaseDecisions,
    PublishedRules,
    decide,
)
from vesal.inference.families.published.labels import ForegroundMask, PublishedLabels, UnsplitLabels
from vesal.inference.planning.plan import AppliedRule, Batch, Plan, Understands, applied_rules
from vesal.inference.planning.profile import Profile
from vesal.inference.planning.rules import CaseStageRule, StageRule
from vesal.postprocess.instances import Instances
from vesal.postprocess.rule import MapRule

MAX_ID = 65535
"""All targets of a case are run at once: no id is larger."""


def plan_by_rules(
    prompts: Sequence[Prompt],
    profile: Profile,
    understands: Understands,
    case: Case,
    published: PublishedRules,
) -> Plan:
    """The plan of a case; a prompt that the weights do not cover is refused with a reason.

    Args:
        prompts: of the case.
        profile: what the rules do not speak of is as it says.
        understands: what the family makes of a prompt.
        case: its shape, spacing and whether it asks for objects count.
        published: the rules.
    """
    found = {prompt.id: understands(prompt) for prompt in prompts}
    refused = {id_: each.why for id_, each in found.items() if not each.queries}
    asked = [prompt for prompt in prompts if prompt.id not in refused]
    if not asked:
        return Plan((), {}, refused)
    decided = decide(
        {p.id: (p.text, p.target, p.modality) for p in asked},
        case.image.shape,
        case.spacing_dhw_mm,
        case.instance,
        published,
        case.name,
    )
    modality = decided.case.modality
    # Both sides of a thing are one sentence, which is run once.
    queries = tuple(replace(found[p.id].queries[0], name=p.name, modality=modality) for p in asked)
    covered = {p.id: f"{found[p.id].why}; {decided.plan.named[p.id].why}" for p in asked}
    stages = tuple(_stage_rule(rule, decided, published) for rule in profile.stages)
    rules = _rules(profile, queries, decided, published)
    return Plan((Batch(queries, stages),), covered, refused, rules)


def _stage_rule(rule: StageRule, decided: CaseDecisions, published: PublishedRules) -> CaseStageRule:
    """A stage rule that says what the rules decided; what they do not speak of stays the profile's."""
    stage, rules = rule.name, published.rules
    own: dict[str, Any] = {
        "window_voxels": math.prod(rules.grid(stage).crop),
        "max_windows": decided.windows[stage],
        "max_windows_if_empty": decided.windows[stage],
        "rounds": decided.rounds[stage],
        "complementary_block": rules.rounds.block,
        "refinement_block": rules.rounds.refinement_block,
        "refine_windows": True,
        "max_queries": MAX_ID,
        "min_window_prompt": 0.0,
        "merge_unprompted": True,
        "binary_prompts": rules.rounds.binary_prompts,
        "block_masks": published.block_masks,
        "skip": rule.skip or not (decided.plan.coarse if stage == COARSE else decided.plan.fine),
    }
    if published.published:
        own |= {
            "skip_empty": False,
            "label_maker": PublishedLabels(rules.ways.resampling == "corners", rules.ways.overlaps == "sum"),
        }
    layout = decided.layouts[stage]
    return CaseStageRule(**(structs.asdict(rule) | own | {"layout": layout, "label_region": layout}))


def _rules(
    profile: Profile, queries: Sequence[Query], decided: CaseDecisions, published: PublishedRules
) -> tuple[AppliedRule, ...]:
    """The profile's rules, and what the published rules say of components and objects."""
    rules = published.rules
    ids = frozenset(query.prompt_id for query in queries)
    components = structs.replace(rules.components.choose, instances=rules.components.instance)
    return (
        *applied_rules(profile.postprocess, queries),
        AppliedRule(components, ids & frozenset(decided.plan.filtered)),
        AppliedRule(_objects(published), ids),
    )


def _objects(published: PublishedRules) -> MapRule:
    """What is made of the labels where objects are wanted."""
    least = published.rules.stages.least_component
    if not published.published:
        return Instances(min_voxels=least)
    return ForegroundMask(min_voxels=least) if published.rules.ways.objects == "mask" else UnsplitLabels()

"""The plan of a case by a published system's rules: one batch of queries, with stage rules of the case."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from msgspec import structs

from vesal.inference.data.case import Case
from vesal.inference.data.prompt import Prompt
from vesal.inference.data.terms import COARSE, STAGES
from vesal.inference.families.published.case_decisions import (
    CaseDecisions,
    PublishedRules,
    decide,
    one_modality,
)
from vesal.inference.families.published.rules import Rules
from vesal.inference.planning.plan import Batch, Knows, Plan, queries_of
from vesal.inference.planning.profile import Profile
from vesal.inference.planning.rules import CaseFilterRule, FilterRule, LaidStageRule, StageRule


def plan_by_rules(
    prompts: Sequence[Prompt], profile: Profile, knows: Knows, case: Case, published: PublishedRules
) -> Plan:
    """The plan of a case; a prompt that the weights do not cover is refused with a reason.

    Args:
        prompts: of the case.
        profile: what the rules do not speak of is as it says.
        knows: what the model can be run for.
        case: its shape, spacing and whether it asks for objects count.
        published: the rules.
    """
    found = {prompt.id: queries_of(prompt, profile, knows) for prompt in prompts}
    refused = {id_: why for id_, (queries, why) in found.items() if not queries}
    asked = [prompt for prompt in prompts if prompt.id not in refused]
    if not asked:
        return Plan((), {}, refused, profile.filters)
    decided = decide(
        {p.id: (p.text, p.target, p.modality) for p in asked},
        case.image.shape,
        case.spacing_dhw_mm,
        case.instance,
        published,
    )
    modality = one_modality([p.modality for p in asked])
    # Both sides of a thing are one sentence, which is run once.
    queries = tuple(
        replace(
            found[p.id][0][0],
            name=p.target or p.text,
            modality=modality,
            sentence=p.text if knows(p.text) else "",
        )
        for p in asked
    )
    covered = {p.id: f"{found[p.id][1]}; {decided.plan.named[p.id].why}" for p in asked}
    coarse, fine = (
        _stage_rule(rule, stage, decided, published.rules)
        for rule, stage in zip((profile.coarse, profile.fine), STAGES, strict=True)
    )
    filters = _filter_rule(profile.filters, decided, published.rules)
    return Plan((Batch(queries, coarse, fine),), covered, refused, filters)


def _stage_rule(rule: StageRule, stage: str, decided: CaseDecisions, rules: Rules) -> LaidStageRule:
    """A stage rule that says what the rules decided; what they do not speak of stays the profile's."""
    own = {
        "window_voxels": math.prod(rules.grid(stage).crop),
        "max_windows": decided.windows[stage],
        "max_windows_if_empty": decided.windows[stage],
        "rounds": decided.rounds[stage],
        "complementary_block": rules.rounds.block,
        "refinement_block": rules.rounds.refinement_block,
        "merge_unprompted": True,
        "binary_prompts": rules.rounds.binary_prompts,
        "skip": rule.skip or not (decided.plan.coarse if stage == COARSE else decided.plan.fine),
    }
    return LaidStageRule(**(structs.asdict(rule) | own), layout=decided.layouts[stage])


def _filter_rule(filters: FilterRule, decided: CaseDecisions, rules: Rules) -> CaseFilterRule:
    """The filter rule with what the rules say of components."""
    chosen = rules.components
    own = {
        "max_components": chosen.max_components,
        "max_probability_drop": chosen.max_probability_drop,
        "high_probability": chosen.high_probability,
        "min_size_ratio": chosen.min_size_ratio,
        "min_object_voxels": rules.stages.least_component,
    }
    return CaseFilterRule(**(structs.asdict(filters) | own), component_ids=decided.plan.filtered)

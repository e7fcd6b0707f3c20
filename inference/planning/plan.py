"""What will be asked of the network, and together with what: prompts -> queries -> batches.

Every decision carries its reason, which the report repeats.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from vesal.inference.data.case import Case
from vesal.inference.data.prompt import Prompt, Query
from vesal.inference.data.terms import SIDES, STAGES
from vesal.inference.families.contract import Model
from vesal.inference.families.published.case_rules import CaseDecisions, PublishedRules, decide, one_modality
from vesal.inference.families.published.rules import Rules
from vesal.inference.planning.profile import FilterRule, Profile, StageRule


@dataclass(frozen=True)
class Batch:
    """Queries that share their stage rules, in prompt order."""

    queries: tuple[Query, ...]
    coarse: StageRule
    fine: StageRule


@dataclass(frozen=True)
class Plan:
    """What to run, and what not."""

    batches: tuple[Batch, ...]
    covered: dict[int, str]
    """prompt id -> why and as what it is run"""
    refused: dict[int, str]
    """prompt id -> why its class stays empty"""
    filters: FilterRule = FilterRule()
    """what is removed after the stages"""


def make_plan(prompts: Sequence[Prompt], profile: Profile, model: Model, case: Case | None = None) -> Plan:
    """Turn prompts into batches of queries; one that the weights do not cover is refused with a reason.

    ``case`` is what a profile's rules decide by; others need none.
    """
    if profile.ruled is not None and case is not None:
        return _ruled_plan(prompts, profile, model, case, profile.ruled)
    by_rules: dict[tuple[StageRule, StageRule], list[Query]] = {}
    covered: dict[int, str] = {}
    refused: dict[int, str] = {}
    for prompt in prompts:
        queries, why = _queries(prompt, profile, model)
        if not queries:
            refused[prompt.id] = why
            continue
        covered[prompt.id] = why
        for query in queries:
            by_rules.setdefault(profile.rules_for(query.modality, query.kind), []).append(query)
    batches = tuple(Batch(tuple(queries), *rules) for rules, queries in by_rules.items())
    return Plan(batches, covered, refused, profile.filters)


def _ruled_plan(
    prompts: Sequence[Prompt], profile: Profile, model: Model, case: Case, ruled: PublishedRules
) -> Plan:
    """All queries in one batch: the rules decide on a case as a whole."""
    found = {prompt.id: _queries(prompt, profile, model) for prompt in prompts}
    refused = {id_: why for id_, (queries, why) in found.items() if not queries}
    asked = [prompt for prompt in prompts if prompt.id not in refused]
    if not asked:
        return Plan((), {}, refused, profile.filters)
    decided = decide(
        {p.id: (p.text, p.target, p.modality) for p in asked},
        case.image.shape,
        case.spacing_dhw_mm,
        case.instance,
        ruled,
    )
    modality = one_modality([p.modality for p in asked])
    # Both sides of a thing are one sentence: it is asked once.
    queries = tuple(
        replace(
            found[p.id][0][0],
            name=p.target or p.text,
            modality=modality,
            sentence=p.text if model.knows(p.text) else "",
        )
        for p in asked
    )
    covered = {p.id: f"{found[p.id][1]}; {decided.plan.named[p.id].why}" for p in asked}
    coarse, fine = (
        _ruled_stage(rule, stage, decided, ruled.rules)
        for rule, stage in zip((profile.coarse, profile.fine), STAGES, strict=True)
    )
    filters = _ruled_filters(profile.filters, decided, ruled.rules)
    return Plan((Batch(queries, coarse, fine),), covered, refused, filters)


def _ruled_stage(rule: StageRule, stage: str, decided: CaseDecisions, rules: Rules) -> StageRule:
    """A stage rule that says what the rules decided; what they do not speak of stays the profile's."""
    layout, rounds = decided.layouts[stage], rules.rounds
    return replace(
        rule,
        window_voxels=math.prod(rules.grid(stage).crop),
        max_windows=decided.windows[stage],
        max_windows_if_empty=decided.windows[stage],
        rounds=decided.rounds[stage],
        complementary_block=rounds.block,
        refinement_block=rounds.refinement_block,
        merge_unprompted=True,
        binary_prompts=rounds.binary_prompts,
        skip=rule.skip or not (decided.plan.coarse if stage == STAGES[0] else decided.plan.fine),
        layout=layout,
    )


def _ruled_filters(filters: FilterRule, decided: CaseDecisions, rules: Rules) -> FilterRule:
    chosen = rules.components
    return replace(
        filters,
        component_ids=decided.plan.filtered,
        max_components=chosen.max_components,
        max_probability_drop=chosen.max_probability_drop,
        high_probability=chosen.high_probability,
        min_size_ratio=chosen.min_size_ratio,
        min_object_voxels=rules.stages.least_component,
    )


def _queries(prompt: Prompt, profile: Profile, model: Model) -> tuple[list[Query], str]:
    """The queries of one prompt and the reason; no query where the weights do not cover it."""
    if prompt.concept is None:
        return [], prompt.why
    target = prompt.target or prompt.concept
    if profile.covers(prompt.concept, prompt.side, prompt.modality) and model.knows(prompt.concept):
        return [_query(prompt, prompt.concept, prompt.side, profile)], prompt.why
    both = [s for s in SIDES if profile.covers(prompt.concept, s, prompt.modality)]
    if prompt.side is None and len(both) == 2 and model.knows(prompt.concept):
        queries = [_query(prompt, prompt.concept, s, profile) for s in both]
        return queries, f"{prompt.why}; both sides, run one by one"
    elsewhere = profile.modalities_of(prompt.concept)
    hint = f", only in {', '.join(elsewhere)}" if elsewhere and prompt.modality not in elsewhere else ""
    return (
        [],
        f"{prompt.why}; {target} in {prompt.modality} is not covered by the weights {profile.name}{hint}",
    )


def _query(prompt: Prompt, concept: str, side: str | None, profile: Profile) -> Query:
    name = f"{side} {concept}" if side else concept
    turned = profile.turns(concept, side, prompt.modality)
    return Query(prompt.id, name, concept, side, prompt.modality, prompt.kind, any_orientation=turned)

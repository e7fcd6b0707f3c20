"""The plan of a case: prompts -> queries -> batches.

Every decision has its reason, for the report.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from vesal.inference.data.prompt import Prompt, Query
from vesal.inference.data.terms import SIDES
from vesal.inference.planning.profile import Profile
from vesal.inference.planning.rules import FilterRule, StageRule


@dataclass(frozen=True)
class Batch:
    """Queries that share their stage rules, in prompt order."""

    queries: tuple[Query, ...]
    coarse: StageRule
    fine: StageRule


@dataclass(frozen=True)
class Plan:
    """What is run, and what not."""

    batches: tuple[Batch, ...]
    covered: dict[int, str]
    """prompt id -> why it is run"""
    refused: dict[int, str]
    """prompt id -> why its class stays empty"""
    filters: FilterRule = FilterRule()
    """what is removed after the stages"""


Knows = Callable[[str | None], bool]
"""Whether a model can be run for a concept."""


def make_plan(prompts: Sequence[Prompt], profile: Profile, knows: Knows) -> Plan:
    """Turn prompts into batches of queries; one that the weights do not cover is refused with a reason."""
    by_rules: dict[tuple[StageRule, StageRule], list[Query]] = {}
    covered: dict[int, str] = {}
    refused: dict[int, str] = {}
    for prompt in prompts:
        queries, why = queries_of(prompt, profile, knows)
        if not queries:
            refused[prompt.id] = why
            continue
        covered[prompt.id] = why
        for query in queries:
            by_rules.setdefault(profile.rules_for(query.modality, query.kind), []).append(query)
    batches = tuple(Batch(tuple(queries), *rules) for rules, queries in by_rules.items())
    return Plan(batches, covered, refused, profile.filters)


def queries_of(prompt: Prompt, profile: Profile, knows: Knows) -> tuple[list[Query], str]:
    """The queries of one prompt and the reason; no query where the weights do not cover it."""
    if prompt.concept is None:
        return [], prompt.why
    target = prompt.target or prompt.concept
    if profile.covers(prompt.concept, prompt.side, prompt.modality) and knows(prompt.concept):
        return [_query(prompt, prompt.concept, prompt.side, profile)], prompt.why
    both = [s for s in SIDES if profile.covers(prompt.concept, s, prompt.modality)]
    if prompt.side is None and len(both) == 2 and knows(prompt.concept):
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

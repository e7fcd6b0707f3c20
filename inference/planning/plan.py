"""The plan of a case: prompts -> queries -> batches.

Every decision has its reason, for the report.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from vesal.inference.data.prompt import Prompt, Query
from vesal.inference.data.terms import MODALITIES, SIDES
from vesal.inference.planning.profile import Profile
from vesal.inference.planning.rules import StageRule
from vesal.postprocess.rule import Rule


@dataclass(frozen=True)
class Batch:
    """Queries that share their stage rules, in prompt order."""

    queries: tuple[Query, ...]
    stages: tuple[StageRule, ...]
    """in the order in which they are run"""


@dataclass(frozen=True)
class AppliedRule:
    """A rule of the profile, and the prompts of a case that it is for."""

    rule: Rule
    ids: frozenset[int]


@dataclass(frozen=True)
class Plan:
    """What is run, and what not."""

    batches: tuple[Batch, ...]
    covered: dict[int, str]
    """prompt id -> why it is run"""
    refused: dict[int, str]
    """prompt id -> why its class stays empty"""
    rules: tuple[AppliedRule, ...] = ()
    """what is done to results, in this order"""


@dataclass(frozen=True)
class Understood:
    """What a family makes of one prompt."""

    queries: tuple[Query, ...]
    """what is run for it; none where it is refused"""
    why: str
    """for the report: why it is run or refused"""


Knows = Callable[[str | None], bool]
"""Whether a model can be run for a concept."""
Understands = Callable[[Prompt], Understood]
"""What a family makes of a prompt, see ``families.contract.Family``."""


def make_plan(prompts: Sequence[Prompt], profile: Profile, understands: Understands) -> Plan:
    """Turn prompts into batches of queries; one that is not understood is refused with its reason."""
    by_rules: dict[tuple[StageRule, ...], list[Query]] = {}
    covered: dict[int, str] = {}
    refused: dict[int, str] = {}
    for prompt in prompts:
        understood = understands(prompt)
        if not understood.queries and prompt.guessed:
            understood = _elsewhere(prompt, prompts, understands) or understood
        if not understood.queries:
            refused[prompt.id] = understood.why
            continue
        covered[prompt.id] = understood.why
        for query in understood.queries:
            by_rules.setdefault(profile.rules_for(query.modality, query.kind), []).append(query)
    batches = tuple(Batch(tuple(queries), rules) for rules, queries in by_rules.items())
    queries = [query for batch in batches for query in batch.queries]
    return Plan(batches, covered, refused, applied_rules(profile.postprocess, queries))


def _elsewhere(prompt: Prompt, prompts: Sequence[Prompt], understands: Understands) -> Understood | None:
    """What a prompt asks for in another modality than the guessed one, which covers nothing of it.

    Of several modalities, the one that covers most prompts of the case counts.
    """

    def asked_in(modality: str, one: Prompt) -> Understood:
        return understands(replace(one, modality=modality))

    covering = [modality for modality in MODALITIES if asked_in(modality, prompt).queries]
    if not covering:
        return None
    most = max(covering, key=lambda modality: sum(bool(asked_in(modality, one).queries) for one in prompts))
    why = f"{prompt.modality} is only guessed and does not cover it, so it is asked in {most}"
    found = asked_in(most, prompt)
    return replace(found, why=f"{found.why}; {why}")


def applied_rules(rules: Sequence[Rule], queries: Sequence[Query]) -> tuple[AppliedRule, ...]:
    """Rules with the prompts that they are for: by the kinds of their targets.

    A rule that takes each target for a single thing leaves out prompts that are run as two sides.
    """
    n_queries = Counter(query.prompt_id for query in queries)
    applied = []
    for rule in rules:
        kinds = getattr(rule, "kinds", None)  # a rule on the final map is for all targets
        ids = {q.prompt_id for q in queries if kinds is None or q.kind in kinds}
        if rule.one_object:
            ids = {id_ for id_ in ids if n_queries[id_] == 1}
        applied.append(AppliedRule(rule, frozenset(ids)))
    return tuple(applied)


def listed_target(prompt: Prompt, profile: Profile, knows: Knows) -> Understood:
    """The queries of a prompt whose target the weights list; a closed vocabulary."""
    if prompt.concept is None:
        return Understood((), prompt.why)
    target = prompt.target or prompt.concept
    if profile.covers(prompt.concept, prompt.side, prompt.modality) and knows(prompt.concept):
        query = _query(prompt, prompt.concept, prompt.side, profile)
        return Understood((query,), f"{prompt.why}; asked as the target {target}")
    both = [s for s in SIDES if profile.covers(prompt.concept, s, prompt.modality)]
    if prompt.side is None and len(both) == 2 and knows(prompt.concept):
        queries = tuple(_query(prompt, prompt.concept, s, profile) for s in both)
        return Understood(queries, f"{prompt.why}; asked as the targets of both sides, run one by one")
    elsewhere = profile.modalities_of(prompt.concept)
    hint = f", only in {', '.join(elsewhere)}" if elsewhere and prompt.modality not in elsewhere else ""
    return Understood(
        (),
        f"{prompt.why}; {target} in {prompt.modality} is not covered by the weights {profile.name}{hint}",
    )


def open_sentence(prompt: Prompt) -> Understood:
    """The query of a prompt whose sentence goes to the weights' own text encoder as it stands."""
    query = Query(
        prompt.id,
        prompt.target or prompt.text,
        prompt.concept,
        prompt.side,
        prompt.modality,
        prompt.kind,
        sentence=prompt.text,
    )
    return Understood((query,), f"{prompt.why}; the sentence is asked as it stands")


def _query(prompt: Prompt, concept: str, side: str | None, profile: Profile) -> Query:
    name = f"{side} {concept}" if side else concept
    turned = profile.turns(concept, side, prompt.modality)
    return Query(prompt.id, name, concept, side, prompt.modality, prompt.kind, any_orientation=turned)

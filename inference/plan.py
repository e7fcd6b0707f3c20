"""What will be asked of the network, and together with what: prompts -> queries -> batches.

Every decision carries its reason, which the report repeats.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from inference.models import VolumeModel
from inference.profile import Profile, StageRule
from inference.prompts import Prompt
from inference.vocabulary import SIDES


@dataclass(frozen=True)
class Query:
    """One thing asked of the network for one prompt; a prompt for both sides makes two."""

    prompt_id: int
    name: str
    """For log and report: the target, with side."""
    concept: str
    side: str | None
    modality: str
    kind: str


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


def make_plan(prompts: Sequence[Prompt], profile: Profile, model: VolumeModel) -> Plan:
    """Turn prompts into batches of queries; one that the weights do not cover is refused with a reason."""
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
    return Plan(batches, covered, refused)


def _queries(prompt: Prompt, profile: Profile, model: VolumeModel) -> tuple[list[Query], str]:
    """The queries of one prompt and the reason; no query where the weights do not cover it."""
    if prompt.concept is None:
        return [], prompt.why
    target = prompt.target or prompt.concept
    if profile.covers(prompt.concept, prompt.side, prompt.modality) and model.knows(prompt.concept):
        return [_query(prompt, prompt.concept, prompt.side)], prompt.why
    both = [s for s in SIDES if profile.covers(prompt.concept, s, prompt.modality)]
    if prompt.side is None and len(both) == 2 and model.knows(prompt.concept):
        return [_query(prompt, prompt.concept, s) for s in both], f"{prompt.why}; both sides, run one by one"
    for stand_in in profile.stand_ins:
        if (stand_in.modality, stand_in.kind) == (prompt.modality, prompt.kind) and model.knows(
            stand_in.concept
        ):
            why = f"{profile.name} has no {target} in {prompt.modality} and is asked for {stand_in.concept}"
            return [_query(prompt, stand_in.concept, None)], f"{prompt.why}; {why}"
    elsewhere = profile.modalities_of(prompt.concept)
    hint = f", only in {', '.join(elsewhere)}" if elsewhere and prompt.modality not in elsewhere else ""
    return (
        [],
        f"{prompt.why}; {target} in {prompt.modality} is not covered by the weights {profile.name}{hint}",
    )


def _query(prompt: Prompt, concept: str, side: str | None) -> Query:
    name = f"{side} {concept}" if side else concept
    return Query(prompt.id, name, concept, side, prompt.modality, prompt.kind)


def fine_groups(count: int, together: int) -> list[tuple[int, ...]]:
    """Which of ``count`` queries share a fine view: all where they are few, else each by itself.

    One view around everything would be no finer than the coarse one; few targets lie together (the heart's
    chambers) and compete in one view.
    """
    if count <= together:
        return [tuple(range(count))] if count else []
    return [(i,) for i in range(count)]

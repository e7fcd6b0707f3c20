"""The plan of a case: prompts -> queries -> batches.

Every decision has its reason, for the report.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from vesal.inference.data.orientation import STORED, Orientation
from vesal.inference.data.prompt import Prompt, Query, Target
from vesal.inference.data.terms import MODALITIES
from vesal.inference.planning.profile import Profile
from vesal.inference.planning.rules import StageRule
from vesal.inference.prompts.wholes import Made, made_of
from vesal.postprocess.rule import Rule

T = TypeVar("T")

MEMBERS_SHOWN = 12
"""Members of a group that are told by name at most."""


@dataclass(frozen=True)
class Batch:
    """Queries that share their stage rules, in prompt order."""

    queries: tuple[Query, ...]
    stages: tuple[StageRule, ...]
    """in the order in which they are run"""


@dataclass(frozen=True)
class AppliedRule:
    """A rule of the profile, and the classes of a case that it is for (``planning.classes``)."""

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
    classes: Mapping[int, tuple[int, ...]] = field(default_factory=dict)
    """prompt id -> the classes whose union is its result, where it is not the class of its id"""
    notes: tuple[str, ...] = ()
    """what the report notes of the case beside its prompts: how the family runs it"""
    written_as: Mapping[int, int] = field(default_factory=dict)
    """class -> the prompt that its voxels are written as, where it is not the prompt of that id"""
    orientation: Orientation = STORED
    """how the family wants the case to be turned before it is run; the stages are laid out for that"""
    nests: bool = True
    """whether the smaller of two prompts may get what it shares with the one that it lies in, where that is
    wanted (``stages.overlaps``)"""
    assumed: bool = False
    """whether that is only assumed, as nothing says how the case lies: others may be looked for as well"""

    def classes_of(self, prompt_id: int) -> tuple[int, ...]:
        """The classes whose union is a prompt's result."""
        return self.classes.get(prompt_id, (prompt_id,))

    def of_prompts(self, by_class: Mapping[int, list[T]]) -> dict[int, list[T]]:
        """What was collected class by class, prompt by prompt."""
        found = {
            id_: [x for each in self.classes_of(id_) for x in by_class.get(each, ())] for id_ in self.covered
        }
        return {id_: mine for id_, mine in found.items() if mine}


@dataclass(frozen=True)
class Understood:
    """What a family makes of one prompt."""

    queries: tuple[Query, ...]
    """what is run for it; none where it is refused"""
    why: str
    """for the report: why it is run or refused"""
    missing: tuple[str, ...] = ()
    """what it asks for, or is made of, and the weights do not cover"""


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
    """Rules with the classes that they are for: by the kinds of their targets, and their concepts.

    A rule that takes each target for a single thing leaves out classes that hold two sides.
    """
    n_queries = Counter(query.class_id for query in queries)
    applied = []
    for rule in rules:
        kinds = getattr(rule, "kinds", None)  # a rule on the final map is for all targets
        concepts = getattr(rule, "concepts", None)
        mine = [q for q in queries if kinds is None or q.kind in kinds]
        ids = {q.class_id for q in mine if concepts is None or q.concept in concepts}
        if rule.one_object:
            ids = {id_ for id_ in ids if n_queries[id_] == 1}
        applied.append(AppliedRule(rule, frozenset(ids)))
    return tuple(applied)


def listed_target(prompt: Prompt, profile: Profile, knows: Knows) -> Understood:
    """The queries of a prompt whose targets the weights list; a closed vocabulary.

    Members of a group, or of a list, that they do not cover are left out and told.
    """
    if not prompt.targets:
        return Understood((), prompt.why)
    each = [_queries(target, prompt, profile, knows) for target in prompt.targets]
    queries = tuple(dict.fromkeys(query for found in each for query in found.queries))
    why = "; ".join(found.why for found in each if found.queries or len(each) == 1)
    if len(each) > 1:
        missing = [name for found in each for name in found.missing]
        why = _members(queries, missing, prompt.modality, profile.name)
    return Understood(queries, f"{prompt.why}; {why}")


def _queries(target: Target, prompt: Prompt, profile: Profile, knows: Knows) -> Understood:
    """The queries of one target, with the end of the sentence that says why; a whole that the weights do not
    know is made of its sides or parts that they know.
    """
    modality = prompt.modality

    def known(part: Target) -> bool:
        return profile.covers(part.concept, part.side, modality) and knows(part.concept)

    if known(target):
        return Understood((_query(prompt, target, profile),), f"asked as the target {target.name}")
    made = made_of(target, known)
    if made is not None:
        queries = tuple(_query(prompt, part, profile) for part in made.parts)
        missing = tuple(part.name for part in made.missing)
        return Understood(queries, _made_why(target, made, profile.name, modality), missing)
    elsewhere = profile.modalities_of(target.concept)
    hint = f", only in {', '.join(elsewhere)}" if elsewhere and modality not in elsewhere else ""
    why = f"{target.name} in {modality} is not covered by the weights {profile.name}{hint}"
    return Understood((), why, (target.name,))


def _made_why(target: Target, made: Made, weights: str, modality: str) -> str:
    """Of what a whole is made, and what is missing in it."""
    if not made.missing and {part.concept for part in made.parts} == {target.concept}:
        return "asked as the targets of both sides, run one by one"
    names = ", ".join(part.name for part in made.parts)
    why = f"{target.name} is made of {names}"
    if not made.missing:
        return why
    missing = ", ".join(part.name for part in made.missing)
    return f"{why} alone; not in it, as the weights {weights} do not cover it in {modality}: {missing}"


def _members(queries: Sequence[Query], missing: Sequence[str], modality: str, weights: str) -> str:
    """What of several targets is run, and what not."""
    names = [query.name for query in queries]
    run = f"asked as the targets {', '.join(names)}" if names else "none of it can be run"
    if not missing:
        return run
    shown = ", ".join(missing[:MEMBERS_SHOWN]) + (", ..." if len(missing) > MEMBERS_SHOWN else "")
    return f"{run}; left out, as not covered in {modality} by the weights {weights}: {shown}"


def open_sentence(prompt: Prompt) -> Understood:
    """The query of a prompt whose sentence goes to the weights' own text encoder as it stands.

    An unnamed one without a target has neither concept nor sentence: it is run by what the user marked.
    """
    query = Query(
        prompt.id,
        prompt.name,
        prompt.concept,
        prompt.side,
        prompt.modality,
        prompt.kind,
        sentence=prompt.text,
    )
    asked = "asked by its target's name" if prompt.targets else "asked by what the user marked"
    return Understood(
        (query,), f"{prompt.why}; {asked if prompt.unnamed else 'the sentence is asked as it stands'}"
    )


def _query(prompt: Prompt, target: Target, profile: Profile) -> Query:
    covered = profile.target(target.concept, target.side, prompt.modality)
    return covered.query(prompt.id, target.kind)

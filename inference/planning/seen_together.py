"""Targets that training and validation asked for together are run together, whichever of them are wanted.

Which view the fine stage lays, and what the network sees of other targets in it, would else depend on what
else is asked for: an organ alone would come out otherwise than beside its neighbours, and otherwise than it
was measured. So the others are run as well, and are not written (``Query.companion``).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import count

from vesal.inference.data.prompt import Query
from vesal.inference.planning.manifest import SeenTogether
from vesal.inference.planning.plan import Batch, Plan, applied_rules
from vesal.inference.planning.profile import Profile
from vesal.inference.prompts.vocabulary import load_vocabulary

NOBODY = 0
"""What voxels of a companion are written as, and whose query it is."""


def with_companions(plan: Plan, profile: Profile) -> Plan:
    """A plan in which queries know what they are seen with, and the others of these are run beside them.

    Args:
        plan: with classes (``planning.classes``). A batch whose stages take regions of their own is returned
            unchanged.
        profile: its ``seen_together`` counts as far as the targets were trained. Those that are too poor to
            be covered are companions as well: the others were measured beside them.
    """
    if not profile.seen_together:
        return plan
    used = {*plan.covered, *plan.refused, *plan.written_as}
    free = (id_ for id_ in count(1) if id_ not in used)
    batches = tuple(_accompanied(batch, profile, free) for batch in plan.batches)
    queries = [query for batch in batches for query in batch.queries]
    companions = {query.class_id: NOBODY for query in queries if query.companion}
    return replace(
        plan,
        batches=batches,
        rules=applied_rules([applied.rule for applied in plan.rules], queries),
        written_as={**plan.written_as, **companions},
    )


def asked_alone(plan: Plan) -> Plan:
    """The plan without companions, which are the last queries of their batches."""
    batches = tuple(
        replace(batch, queries=tuple(query for query in batch.queries if not query.companion))
        for batch in plan.batches
    )
    queries = [query for batch in batches for query in batch.queries]
    return replace(plan, batches=batches, rules=applied_rules([a.rule for a in plan.rules], queries))


def _accompanied(batch: Batch, profile: Profile, free: Iterator[int]) -> Batch:
    """The batch with each query's group, and with what is missing in these groups."""
    if any(rule.label_region is not None or rule.query_region is not None for rule in batch.stages):
        return batch
    asked = tuple(replace(query, seen_with=_places(query, profile)) for query in batch.queries)
    known = {(query.name, query.modality) for query in asked}
    missing = {
        query.name: query
        for number in dict.fromkeys(number for query in asked for number in query.seen_with)
        for query in _members(profile.seen_together[number], profile)
        if (query.name, query.modality) not in known
        and profile.rules_for(query.modality, query.kind) == batch.stages
    }
    return replace(
        batch, queries=(*asked, *(replace(query, own_class=next(free)) for query in missing.values()))
    )


def _places(query: Query, profile: Profile) -> dict[int, int]:
    """The groups with a query's target, and its place; none for a sentence that the network reads itself."""
    return {
        number: group.targets.index(query.name)
        for number, group in enumerate(profile.seen_together)
        if not query.sentence and query.modality == group.modality and query.name in group.targets
    }


def _members(group: SeenTogether, profile: Profile) -> list[Query]:
    """The trained targets of a group as companions."""
    kinds = load_vocabulary().kinds
    found = [
        replace(target.query(NOBODY, kinds.get(target.concept, "")), companion=True)
        for target in (*profile.targets, *profile.not_covered)
        if target.modality == group.modality and target.name in group.targets
    ]
    return [replace(query, seen_with=_places(query, profile)) for query in found]

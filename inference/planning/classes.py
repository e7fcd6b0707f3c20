"""What the label map of a running case holds: one class for each thing that is run, whoever asks for it.

Two prompts may ask for the same thing ("kidneys" and "left kidney"; one sentence twice). It is run once, and
each prompt's result is the union of its classes. In the label map that is written a voxel has one id: that of
the most specific prompt that asks for its class.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import count

from vesal.inference.data.prompt import Prompt, Query
from vesal.inference.planning.plan import Batch, Plan, applied_rules


def separate_classes(plan: Plan, prompts: Sequence[Prompt], marked: Collection[int] = ()) -> Plan:
    """A plan in which every query has a class of its own, and equal queries are run once.

    The first query of a prompt keeps the prompt's id as its class, so most cases stay as they are. A plan
    whose stages take regions from a label map of prompt ids is returned unchanged.

    Args:
        plan: as the family made it.
        prompts: of the case.
        marked: prompts that the user gave a mask, boxes or points: what is run for them is theirs alone.
    """
    if any(rule.label_region for batch in plan.batches for rule in batch.stages):
        return plan
    free = _free_ids({*plan.covered, *plan.refused})
    classes: dict[int, list[int]] = {}
    batches = []
    for batch in plan.batches:
        seen: dict[Query, int] = {}
        kept: list[Query] = []
        for query in batch.queries:
            key = query if query.prompt_id in marked else replace(query, prompt_id=0)
            mine = classes.setdefault(query.prompt_id, [])
            if key not in seen:
                seen[key] = next(free) if mine else query.prompt_id
                kept.append(replace(query, own_class=seen[key]))
            if seen[key] not in mine:
                mine.append(seen[key])
        batches.append(Batch(tuple(kept), batch.stages))
    queries = [query for batch in batches for query in batch.queries]
    of_prompts = {id_: tuple(mine) for id_, mine in classes.items()}
    return replace(
        plan,
        batches=tuple(batches),
        rules=applied_rules([applied.rule for applied in plan.rules], queries),
        classes=of_prompts,
        written_as=_owners(of_prompts, prompts, queries),
    )


def _free_ids(used: Collection[int]) -> Iterator[int]:
    """Ids from 1 on that no prompt has: small, so that the label map keeps its type."""
    return (id_ for id_ in count(1) if id_ not in used)


def _owners(
    classes: Mapping[int, tuple[int, ...]], prompts: Sequence[Prompt], queries: Sequence[Query]
) -> dict[int, int]:
    """Class -> the most specific prompt that asks for it: the one of fewest classes; of equal ones the one
    that names the thing itself; else the first.
    """
    names = {query.class_id: query.name for query in queries}

    def specific(prompt: Prompt) -> tuple[int, bool]:
        mine = classes[prompt.id]
        return len(mine), any(names[each] != prompt.target for each in mine)

    owners: dict[int, int] = {}
    for prompt in sorted((p for p in prompts if p.id in classes), key=specific):
        for each in classes[prompt.id]:
            owners.setdefault(each, prompt.id)
    return owners


def overlap_notes(plan: Plan, prompts: Sequence[Prompt]) -> tuple[str, ...]:
    """For log and report: which prompts ask for the same thing, and under whose id it is written."""
    called = {prompt.id: f"prompt {prompt.id} ({prompt.name})" for prompt in prompts}
    names = {query.class_id: query.name for batch in plan.batches for query in batch.queries}
    notes = _notes_of_twins(plan, called)
    for id_, mine in plan.classes.items():
        for owner in sorted({plan.written_as[each] for each in mine} - {id_}):
            shared = ", ".join(names[each] for each in mine if plan.written_as[each] == owner)
            same = set(mine) == set(plan.classes[owner])
            why = "asks for the same" if same else "is more specific"
            notes.append(
                f"{called[id_]}: {shared} has the id of {called[owner]}, which {why}; a voxel has one id"
            )
    return tuple(notes)


def _notes_of_twins(plan: Plan, called: Mapping[int, str]) -> list[str]:
    """What two prompts ask for and is run for each by itself: by published rules, or as a user marked one."""
    first: dict[Query, int] = {}
    notes = []
    rule = "a voxel has the id of the more probable one, of equal ones of the first"
    if any(getattr(each.label_maker, "later_wins", False) for batch in plan.batches for each in batch.stages):
        rule = "a voxel has the id of the later one"
    for query in (query for batch in plan.batches for query in batch.queries):
        same = first.setdefault(replace(query, prompt_id=0, own_class=None), query.prompt_id)
        if same != query.prompt_id:
            mine, other = called[query.prompt_id], called[same]
            notes.append(f"{mine} asks for {query.name} as {other} does, each run by itself: {rule}")
    return notes

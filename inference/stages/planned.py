"""What a run makes of its plan before the first stage: prompts encoded, stages as the ladder sees them."""

from __future__ import annotations

from vesal.inference.families.contract import EncodedPrompts, Family
from vesal.inference.planning.plan import Plan
from vesal.inference.timing.ladder import PlannedStage


def planned_stages(plan: Plan) -> list[PlannedStage]:
    """The stages of a plan as the ladder sees them."""
    stages = []
    for batch in plan.batches:
        run = [rule for rule in batch.stages if not rule.skip]
        stages += [PlannedStage(rule, first=rule is run[0]) for rule in run]
    return stages


def encode_prompts(model: Family, plan: Plan) -> list[EncodedPrompts]:
    """The queries of each batch as the family encodes them: all of a case at once."""
    queries = [query for batch in plan.batches for query in batch.queries]
    if not queries:
        return []
    encoded, first, parts = model.encode_prompts(queries), 0, []
    for batch in plan.batches:
        parts.append(encoded.part(range(first, first + len(batch.queries))))
        first += len(batch.queries)
    return parts

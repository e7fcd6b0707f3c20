"""One view of a refining stage, before it is run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vesal.inference.data.prompt import Query
from vesal.inference.planning.rules import StageRule
from vesal.inference.stages.view_task import ViewTask


@dataclass(frozen=True)
class RefiningView:
    """Which rows of which batch a view is for, and how it is run."""

    batch: int
    """number of the batch in the plan"""
    index: Sequence[int]
    queries: Sequence[Query]
    task: ViewTask
    region: str
    """why it lies where it lies"""
    rule: StageRule

    @property
    def names(self) -> list[str]:
        """Of the targets that are asked for."""
        return [query.name for query in self.queries if not query.companion]

    @property
    def why(self) -> str:
        """For the report: the region, and what else it is laid for."""
        beside = ", ".join(query.name for query in self.queries if query.companion)
        if not self.names:
            return f"{self.region}, for {beside} beside what is asked for"
        return f"{self.region}, laid for {beside} as well" if beside else self.region

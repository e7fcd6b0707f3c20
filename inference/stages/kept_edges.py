"""Edges of objects from the results of the last stage, kept for the caller and for rules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from vesal.inference.geometry.tilings import unpadded
from vesal.inference.planning.plan import AppliedRule
from vesal.inference.stages.kept_class import KeptClass
from vesal.inference.stages.native_views import OnView
from vesal.inference.stages.segmentation import ViewProbability
from vesal.inference.stages.stage_result import Latest


@dataclass(frozen=True)
class KeptEdges:
    """Edges by class; those of large views stay packed until they are read."""

    wanted: frozenset[int] | None
    """classes; None: all"""
    for_call: bool
    """whether the caller gets them"""
    by_class: dict[int, list[OnView]] = field(default_factory=dict)

    @classmethod
    def of(cls, rules: Sequence[AppliedRule], instance: bool, for_call: bool) -> KeptEdges:
        """Nothing yet; of all classes for the caller, else of those whose objects a rule cuts by edges."""
        cut = (applied.ids for applied in rules if instance and applied.rule.needs_edges)
        return cls(None if for_call else frozenset().union(*cut), for_call)

    @property
    def any_wanted(self) -> bool:
        """Whether edges of any class are used."""
        return self.wanted is None or bool(self.wanted)

    def add(self, latest: Latest, class_id: int) -> None:
        """Keep the edges of a class's result, if it has some and they are wanted."""
        edges = latest.result.edges
        if edges is not None and (self.wanted is None or class_id in self.wanted):
            kept = KeptClass.of(edges, latest.row, latest.view)
            self.by_class.setdefault(class_id, []).append((kept.read, unpadded(latest.view)))

    def for_caller(self) -> dict[int, list[ViewProbability]]:
        """All of them, read; none where the caller wants none."""
        if not self.for_call:
            return {}
        return {id_: [(KeptClass(read), view) for read, view in mine] for id_, mine in self.by_class.items()}

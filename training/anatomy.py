"""Which part of the body a set shows, and where a target lies: what certainly is not in a volume."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

SETS = Path(__file__).with_name("sets.json")
ANY = "any"
"""Part of the body of a set of which no target is known to be absent elsewhere."""


@dataclass(frozen=True)
class Anatomy:
    """Parts of the body, by set and by concept."""

    bodies: Mapping[str, frozenset[str]]
    """in view, by set"""
    parts: Mapping[str, frozenset[str]]
    """in which a concept may lie, where that is less than what the sets show that label it"""

    @classmethod
    def read(cls, path: Path = SETS) -> Anatomy:
        """``body`` of every set and ``parts`` of ``sets.json``."""
        content = json.loads(path.read_text(encoding="utf-8"))
        bodies = {name: frozenset(rule["body"]) for name, rule in content["sets"].items()}
        return cls(bodies, {concept: frozenset(parts) for concept, parts in content["parts"].items()})

    def where(self, concept: str, datasets: Iterable[str]) -> frozenset[str]:
        """Parts in which a concept may lie that ``datasets`` label, whatever their modality."""
        seen = frozenset[str]().union(*(self.bodies.get(name, frozenset()) for name in datasets))
        return self.parts.get(concept, seen)

    def is_absent(self, dataset: str, where: frozenset[str]) -> bool:
        """Whether no volume of a set shows what lies in ``where``; of an unknown set nothing is known."""
        here = self.bodies.get(dataset, frozenset())
        return bool(here and where) and ANY not in here | where and not here & where

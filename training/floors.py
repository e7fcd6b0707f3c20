"""What the weights must reach (``floors.json``), beside what was measured."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan, nan
from pathlib import Path

from vesal.evaluation.metrics import mean_of
from vesal.training.measure.results import markdown_table
from vesal.training.scores import Row

FLOORS = Path(__file__).with_name("floors.json")


@dataclass(frozen=True)
class Floor:
    """One mean over named targets of one set."""

    name: str
    set: str
    targets: tuple[str, ...]
    score: str
    """``final``: Dice of what is written; ``f1``: the official instance F1."""
    floor: float
    goal: float | None
    """What specialised networks reach; None where none was named."""


@dataclass(frozen=True)
class Judged:
    """A floor with its measurement."""

    floor: Floor
    value: float
    """Mean of the targets' means; NaN where nothing of the set was measured."""
    absent: tuple[str, ...]
    """Targets that no measured case shows; they are not in the mean."""
    not_covered: tuple[str, ...]
    """Targets that the weights leave empty; they count as 0."""

    @property
    def verdict(self) -> str:
        """``met``, ``missed``, ``goal met`` or ``not measured``; a mean without all targets meets nothing."""
        if isnan(self.value) or self.absent:
            return "not measured"
        if self.floor.goal is not None and self.value >= self.floor.goal:
            return "goal met"
        return "met" if self.value >= self.floor.floor else "missed"


def read_floors(path: Path = FLOORS) -> tuple[Floor, ...]:
    """All floors, in the order of the file."""
    entries = json.loads(path.read_text(encoding="utf-8"))
    return tuple(Floor(**{**entry, "targets": tuple(entry["targets"])}) for entry in entries)


def judge(floor: Floor, rows: Sequence[Row]) -> Judged:
    """Compare with the rows of all labelled targets; those that the weights do not cover count as 0."""
    values, absent, not_covered = [], [], []
    for target in floor.targets:
        found = [row for row in rows if (row.dataset, row.target) == (floor.set, target)]
        if not found:
            absent.append(target)
            continue
        if not all(row.covered for row in found):
            not_covered.append(target)
        values.append(mean_of([getattr(row, floor.score) if row.covered else 0.0 for row in found]))
    return Judged(floor, mean_of(values) if values else nan, tuple(absent), tuple(not_covered))


def floors_table(rows: Sequence[Row], floors: Sequence[Floor] | None = None) -> str:
    """Markdown: each floor with value and verdict."""
    lines = []
    for floor in read_floors() if floors is None else floors:
        judged = judge(floor, rows)
        measure = "instance F1" if floor.score == "f1" else "Dice"
        notes = []
        if judged.not_covered:
            notes.append(f"not covered, as 0: {', '.join(judged.not_covered)}")
        if judged.absent and judged.absent != floor.targets:
            notes.append(f"not in these cases: {', '.join(judged.absent)}")
        lines.append(
            (
                floor.name,
                floor.set,
                measure,
                f"{floor.floor:.2f}",
                judged.value,
                judged.verdict,
                "; ".join(notes),
            )
        )
    header = ("floor", "set", "measure", "wanted", "measured", "verdict", "note")
    return markdown_table(header, lines)

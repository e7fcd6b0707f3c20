"""What a run's page and last line tell, counted record by record; it grows with targets, not with cases."""

from __future__ import annotations

from array import array
from collections import Counter
from dataclasses import dataclass, field

from vesal.cluster.record import FAILED, Record, TargetRow
from vesal.inference.data.results import FELL_BACK, GOOD, NOT_RUN

MAX_TROUBLES, MAX_CASES, MAX_TARGETS = 200, 2000, 500
"""Kept for the page; the table has all."""


@dataclass
class OfTarget:
    """One target over the cases."""

    cases: int = 0
    found: int = 0
    volumes_ml: array[float] = field(default_factory=lambda: array("d"))
    """Those above 0."""
    probability: float = 0.0
    """Sum over the cases in which it was found."""

    def add(self, row: TargetRow) -> None:
        """One case."""
        self.cases += 1
        if row.voxels:
            self.found += 1
            self.probability += row.mean_probability or 0.0
            if row.volume_ml:
                self.volumes_ml.append(row.volume_ml)


@dataclass
class Summary:
    """Of the records that were added."""

    states: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    """Of all cases that were run, in whatever run."""
    workers: Counter[str] = field(default_factory=Counter)
    """Cases by worker."""
    worker_seconds: Counter[str] = field(default_factory=Counter)
    targets: dict[str, OfTarget] = field(default_factory=dict)
    left_out: int = 0
    """Rows of targets beyond `MAX_TARGETS`."""
    warned: Counter[str] = field(default_factory=Counter)
    """Cases by what was warned of, the first `MAX_TARGETS` of them."""
    again: int = 0
    """Cases that took more than one attempt."""
    troubles: list[Record] = field(default_factory=list)
    """The first that failed, fell back or were not run."""
    cases: list[Record] = field(default_factory=list)
    """The first of all."""

    def add(self, record: Record) -> None:
        """One case."""
        self.states[record.state] += 1
        self.again += record.attempts > 1
        if record.seconds is not None:
            self.seconds += record.seconds
            self.workers[record.worker] += 1
            self.worker_seconds[record.worker] += record.seconds  # type: ignore[assignment]
        for text in dict.fromkeys(record.warnings):
            if text in self.warned or len(self.warned) < MAX_TARGETS:
                self.warned[text] += 1
        if record.state not in GOOD and len(self.troubles) < MAX_TROUBLES:
            self.troubles.append(record)
        if len(self.cases) < MAX_CASES:
            self.cases.append(record)
        for row in record.targets:
            self._add_target(row)

    @property
    def total(self) -> int:
        """Cases."""
        return self.states.total()

    @property
    def good(self) -> int:
        """Cases with which nothing is wrong."""
        return sum(self.states[state] for state in GOOD)

    def text(self) -> str:
        """In one line."""
        told = ((self.states[state], state) for state in (FELL_BACK, FAILED, NOT_RUN))
        parts = [f"{self.good} of {self.total} cases good", *(f"{n} {word}" for n, word in told if n)]
        return ", ".join(parts)

    def _add_target(self, row: TargetRow) -> None:
        name = row.target or row.text
        if name not in self.targets and len(self.targets) >= MAX_TARGETS:
            self.left_out += 1
        else:
            self.targets.setdefault(name, OfTarget()).add(row)

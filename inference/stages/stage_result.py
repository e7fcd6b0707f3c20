"""Result of one stage for some queries, on its view."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vesal.inference.geometry.views import View
from vesal.inference.planning.rules import LabelMaker, StageRule
from vesal.inference.stages.packed_probability import Probabilities


@dataclass(frozen=True)
class StageResult:
    """Result of one stage for some queries."""

    view: View
    probability: Probabilities
    """(N, d, h, w) float32, packed where it is large"""
    presence: np.ndarray
    """(N, n) float32 per slice of the view's thick axis"""
    windows: int
    skipped: int
    seconds: float
    why: str
    dropped: int = 0
    """windows not run because time ran out; their part of the result is then missing"""
    note: str = ""
    """that windows are smaller as the GPU ran out of memory"""
    edges: Probabilities | None = None
    """(N, d, h, w) float32, as ``probability``; None where the family tells none"""


@dataclass(frozen=True)
class Latest:
    """The latest complete result of one query: a row of a stage's result."""

    result: StageResult
    row: int
    threshold: float
    """of the stage"""
    maker: LabelMaker | None = None
    """of the stage, see ``StageRule.label_maker``"""

    @classmethod
    def all_of(cls, result: StageResult, rule: StageRule) -> list[Latest]:
        """Every row of a stage's result."""
        rows = range(len(result.probability))
        return [cls(result, row, rule.threshold, rule.label_maker) for row in rows]

    @property
    def probability(self) -> np.ndarray:
        """(d, h, w) float32 on ``view``."""
        return self.result.probability[self.row]

    @property
    def view(self) -> View:
        """Where it lies."""
        return self.result.view

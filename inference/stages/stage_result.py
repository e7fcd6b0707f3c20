"""Result of one stage for some queries, on its view."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vesal.inference.geometry.views import View
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
    labels: np.ndarray | None = None
    """(D, H, W) prompt ids, where a layout of the fine stage needs them"""
    note: str = ""
    """that windows are smaller as the GPU ran out of memory"""

"""What one stage gives for some queries, on its view."""

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
    """windows left out because the time was over; the result is then good for nothing but what was seen"""
    labels: np.ndarray | None = None
    """(D, H, W) prompt ids that it makes of the volume, where a layout of the fine stage wants them"""
    note: str = ""
    """what had to be given up for want of memory"""

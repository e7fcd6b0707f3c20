"""Rule ``presence``: slices in which the network tells that a class is absent are emptied (BiomedParse-V).

`presence` is (N,D), one row a class: the probability that the class is in that slice at all, from the model's
presence head. NaN: not predicted; the slice is kept.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from vesal.postprocess.checks import require_ndim
from vesal.postprocess.rule import Share, SliceRule


class Presence(SliceRule, frozen=True):
    """Empty slices without presence (BiomedParse-V eq. 2)."""

    threshold: Share = 0.5
    """Slices whose predicted presence is at or below this are emptied."""

    needs_presence: ClassVar[bool] = True

    def keep(self, planes: np.ndarray, presence: np.ndarray) -> np.ndarray:
        """(N, S) bool of (N, S, h, w) ``planes`` and (N, S) ``presence``, see ``present_slices``."""
        return present_slices(presence, self.threshold)


def present_slices(presence: np.ndarray, threshold: float = 0.5) -> np.ndarray:
    """Where each class is present: (N,D) bool of (N,D) `presence` in 0..1 (BiomedParse-V, eq. 2).

    At the threshold and below it a class is absent; NaN counts as present. Raises ArrayShapeError.
    """
    require_ndim("presence", presence, 2, "(N,D)")
    return ~(presence <= threshold)

"""Rows of the tables: what of Bio2Vol a run has."""

from __future__ import annotations

from dataclasses import dataclass

from vesal.inference.data.cross_slice import NO_CROSS_SLICE, CrossSlice
from vesal.inference.geometry.dual_rate import DualRate

OFFSET = 2
"""Slices of the sequence between a slice and the one that it looks at, as in the paper."""


@dataclass(frozen=True)
class Row:
    """One run."""

    heads: int = 0
    """Of the cross-slice attention (CSDHA), the paper's k."""
    dual: bool = False
    """Dual-rate sampling (DRS)."""
    align: bool = False
    """The alignment loss (SAT)."""

    @property
    def cross(self) -> CrossSlice:
        """How its attention looks at other slices."""
        return CrossSlice(heads=self.heads, offset=OFFSET) if self.heads else NO_CROSS_SLICE

    @property
    def rate(self) -> DualRate:
        """How its slices are sampled; without DRS in the same parts of the volume."""
        return DualRate() if self.dual else DualRate(sparse=0)


ROWS = {
    "base": Row(),
    "csdha": Row(1),
    "csdha-drs": Row(1, True),
    "csdha-drs-sat": Row(1, True, True),
    "k0": Row(0, True, True),
    "k2": Row(2, True, True),
    "k4": Row(4, True, True),
    "drs": Row(0, True),
    "heads4": Row(4),
}
"""Table 3 of the paper, then table 4, whose k = 1 is the full model of table 3, then DRS and four heads by
themselves."""
UNTRAINED = ("csdha", "csdha-drs", "k2", "k4")
"""Rows that are also measured as they begin: the network without cross-slice attention, made to look away."""

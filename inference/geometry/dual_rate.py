"""Dual-rate sampling: which slices are run together, and how their logits are merged.

Bio2Vol section 2.1: a part of the volume of some depth is run twice by the same network, as a dense sequence
of slices and as a sparse one. The paper does not say how parts are laid over a volume, nor how the two
masks become one. Here parts overlap, a slice takes the mean logits of the sequences of a part that show it,
and then the mean over the parts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from msgspec import Meta, Struct

Count = Annotated[int, Meta(ge=1)]


class DualRate(Struct, frozen=True, forbid_unknown_fields=True):
    """Two sequences of slices through the same weights; the paper's numbers are the defaults."""

    dense: Annotated[int, Meta(ge=1, le=1)] = 1
    """Every so many slices are in the dense sequence: every one, as each slice gets its logits from it."""
    sparse: Annotated[int, Meta(ge=0)] = 2
    """The same of the sparse sequence; 0: there is none."""
    depth: Count = 7
    """Slices of a part."""
    stride: Count | None = None
    """Slices from one part to the next, at most ``depth``; null: one more than half of a part (4 of 7)."""

    def __post_init__(self) -> None:
        """Raise ValueError where the numbers contradict each other."""
        if self.sparse == self.dense:
            raise ValueError(f"`sparse` is {self.sparse}, as dense as `dense`; give 2 or more, or 0 for none")
        if self.step > self.depth:
            raise ValueError(
                f"`stride` is {self.stride} and would leave out slices between parts of {self.depth}; give "
                "`depth` at most"
            )

    @property
    def step(self) -> int:
        """Slices from one part to the next."""
        return self.depth // 2 + 1 if self.stride is None else self.stride

    @property
    def rates(self) -> tuple[int, ...]:
        """Of the sequences, the dense one first."""
        return (self.dense, self.sparse) if self.sparse else (self.dense,)


@dataclass(frozen=True, eq=False)
class Sequenced:
    """One sequence of slices: one run of the network."""

    slices: np.ndarray
    """(T,) int64, their numbers in the volume, ascending"""
    weights: np.ndarray
    """(T,) float64: what each contributes to the logits of its slice; those of a slice sum to 1"""


def parts(slices: int, depth: int, stride: int) -> list[range]:
    """Overlapping parts of a volume; the last one is shifted back to end with it.

    Args:
        slices: of the volume, 1 or more; fewer than ``depth`` are one part.
        depth: slices of a part.
        stride: from one part to the next.
    """
    last = max(0, slices - depth)
    starts = [*range(0, last, stride), last]
    return [range(start, min(start + depth, slices)) for start in starts]


def sampled(part: range, rate: int) -> np.ndarray:
    """Every ``rate``-th slice of a part, from its first: (T,) int64, T = ceil(depth / rate)."""
    return np.array(part[::rate], np.int64)


def sequences(slices: int, setting: DualRate) -> list[Sequenced]:
    """All runs of a volume of so many slices, part by part, dense before sparse."""
    all_parts = parts(slices, setting.depth, setting.step)
    in_parts = np.zeros(slices)
    for part in all_parts:
        in_parts[part.start : part.stop] += 1
    found = []
    for part in all_parts:
        chosen = [sampled(part, rate) for rate in setting.rates]
        shown = np.bincount(np.concatenate(chosen), minlength=slices)
        found += [Sequenced(each, 1 / (shown[each] * in_parts[each])) for each in chosen]
    return found


def merged(
    run: Callable[[np.ndarray], np.ndarray],
    slices: int,
    setting: DualRate,
    axis: int = 0,
    wanted: range | None = None,
) -> np.ndarray:
    """The logits of a volume, or of some of its slices, from all sequences that show them.

    A slice gets the same logits, to the bit, whatever others are wanted.

    Args:
        run: the network on one sequence: numbers of slices (T,) -> logits, with T entries along ``axis``.
        slices: of the volume.
        setting: how they are sampled.
        axis: of the slices in what ``run`` returns.
        wanted: slices next to each other, one at least; None: all.

    Returns:
        float32, as ``run`` returns them, with an entry for each wanted slice along ``axis``.
    """
    wanted = range(slices) if wanted is None else wanted
    total: np.ndarray | None = None
    for each in sequences(slices, setting):
        inside = (each.slices >= wanted.start) & (each.slices < wanted.stop)
        if not inside.any():
            continue
        logits = np.moveaxis(run(each.slices), axis, 0)
        if total is None:
            total = np.zeros((len(wanted), *logits.shape[1:]), np.float32)
        weights = each.weights[inside].astype(np.float32).reshape(-1, *[1] * (logits.ndim - 1))
        total[each.slices[inside] - wanted.start] += logits[inside] * weights
    assert total is not None  # every slice is in a part
    return np.moveaxis(total, 0, axis)

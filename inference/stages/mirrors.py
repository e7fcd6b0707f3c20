"""Test-time mirroring, as in nnU-Net: a window is run with its mirrored copies, and the mean counts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from vesal.inference.families.contract import Decoded, Window
from vesal.inference.timing.forecast import CostEstimate
from vesal.inference.timing.ladder import Costed, Effort

Axes = tuple[int, ...]
"""Of a window, thick axis first; none: the window as it is."""


def copies_along(axes: Sequence[int]) -> list[Axes]:
    """By which axes each copy is mirrored, the window itself first: all combinations."""
    return [copy for n in range(len(axes) + 1) for copy in combinations(axes, n)]


def mirrored(values: np.ndarray, axes: Axes) -> np.ndarray:
    """Values (N, d, h, w), mirrored along axes of the window."""
    return np.ascontiguousarray(np.flip(values, tuple(1 + axis for axis in axes))) if axes else values


def mirrored_window(window: Window, axes: Axes) -> Window:
    """A window without context, mirrored."""
    return replace(window, image=mirrored(window.image, axes)) if axes else window


@dataclass(frozen=True)
class CopiesLeft:
    """For the ladder: copies of a window that is being run, and what comes behind it."""

    copies: CostEstimate
    behind: Costed

    def cost(self, effort: Effort) -> list[CostEstimate]:
        """Remaining cost under an effort, of the copies first."""
        behind = self.behind.cost(effort)
        return [self.copies, *behind] if effort.mirrors else behind


def mean_of_copies(found: Iterable[Decoded], axes: Sequence[Axes]) -> Decoded:
    """The mean of what was decoded of the copies of a window.

    Args:
        found: of each copy as it was run, one after the other, of the last ones none where time was short;
            the first one is written to.
        axes: by which each is mirrored; the first by none.
    """
    each, count = iter(found), 1
    first = next(each)
    for other, along in zip(each, axes[1:], strict=False):
        count += 1
        first.probability[...] += mirrored(other.probability, along)
        if first.edges is not None and other.edges is not None:
            first.edges[...] += mirrored(other.edges, along)
        if first.presence is not None and other.presence is not None:
            first.presence[...] += other.presence[:, ::-1] if 0 in along else other.presence
    for values in (first.probability, first.edges, first.presence):
        if values is not None and count > 1:
            values /= count
    return first

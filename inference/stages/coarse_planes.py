"""Results of slices that a network tells on a coarser grid than it sees: enlarged when they are read.

A mask of a quarter of a slice's sides takes a sixteenth of the memory, and most of them, of slices without
the target, are never looked at.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vesal.inference.families.contract import Enlarge
from vesal.inference.runtime.threads import in_parallel
from vesal.inference.stages.packed_probability import PackedProbability

AT_ONCE = 4
"""Planes that one thread enlarges at a time: of 512 x 512, 4 MB as float32."""


class CoarsePlanes(PackedProbability):
    """Gives float32 probabilities (N, D, H, W) of what a network told, plane by plane."""

    def __init__(
        self, told: PackedProbability, plane: tuple[int, int], enlarge: Enlarge, keep: np.ndarray
    ) -> None:
        """``told`` is on the coarser grid, ``plane`` the size to read; planes that ``keep`` (N, n) bool does
        not hold are 0.
        """
        super().__init__(0, plane, told.axis)
        self._rows, self._edges = told.slabs
        self._told, self._enlarge, self._keep = told, enlarge, keep

    def copy(self) -> CoarsePlanes:
        """A copy; packed bytes are shared."""
        return CoarsePlanes(self._told, self._plane, self._enlarge, self._keep.copy())

    def empty_planes(self, row: int, keep: np.ndarray) -> None:
        """See ``PackedProbability.empty_planes``, ``keep`` (n,) bool; nothing is unpacked."""
        self._band = None
        self._keep[row] &= keep

    def __setitem__(self, rows: Sequence[int], values: np.ndarray) -> None:
        """Planes can only be emptied."""
        raise TypeError("results on a coarser grid cannot be replaced; empty_planes is wanted")

    def _read_rows(self, rows: Sequence[int], first: int, last: int) -> np.ndarray:
        out = np.zeros((len(rows), last - first, *self._plane), np.float32)

        def fill(part: tuple[int, int]) -> None:
            place, low = part
            kept = low + np.flatnonzero(
                self._keep[rows[place], first + low : min(last, first + low + AT_ONCE)]
            )
            if kept.size:
                planes = self._told.planes(rows[place], first + int(kept[0]), first + int(kept[-1]) + 1)
                out[place, kept] = self._enlarge(planes[kept - kept[0]], self._plane)

        in_parallel(
            fill, [(place, low) for place in range(len(rows)) for low in range(0, last - first, AT_ONCE)]
        )
        return out

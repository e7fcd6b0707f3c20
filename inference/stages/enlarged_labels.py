"""The labels of a view's grid on the volume, part by part, without seams between classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vesal.inference.geometry.resample import Taps, enlarge
from vesal.inference.geometry.views import View
from vesal.inference.runtime.threads import in_slabs
from vesal.inference.stages.contested_cells import ContestedCells
from vesal.inference.stages.grid_labels import Box, GridLabels, bounding_box
from vesal.inference.stages.lone_voxels import find_lone_voxels, restore

MOST_COLUMNS, MOST_ROWS = 256, 128
"""Of a part: larger ones hold more background, smaller ones more calls."""


@dataclass(frozen=True)
class EnlargedLabels:
    """What every part needs, found out once. Outputs are numbered from the first one in reach of a class."""

    grid: GridLabels
    first: tuple[int, ...]
    """voxel (D, H, W) of the volume that is the first output"""
    taps: tuple[Taps, ...]
    """of each axis, to all outputs"""
    cells: ContestedCells | None
    """None where there is one class only"""
    lone: np.ndarray | None
    """(d, h, w) bool, see ``find_lone_voxels``"""
    centred: tuple[Taps, ...]
    """as `taps`, see ``Taps.centred``"""

    @classmethod
    def of(cls, grid: GridLabels, shape: Sequence[int]) -> EnlargedLabels | None:
        """Bring the classes of a grid to a volume of ``shape`` (D, H, W); None where the view is outside."""
        first, taps = [], []
        for axis, (side, inputs) in enumerate(zip(covered(grid.view, shape), grid.box, strict=True)):
            whole = Taps.of(grid.view, axis, side)
            outputs = whole.within(inputs)
            if outputs.stop <= outputs.start:
                return None
            first.append(side.start + outputs.start)
            taps.append(whole.part(outputs).numbered_from(inputs.start))
        cells = ContestedCells.of(grid, taps) if len({each.id_ for each in grid.classes}) > 1 else None
        lone = find_lone_voxels(grid.probability, grid.threshold, taps)
        centred = () if lone is None else tuple(t.centred() for t in taps)
        return cls(grid, tuple(first), tuple(taps), cells, lone, centred)

    def boxes(self) -> dict[int, Box]:
        """Prompt id -> the voxels of the volume that the class can win."""
        found: dict[int, Box] = {}
        for each in self.grid.classes:
            inputs = [
                slice(s.start - b.start, s.stop - b.start)
                for s, b in zip(each.box, self.grid.box, strict=True)
            ]
            box = self.native(self._reached(inputs))
            if all(side.stop > side.start for side in box):
                found[each.id_] = hull(found.get(each.id_, box), box)
        return found

    def native(self, at: Box) -> Box:
        """Where outputs ``at`` lie in the volume."""
        d, h, w = (slice(side.start + n, side.stop + n) for side, n in zip(at, self.first, strict=True))
        return d, h, w

    def parts(self, most: int) -> list[Box]:
        """All outputs in parts of about ``most`` voxels: long along W, where they lie together in memory."""
        d, h, w = (len(t.low) for t in self.taps)
        columns = in_slabs(w, MOST_COLUMNS)
        rows = in_slabs(h, min(MOST_ROWS, most // columns[0].stop))
        planes = in_slabs(d, most // (columns[0].stop * rows[0].stop))
        return [(a, b, c) for a in planes for b in rows for c in columns]

    def foreground(self, at: Box) -> Box | None:
        """The part of outputs ``at`` that can be foreground; None where none can."""
        return self._around(self.grid.labels, at)

    def part(self, at: Box) -> tuple[np.ndarray, np.ndarray]:
        """Outputs ``at``.

        Returns:
            probability (D, H, W) float32, of the class or classes at the corners of the cell, and labels
            (D, H, W), 0 where it is not above the threshold.
        """
        probability = enlarge(self.grid.probability, _parts(self.taps, at))
        wins = probability > self.grid.threshold
        if self.cells is None:
            labels = wins * self.grid.labels.dtype.type(self.grid.classes[0].id_)
        else:
            labels = self.cells.at(at)
            labels *= wins
            self.cells.decide(probability, labels, at)
        self._restore(probability, labels, at)
        return probability, labels

    def _restore(self, probability: np.ndarray, labels: np.ndarray, at: Box) -> None:
        """Give the lone voxels of a part back, in place."""
        if self.lone is None:
            return
        here = self._around(self.lone, at)
        if here is None:
            return
        d, h, w = (slice(s.start - a.start, s.stop - a.start) for s, a in zip(here, at, strict=True))
        taps, centred = _parts(self.taps, here), _parts(self.centred, here)
        restore(self.lone, self.grid, taps, centred, probability[d, h, w], labels[d, h, w])

    def _around(self, mask: np.ndarray, at: Box) -> Box | None:
        """Those of outputs ``at`` that need voxels of a mask (d, h, w); None where it has none there."""
        used = [
            slice(int(t.low[s.start]), int(t.high[s.stop - 1]) + 1)
            for t, s in zip(self.taps, at, strict=True)
        ]
        box = bounding_box(mask[tuple(used)] > 0)
        if box is None:
            return None
        inputs = [slice(s.start + u.start, s.stop + u.start) for s, u in zip(box, used, strict=True)]
        d, h, w = (
            slice(max(s.start, a.start), min(s.stop, a.stop))
            for s, a in zip(self._reached(inputs), at, strict=True)
        )
        return d, h, w

    def _reached(self, inputs: Sequence[slice]) -> Box:
        d, h, w = (t.reached(side) for t, side in zip(self.taps, inputs, strict=True))
        return d, h, w


def covered(view: View, shape: Sequence[int]) -> Box:
    """The voxels of a volume of ``shape`` (D, H, W) that a view covers, also in part."""
    box = []
    for axis, n in enumerate(shape):
        start, stop = view.box.start[axis], view.box.stop[axis]
        first = int(np.floor(max(start, 0.0) + 1e-6))
        box.append(slice(first, max(first, int(np.ceil(min(stop, float(n)) - 1e-6)))))
    return box[0], box[1], box[2]


def hull(a: Box, b: Box) -> Box:
    """The box around two."""
    d, h, w = (slice(min(s.start, t.start), max(s.stop, t.stop)) for s, t in zip(a, b, strict=True))
    return d, h, w


def _parts(taps: Sequence[Taps], at: Box) -> list[Taps]:
    return [t.part(side) for t, side in zip(taps, at, strict=True)]

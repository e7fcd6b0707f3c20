"""The labels of a view's grid on the volume, part by part, without seams between classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from operator import or_

import numpy as np

from vesal.inference.geometry.resample import Taps, enlarge
from vesal.inference.stages.contested_cells import ContestedCells
from vesal.inference.stages.grid_labels import Box, GridLabels
from vesal.inference.stages.lone_voxels import find_lone_voxels, restore
from vesal.inference.stages.native_boxes import Projection, Sides, covered, merged, overlap, within


@dataclass(frozen=True)
class EnlargedLabels:
    """What every part needs, found out once."""

    grid: GridLabels
    shape: Sides
    """of the volume"""
    first: Sides
    """first voxel (D, H, W) that the view covers"""
    taps: tuple[Taps, ...]
    """of each axis, to all voxels that the view covers"""
    boxes: dict[int, Box]
    """prompt id -> the voxels of the volume that the class can win"""
    groups: tuple[Group, ...]
    cells: ContestedCells | None
    """None where no group is mixed"""
    lone: _Lone | None

    @classmethod
    def of(cls, grid: GridLabels, shape: Sides) -> EnlargedLabels:
        """Bring the classes of a grid to a volume of ``shape`` (D, H, W)."""
        native = covered(grid.view, shape)
        first = tuple(side.start for side in native)
        projections: dict[int, Projection] = {}
        for each in grid.classes:
            mine = Projection.of(each.mask, each.box, grid.labels.shape)
            projections[each.id_] = projections[each.id_] | mine if each.id_ in projections else mine
        found = {id_: p.native_box(grid.view, shape) for id_, p in projections.items()}
        boxes = {id_: box for id_, box in found.items() if box is not None}
        if not boxes:
            return cls(grid, shape, first, (), {}, (), None, None)
        taps = tuple(Taps.of(grid.view, axis, side) for axis, side in enumerate(native))
        groups = tuple(
            Group(
                box,
                reduce(or_, (projections[id_] for id_ in ids)),
                len(ids) > 1 or any(overlap(box, other) for id_, other in boxes.items() if id_ not in ids),
                ids[0],
            )
            for ids, box in merged(boxes)
        )
        cells = ContestedCells.of(grid, taps) if any(group.mixed for group in groups) else None
        return cls(grid, shape, first, taps, boxes, groups, cells, _Lone.of(grid, taps))

    def box(self, group: Group, planes: slice) -> Box | None:
        """The box of a group's foreground in some planes of the volume; None where it has none."""
        used = _parts(self.taps[:1], self.first, [planes])[0].used
        box = group.foreground.native_box(self.grid.view, self.shape, used)
        return None if box is None else (planes, *box[1:])

    def part(self, group: Group, at: Box) -> tuple[np.ndarray, np.ndarray]:
        """Some voxels of a group's box.

        Returns:
            probability (D, H, W) float32, of the class or classes at the corners of the cell, and labels
            (D, H, W), 0 where it is not above the threshold.
        """
        grid, taps = self.grid, _parts(self.taps, self.first, at)
        probability = enlarge(grid.probability, taps)
        wins = probability > grid.threshold
        if self.cells is not None and group.mixed:
            labels = self.cells.at(taps)
            labels *= wins
            self.cells.decide(probability, labels, taps)
        else:
            labels = wins * grid.labels.dtype.type(group.id_)
        if self.lone is not None:
            self._restore(self.lone, probability, labels, at, taps[0].used)
        return probability, labels

    def _restore(
        self, lone: _Lone, probability: np.ndarray, labels: np.ndarray, at: Box, used: slice
    ) -> None:
        """Give the lone voxels of a part back, in place."""
        box = lone.projection.native_box(self.grid.view, self.shape, used)
        box = box and overlap(box, at)
        if box is not None:
            taps, centred = (_parts(t, self.first, box) for t in (self.taps, lone.centred))
            inside = within(box, at)
            restore(lone.mask, self.grid, taps, centred, probability[inside], labels[inside])


@dataclass(frozen=True)
class Group:
    """Classes that are brought to the volume together."""

    box: Box
    """of the volume"""
    foreground: Projection
    mixed: bool
    """whether there are voxels of several classes in the box"""
    id_: int
    """prompt id of the first, which else is the only one"""


@dataclass(frozen=True)
class _Lone:
    """Voxels that interpolation loses."""

    mask: np.ndarray
    """(d, h, w) bool"""
    centred: tuple[Taps, ...]
    """of each axis, see ``Taps.centred``"""
    projection: Projection

    @classmethod
    def of(cls, grid: GridLabels, taps: Sequence[Taps]) -> _Lone | None:
        """Those of a grid; None where there are none."""
        sides = list(zip(*(each.box for each in grid.classes), strict=True))
        d, h, w = (slice(min(s.start for s in side), max(s.stop for s in side)) for side in sides)
        here = [t.within(side) for t, side in zip(taps, (d, h, w), strict=True)]
        if not all(len(t.low) for t in here):
            return None
        found = find_lone_voxels(grid.probability[d, h, w], grid.threshold, here)
        if found is None:
            return None
        mask = np.zeros(grid.labels.shape, bool)
        mask[d, h, w] = found
        projection = Projection.of(found, (d, h, w), mask.shape)
        return cls(mask, tuple(t.centred() for t in taps), projection)


def _parts(taps: Sequence[Taps], first: Sequence[int], at: Sequence[slice]) -> list[Taps]:
    """Those of voxels ``at`` of the volume, where ``taps`` begin at its voxels ``first``."""
    sides = zip(taps, first[: len(taps)], at, strict=True)
    return [t.part(slice(side.start - n, side.stop - n)) for t, n, side in sides]

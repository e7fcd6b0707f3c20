"""Labels of several classes on the grid of their view, and what brings them to the volume without seams.

A voxel of the volume lies in a cell of grid voxels. Where one class alone is above the threshold at corners
of the cell, it has the voxel if its interpolated probability is, too. Where several are, the voxel is
foreground if their interpolated maximum is: unlike each class alone it does not fall between two that touch.
Of the classes that are the most probable at some corner, the one with the highest interpolated probability
has the voxel.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np

from vesal.inference.geometry.views import View

Box = tuple[slice, slice, slice]
"""A part of a label map or of a grid (D, H, W)."""
ClassOnView = tuple[int, Callable[[], np.ndarray]]
"""Prompt id, and what gives its probability (d, h, w) float32 on the view; NaN counts as 0. It is called
twice at most, so that classes can stay packed until they are needed."""

NEIGHBOURS = (np.s_[1:], np.s_[:-1]), (np.s_[:, 1:], np.s_[:, :-1]), (np.s_[:, :, 1:], np.s_[:, :, :-1])
"""For each axis the voxels that have one before them, and these."""
KEPT_BYTES = 1 << 23
"""So much of the classes is kept from the first time that they are read to the second."""


@dataclass(frozen=True)
class GridClass:
    """A class that is above the threshold somewhere."""

    id_: int
    box: Box
    """of the grid: where it is"""
    around: Box
    """of the grid: its voxels and their neighbours"""
    values: Callable[[], np.ndarray]
    """gives its probability in that"""


@dataclass(frozen=True)
class GridLabels:
    """Classes on one grid, all with one threshold; arrays are of the part of it that matters."""

    view: View
    box: Box
    """of the grid: all voxels that are above the threshold, and their neighbours"""
    probability: np.ndarray
    """(d, h, w) float32: the maximum over the classes that are above the threshold there or beside it: no
    border hangs on a class that is not there"""
    labels: np.ndarray
    """(d, h, w) unsigned: prompt id of the most probable class, of two that are equal the first; 0 where none
    is above the threshold. Never the largest number of its type, see `several`."""
    present: np.ndarray
    """as `labels`, but `several` where several classes are above the threshold"""
    threshold: np.float32
    classes: tuple[GridClass, ...]

    @classmethod
    def of(cls, classes: Sequence[ClassOnView], view: View, threshold: float) -> GridLabels | None:
        """Decide between classes on their own grid, in fp32; None where none is above the threshold."""
        limit = np.float32(max(threshold, 0.0))
        best = np.zeros(view.shape, np.float32)
        labels = np.zeros(view.shape, _type_for(max(id_ for id_, _ in classes)))
        present, found, kept = np.zeros_like(labels), [], 0
        for id_, read in classes:
            probability = read()
            mask = probability > limit
            box = bounding_box(mask)
            if box is None:
                continue
            here = _with_neighbours(box, view.shape)
            value, mask, mine = probability[here], mask[here], labels[here]
            kept += value.nbytes
            again = value.copy().view if kept <= KEPT_BYTES else partial(_read, read, here)
            found.append(GridClass(id_, box, here, again))
            number = mask * labels.dtype.type(id_)
            if mine.any():
                mine += (number - mine) * (mask & (value > best[here]))  # wraps around, and back
                present[here] = together(present[here], number)
            else:
                mine[...] = present[here] = number
            np.fmax(best[here], np.where(_grown(mask), value, 0), out=best[here])
        if not found:
            return None
        box = _with_neighbours(_hull([each.box for each in found]), view.shape)
        best, labels, present = (np.ascontiguousarray(whole[box]) for whole in (best, labels, present))
        return cls(view, box, best, labels, present, limit, tuple(found))

    @property
    def several(self) -> int:
        """Stands for several classes."""
        return int(np.iinfo(self.labels.dtype).max)

    @cached_property
    def crowded(self) -> np.ndarray:
        """(d, h, w) bool: voxels that with their 26 neighbours have several classes."""
        around = self.present
        for after, before in NEIGHBOURS:
            grown = around.copy()
            grown[after] = together(grown[after], around[before])
            grown[before] = together(grown[before], around[after])
            around = grown
        return around == self.several


def together(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The label of each two voxels of `a` and `b` (d, h, w), of an unsigned type: that of both, or of the one
    in the foreground; else all bits set.
    """
    high, low = np.maximum(a, b), np.minimum(a, b)
    differ = (low != high) & (low > 0)
    high |= np.negative(differ.view(np.uint8).astype(high.dtype, copy=False))
    return high


def bounding_box(mask: np.ndarray) -> Box | None:
    """The box of a mask (d, h, w) bool; None where it is empty."""
    columns = np.asarray(mask.any(0))
    box = []
    for hits in (mask.any((1, 2)), columns.any(1), columns.any(0)):
        hit = np.flatnonzero(hits)
        if not hit.size:
            return None
        box.append(slice(int(hit[0]), int(hit[-1]) + 1))
    return box[0], box[1], box[2]


def _type_for(largest_id: int) -> type[np.unsignedinteger]:
    """The smallest type of labels with a number to spare."""
    return next(t for t in (np.uint8, np.uint16, np.uint32) if largest_id < np.iinfo(t).max)


def _read(read: Callable[[], np.ndarray], box: Box) -> np.ndarray:
    return read()[box]


def _with_neighbours(box: Box, shape: Sequence[int]) -> Box:
    d, h, w = (slice(max(0, s.start - 1), min(n, s.stop + 1)) for s, n in zip(box, shape, strict=True))
    return d, h, w


def _grown(mask: np.ndarray) -> np.ndarray:
    """A mask (d, h, w) bool and the 26 neighbours of its voxels."""
    for after, before in NEIGHBOURS:
        grown = mask.copy()
        grown[after] |= mask[before]
        grown[before] |= mask[after]
        mask = grown
    return mask


def _hull(boxes: Sequence[Box]) -> Box:
    d, h, w = (
        slice(min(s.start for s in side), max(s.stop for s in side)) for side in zip(*boxes, strict=True)
    )
    return d, h, w

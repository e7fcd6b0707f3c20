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
from functools import cached_property

import numpy as np

from vesal.inference.geometry.views import View

Box = tuple[slice, slice, slice]
"""A part of a label map or of a grid (D, H, W)."""
ClassOnView = tuple[int, Callable[[], np.ndarray]]
"""Prompt id, and what gives its probability (d, h, w) float32 on the view; NaN counts as 0. It is called
twice at most, so that classes can stay packed until they are needed."""


@dataclass(frozen=True)
class GridClass:
    """A class that is above the threshold somewhere."""

    id_: int
    read: Callable[[], np.ndarray]
    box: Box
    """of the grid: its voxels and their neighbours"""
    mask: np.ndarray
    """(d, h, w) bool in ``box``: where it is above the threshold"""

    @property
    def near(self) -> np.ndarray:
        """(d, h, w) bool in ``box``: its voxels and their 26 neighbours."""
        mask = self.mask
        for axis in range(3):
            grown = mask.copy()
            to, planes = np.moveaxis(grown, axis, 0), np.moveaxis(mask, axis, 0)
            to[1:] |= planes[:-1]
            to[:-1] |= planes[1:]
            mask = grown
        return mask


@dataclass(frozen=True)
class GridLabels:
    """Classes on one grid, all with one threshold."""

    view: View
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
    def of(cls, classes: Sequence[ClassOnView], view: View, threshold: float) -> GridLabels:
        """Decide between classes on their own grid, in fp32."""
        limit = np.float32(max(threshold, 0.0))
        best = np.zeros(view.shape, np.float32)
        labels = np.zeros(view.shape, _type_for(max(id_ for id_, _ in classes)))
        present, found = np.zeros_like(labels), []
        for id_, read in classes:
            probability = read()
            mask = probability > limit
            box = _box_around(mask)
            if box is None:
                continue
            found.append(GridClass(id_, read, box, mask[box]))
            value, mask = probability[box], mask[box]
            number = mask * labels.dtype.type(id_)
            np.copyto(labels[box], number, where=mask & (value > best[box]))
            present[box] = _together(present[box], number)
            np.fmax(best[box], value, out=best[box], where=found[-1].near)
        return cls(view, best, labels, present, limit, tuple(found))

    @property
    def several(self) -> int:
        """Stands for several classes."""
        return int(np.iinfo(self.labels.dtype).max)

    @cached_property
    def overlapping(self) -> bool:
        """Whether several classes are above the threshold in a voxel: else ``present`` is ``labels``."""
        return bool((self.present == self.several).any())

    @cached_property
    def crowded(self) -> np.ndarray:
        """(d, h, w) bool: voxels that with their 26 neighbours have several classes."""
        around = self.present
        for axis in range(3):
            n = around.shape[axis]
            low, high = np.maximum(np.arange(n) - 1, 0), np.minimum(np.arange(n) + 1, n - 1)
            around = _together(_together(np.take(around, low, axis), around), np.take(around, high, axis))
        return around == self.several

    def cells(self, axes: Sequence[bool]) -> np.ndarray:
        """(d, h, w) of the type of `labels`: the label of each cell, numbered by its first voxel.

        It is 0 where all of its corners are background, `several` where they have different classes, or where
        classes beside a corner in the background differ. ``axes``: along which cells are two voxels long.
        """
        cells = np.where(self.crowded & (self.labels == 0), self.labels.dtype.type(self.several), self.labels)
        for axis in np.flatnonzero(axes):
            n = cells.shape[axis]
            cells = _together(cells, np.take(cells, np.minimum(np.arange(n) + 1, n - 1), axis))
        return cells


def _type_for(largest_id: int) -> type[np.unsignedinteger]:
    """The smallest type of labels with a number to spare."""
    return next(t for t in (np.uint8, np.uint16, np.uint32) if largest_id < np.iinfo(t).max)


def _together(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The label of two voxels: that of both or of the only one in the foreground; else all bits set."""
    high, low = np.maximum(a, b), np.minimum(a, b)
    differ = (low != high) & (low > 0)
    high |= np.negative(differ.view(np.uint8).astype(high.dtype, copy=False))
    return high


def _box_around(mask: np.ndarray) -> Box | None:
    """The box of a mask (d, h, w) bool and of what is beside it; None where the mask is empty."""
    columns = np.asarray(mask.any(0))
    box = []
    for n, hits in zip(mask.shape, (mask.any((1, 2)), columns.any(1), columns.any(0)), strict=True):
        hit = np.flatnonzero(hits)
        if not hit.size:
            return None
        box.append(slice(max(0, int(hit[0]) - 1), min(n, int(hit[-1]) + 2)))
    return box[0], box[1], box[2]

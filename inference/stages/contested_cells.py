"""Cells of a grid at whose corners there are several classes: which of them has a voxel in the cell.

A cell lies between grid voxels, or along an axis on one: then the next does not count. Cells without an
output voxel are left out. Contested ones are few, so their corners are looked up once; what is interpolated
between them is computed for the same output voxel of many cells at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vesal.inference.geometry.resample import Taps, between_corners
from vesal.inference.stages.grid_labels import Box, GridLabels, together


@dataclass(frozen=True)
class Runs:
    """Cells along one axis, each with the outputs that lie in it one after the other."""

    low: np.ndarray
    """(r,) int64: the first voxel of each cell"""
    high: np.ndarray
    """(r,) int64: the other one, or the same"""
    edges: np.ndarray
    """(r + 1,) int64: its first output, and that of the next"""
    number: np.ndarray
    """(n,) int64: the cell of each output"""
    fraction: np.ndarray
    """(n,) float32: where it lies in it"""

    @classmethod
    def of(cls, taps: Taps) -> Runs:
        """The cells that the outputs of ``taps`` lie in."""
        new = np.diff(taps.low + taps.high, prepend=-1) > 0
        first = np.flatnonzero(new)
        edges = np.append(first, len(new))
        return cls(taps.low[first], taps.high[first], edges, np.cumsum(new) - 1, taps.fraction)

    def cells(self, at: slice) -> slice:
        """Cells that outputs ``at`` lie in."""
        return slice(int(self.number[at.start]), int(self.number[at.stop - 1]) + 1)

    def outputs(self, cells: np.ndarray, at: slice) -> np.ndarray:
        """(k, n) outputs of n cells (n,) that are among ``at``; the last repeats where it has less."""
        first, last = np.maximum(self.edges[cells], at.start), np.minimum(self.edges[cells + 1], at.stop) - 1
        return np.minimum(first + np.arange((last - first).max() + 1)[:, None], last)


@dataclass(frozen=True)
class ContestedCells:
    """The cells of a grid, and the candidates of those that are contested."""

    grid: GridLabels
    runs: tuple[Runs, ...]
    """of each axis"""
    labels: np.ndarray
    """(d, h, w) of the type of the grid's: 0 where all corners are background, `several` where they have
    different classes, or where classes beside a corner in the background differ"""
    contested: np.ndarray
    """(n,) int64: flat numbers of the contested cells, ascending"""
    candidates: Candidates

    @classmethod
    def of(cls, grid: GridLabels, taps: Sequence[Taps]) -> ContestedCells:
        """Those that the outputs of ``taps`` lie in."""
        runs = tuple(Runs.of(t) for t in taps)
        crowded = grid.crowded & (grid.labels == 0)
        labels = np.where(crowded, grid.labels.dtype.type(grid.several), grid.labels)
        for axis, run in enumerate(runs):
            labels = together(np.take(labels, run.low, axis), np.take(labels, run.high, axis))
        contested = np.flatnonzero(labels == grid.several)
        candidates, clear = Candidates.of(grid, _corners(runs, contested))
        labels.reshape(-1)[contested] = clear
        return cls(grid, runs, labels, contested[clear == grid.several], candidates)

    def at(self, at: Box) -> np.ndarray:
        """(D, H, W): the labels of the cells that outputs ``at`` lie in."""
        labels = self.labels[tuple(run.cells(side) for run, side in zip(self.runs, at, strict=True))]
        for axis in (0, 2, 1):
            numbers = self.runs[axis].number[at[axis]]
            labels = np.take(labels, numbers - numbers[0], axis)
        return labels

    def decide(self, probability: np.ndarray, labels: np.ndarray, at: Box) -> None:
        """Choose a class where `labels` are those of several, in place.

        Args:
            probability: (D, H, W) float32 of outputs ``at``: the interpolated maximum over the classes. Where
                a class is alone, it becomes its own.
            labels: (D, H, W).
            at: which outputs.
        """
        cells = tuple(run.cells(side) for run, side in zip(self.runs, at, strict=True))
        inside = self.labels[cells]
        found = np.flatnonzero(inside == self.grid.several)
        if not found.size:
            return
        here = np.stack(np.unravel_index(found, inside.shape)) + np.array([[side.start] for side in cells])
        number = np.searchsorted(self.contested, np.ravel_multi_index(tuple(here), self.labels.shape))
        place = self.candidates.place[number]
        order = np.argsort(place)
        place, here = place[order], here[:, order]
        d, h, w = (run.outputs(each, side) for run, each, side in zip(self.runs, here, at, strict=True))
        fractions = [run.fraction[outputs] for run, outputs in zip(self.runs, (d, h, w), strict=True)]
        _, rows, columns = labels.shape
        planes = (d - at[0].start) * (rows * columns)
        index = planes[:, None, None] + ((w - at[2].start)[:, None] + (h - at[1].start) * columns)
        labels, probability = labels.reshape(-1), probability.reshape(-1)  # views: both are contiguous
        own, chosen = self.candidates.best(place, fractions)
        alone = self.candidates.alone[place]
        own = np.where(alone, own, probability[index])
        chosen *= own > self.grid.threshold
        labels[index], probability[index] = chosen, own


@dataclass(frozen=True)
class Candidates:
    """The classes at the corners of n cells, those with the most of them first."""

    place: np.ndarray
    """(n,) int64: where each cell stands in what follows"""
    ids: list[np.ndarray]
    """for the first, second, ... candidate: (m,) prompt ids of the m cells that have so many"""
    values: list[np.ndarray]
    """the same: (8, m) float32, its probability at the corners; the last axis is fastest"""
    alone: np.ndarray
    """(n,) bool: one class alone is above the threshold at the corners"""

    @classmethod
    def of(cls, grid: GridLabels, corners: Sequence[np.ndarray]) -> tuple[Candidates, np.ndarray]:
        """Of cells, by the indices of their corners in the grid's arrays, that broadcast to (2, 2, 2, n).

        Returns:
            the candidates, and (n,) the label of each cell: `several` for those that they are of. The others
            need no choice: there is no class, or that which is alone has the maximum at all corners.
        """
        flat = _flat(corners, grid.labels.shape)
        names = grid.labels.reshape(-1)[flat]
        found, count = [], np.zeros(names.shape[1], np.int64)
        for each in grid.classes:
            own = np.flatnonzero(_inside(corners, each.around, grid.box))
            own = own[(names[:, own] == each.id_).any(0)]
            if own.size:
                sides = zip(corners, grid.box, each.around, strict=True)
                at = [index[..., own] + (whole.start - side.start) for index, whole, side in sides]
                values = each.values()
                values = np.fmax(values.reshape(-1)[_flat(at, values.shape)], np.float32(0))
                found.append((each.id_, own, count[own], values))
                count[own] += 1
        present = grid.present.reshape(-1)[flat]
        last = present.max(0, initial=0)
        first = (present - last.dtype.type(1)).min(0, initial=grid.several) + last.dtype.type(1)  # 0 is last
        alone = (first == last) & (last < grid.several)
        labels = np.where(count, names.dtype.type(grid.several), names.dtype.type(0))
        largest = grid.probability.reshape(-1)[flat]
        for id_, own, _, values in found:
            clear = alone[own] & (count[own] == 1) & (values == largest[:, own]).all(0)
            labels[own[clear]] = id_
        wanted = labels == grid.several
        found = [(id_, own[w], before[w], v[:, w]) for id_, own, before, v in found for w in [wanted[own]]]
        return cls._ordered(found, count, alone, wanted, labels.dtype), labels

    @classmethod
    def _ordered(
        cls,
        found: Sequence[tuple[int, np.ndarray, np.ndarray, np.ndarray]],
        count: np.ndarray,
        alone: np.ndarray,
        wanted: np.ndarray,
        dtype: np.dtype,
    ) -> Candidates:
        """Of ``wanted`` cells (n,) bool: from ids, cells, how many candidates they had before, values."""
        count, alone = count[wanted], alone[wanted]
        order = np.argsort(-count, kind="stable")
        place = np.empty(len(order), np.int64)
        place[order] = np.arange(len(order))
        everywhere = np.zeros(len(wanted), np.int64)
        everywhere[wanted] = place
        sizes = [np.count_nonzero(count > k) for k in range(count.max(initial=0))]
        ids = [np.zeros(n, dtype) for n in sizes]
        corner_values = [np.zeros((8, n), np.float32) for n in sizes]
        for id_, own, before, values in found:
            for k in np.flatnonzero(np.bincount(before)):
                these = np.flatnonzero(before == k)
                at = everywhere[own[these]]
                ids[k][at], corner_values[k][:, at] = id_, values[:, these]
        return cls(place, ids, corner_values, alone[order])

    def best(self, place: np.ndarray, fractions: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """The most probable candidate of n cells.

        Args:
            place: (n,) ascending.
            fractions: where outputs lie in their cells: (k, n) float32 for each axis.

        Returns:
            (D, W, H, n) float32, its probability, and its prompt id.
        """
        for k, (ids, values) in enumerate(zip(self.ids, self.values, strict=True)):
            n = int(np.searchsorted(place, len(ids)))
            if not n:
                break
            value = between_corners(values[:, place[:n]], [each[:, :n] for each in fractions])
            here = ids[place[:n]]
            if not k:
                best, labels = value, np.broadcast_to(here, value.shape).copy()
                continue
            part = labels[..., :n]
            part += (here - part) * (value > best[..., :n])  # wraps around, and back
            np.maximum(best[..., :n], value, out=best[..., :n])
        return best, labels


def _corners(runs: Sequence[Runs], cells: np.ndarray) -> list[np.ndarray]:
    """Indices of the corners of cells (n,) for each axis, which broadcast to (2, 2, 2, n)."""
    corners = []
    for axis, index in enumerate(np.unravel_index(cells, [len(run.low) for run in runs])):
        ends = np.stack([runs[axis].low[index], runs[axis].high[index]])
        corners.append(ends.reshape([2 if a == axis else 1 for a in range(3)] + [-1]))
    return corners


def _flat(corners: Sequence[np.ndarray], shape: Sequence[int]) -> np.ndarray:
    """(8, n) flat numbers of ``_corners`` in an array of ``shape``."""
    d, h, w = corners
    return ((d * shape[1] + h) * shape[2] + w).reshape(8, -1)


def _inside(corners: Sequence[np.ndarray], box: Box, whole: Box) -> np.ndarray:
    """(n,) bool: whether all ``_corners``, in a part ``whole`` of a grid, are in a ``box`` of the grid."""
    found = np.ones(corners[0].shape[-1], bool)
    for index, side, of in zip(corners, box, whole, strict=True):
        low, high = index.reshape(2, -1)
        found &= (low >= side.start - of.start) & (high < side.stop - of.start)
    return found

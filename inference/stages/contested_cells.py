"""Cells of a grid at whose corners there are several classes: which of them has a voxel in the cell.

They are few, so their corners are looked up once, and voxels are interpolated from these one by one. Along an
axis a cell is two grid voxels long, or one: output voxels on the centre of a grid voxel need no other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vesal.inference.geometry.resample import Taps
from vesal.inference.stages.grid_labels import GridLabels

CORNERS = np.array([sum(1 << c for c in range(8) if not c & ~axes) for axes in range(8)], np.uint8)
"""Which corners count (bits), by the axes along which a voxel is between two (bits: D is 4, W is 1)."""


@dataclass(frozen=True)
class ContestedCells:
    """The cells of a grid, and the candidates of those that are contested."""

    grid: GridLabels
    labels: np.ndarray
    """(d, h, w), see ``GridLabels.cells``; cells are numbered by their first voxel"""
    candidates: Candidates

    @classmethod
    def of(cls, grid: GridLabels, taps: Sequence[Taps]) -> ContestedCells:
        """Those that the outputs of ``taps`` lie in."""
        long = [bool(t.fraction.any()) for t in taps]
        labels = grid.cells(long)
        cells = np.flatnonzero(labels == grid.several)
        candidates = Candidates.of(grid, cells, long)
        # About half need no choice: the class that is alone has the maximum at all corners.
        clear = cells[candidates.clear[candidates.number[cells]]]
        if len(clear):
            labels.reshape(-1)[clear] = candidates.ids[0][candidates.number[clear]]
        return cls(grid, labels, candidates)

    def at(self, taps: Sequence[Taps]) -> np.ndarray:
        """(D, H, W): the labels of the cells that outputs lie in."""
        labels = self.labels[tuple(t.used for t in taps)]
        for axis in (0, 2, 1):
            labels = np.take(labels, taps[axis].low - taps[axis].low[0], axis)
        return labels

    def decide(self, probability: np.ndarray, labels: np.ndarray, taps: Sequence[Taps]) -> None:
        """Choose a class where `labels` are those of several, in place.

        Args:
            probability: (D, H, W) float32, above the threshold there: the interpolated maximum over the
                classes. Where a class is alone, it becomes its own.
            labels: (D, H, W).
            taps: of each axis.
        """
        labels, probability = labels.reshape(-1), probability.reshape(-1)  # views: both are contiguous
        here = np.flatnonzero(labels == self.grid.several)
        if not here.size:
            return
        at = np.unravel_index(here, [len(t.low) for t in taps])
        fraction = np.stack([t.fraction[i] for t, i in zip(taps, at, strict=True)])
        d, h, w = (t.low[i] for t, i in zip(taps, at, strict=True))
        cell = (d * self.labels.shape[1] + h) * self.labels.shape[2] + w
        corners = CORNERS[(fraction > 0).T @ np.array([4, 2, 1])]
        own = probability[here]
        labels[here] = self.candidates.decide(self.grid, cell, corners, fraction, own)
        probability[here] = own


@dataclass(frozen=True)
class Candidates:
    """The classes at the corners of n cells, those with the most of them first."""

    number: np.ndarray
    """(d h w,) int32: place of the cell that begins at a voxel"""
    ids: list[np.ndarray]
    """for the first, second, ... candidate: (m,) prompt ids of the m cells that have so many"""
    values: list[np.ndarray]
    """the same: (m, 8) float32, its probability at the corners; the last axis is fastest"""
    bits: list[np.ndarray]
    """the same: (m,) uint8, at which corners it is the most probable class"""
    corners: int
    """which corners a cell has (bits)"""
    alone: np.ndarray
    """(n,) bool: one class alone is above the threshold at these"""
    clear: np.ndarray
    """(n,) bool: it has the maximum over the classes at all corners"""

    @classmethod
    def of(cls, grid: GridLabels, cells: np.ndarray, long: Sequence[bool]) -> Candidates:
        """Of cells (n,), flat numbers, that are so long."""
        corners = _corners(cells, grid.labels.shape, long)
        names = grid.labels.reshape(-1)[corners]
        present = grid.present.reshape(-1)[corners] if grid.overlapping else names
        found, count = [], np.zeros(len(cells), np.int64)
        for each in grid.classes:
            own = np.flatnonzero((names == each.id_).any(0))
            if own.size:
                values = np.fmax(each.read().reshape(-1)[corners[:, own].T], np.float32(0))
                bits = np.packbits(names[:, own] == each.id_, 0, "little")[0]
                found.append((each.id_, own, count[own], values, bits))
                count[own] += 1
        order = np.argsort(-count, kind="stable")
        place = np.empty(len(cells), np.int32)
        place[order] = np.arange(len(cells), dtype=np.int32)
        number = np.zeros(grid.labels.size, np.int32)
        number[cells] = place
        ids = [np.zeros(np.count_nonzero(count > k), names.dtype) for k in range(count.max(initial=0))]
        corner_values = [np.zeros((len(each), 8), np.float32) for each in ids]
        all_bits = [np.zeros(len(each), np.uint8) for each in ids]
        for id_, own, before, values, bits in found:
            for k in np.flatnonzero(np.bincount(before)):
                these = before == k
                ids[k][place[own[these]]] = id_
                corner_values[k][place[own[these]]] = values[these]
                all_bits[k][place[own[these]]] = bits[these]
        last = present.max(0)
        first = np.where(present > 0, present, last).min(0)
        alone = ((first == last) & (last < grid.several))[order]
        clear = alone & (count[order] == 1)
        if clear.any():
            largest = grid.probability.reshape(-1)[corners[:, order[clear]].T]
            clear[clear] = (corner_values[0][np.flatnonzero(clear)] == largest).all(1)
        all_corners = int(CORNERS[4 * long[0] + 2 * long[1] + long[2]])
        return cls(number, ids, corner_values, all_bits, all_corners, alone, clear)

    def decide(
        self,
        grid: GridLabels,
        cell: np.ndarray,
        corners: np.ndarray,
        fraction: np.ndarray,
        probability: np.ndarray,
    ) -> np.ndarray:
        """The labels of n voxels (n,).

        Args:
            grid: that they lie on.
            cell: (n,) flat numbers of their cells.
            corners: (n,) uint8, which corners count (bits).
            fraction: (3, n) float32, where they lie in their cells.
            probability: (n,) float32; changed where a class is alone.
        """
        place = self.number[cell]
        best, labels = np.full(len(place), -1, np.float32), np.zeros(len(place), grid.labels.dtype)
        for ids, values, bits in zip(self.ids, self.values, self.bits, strict=True):
            mine = slice(None) if len(ids) == len(self.alone) else np.flatnonzero(place < len(ids))
            there = place[mine]
            value = _interpolated(values[there], fraction[:, mine])
            wins = value > best[mine]
            wins &= (bits[there] & corners[mine]) > 0
            labels[mine] = np.where(wins, ids[there], labels[mine])
            best[mine] = np.where(wins, value, best[mine])
        alone = self.alone[place]
        part = np.flatnonzero(corners != self.corners)
        alone[part] = _alone(grid, cell[part], corners[part])
        np.copyto(probability, best, where=alone)
        labels *= ~alone | (best > grid.threshold)
        return labels


def _alone(grid: GridLabels, cell: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """(n,) bool: whether one class alone is above the threshold at those corners of cells (n,) that count."""
    counts = (corners >> np.arange(8, dtype=np.uint8)[:, None]) & 1
    present = grid.present.reshape(-1)[_corners(cell, grid.present.shape, (True, True, True))] * counts
    last = present.max(0)
    first = np.where(present > 0, present, last).min(0)
    return (first == last) & (last < grid.several)


def _corners(cells: np.ndarray, shape: Sequence[int], long: Sequence[bool]) -> np.ndarray:
    """(8, n) flat numbers of the corners of cells (n,), the last axis fastest; of short cells they repeat."""
    d, h, w = (
        np.minimum(i + long[axis] * np.arange(2)[:, None], shape[axis] - 1)
        for axis, i in enumerate(np.unravel_index(cells, shape))
    )
    corners = (d[:, None, None] * shape[1] + h[:, None]) * shape[2] + w
    return np.ascontiguousarray(corners.reshape(8, len(cells)))


def _interpolated(corners: np.ndarray, fraction: np.ndarray) -> np.ndarray:
    """(n,) float32 from the corners of cells (n, 8), to the last bit as ``resample.enlarge`` gives it."""
    corners = np.ascontiguousarray(corners.T)
    corners = corners[:4] + (corners[4:] - corners[:4]) * fraction[0]
    corners = corners[::2] + (corners[1::2] - corners[::2]) * fraction[2]
    return corners[0] + (corners[1] - corners[0]) * fraction[1]

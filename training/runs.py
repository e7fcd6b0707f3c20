"""Connected components in numpy alone, where cc3d is not installed: how large each is, and its box."""

from __future__ import annotations

import importlib.util
from itertools import product

import numpy as np

from vesal.inference.geometry.region import Extent, MainExtent, main_extent

BEFORE = [(d, h) for d, h in product((-1, 0, 1), repeat=2) if (d, h) < (0, 0)]
"""Rows around a row that come before it: two runs that touch are met once."""


def extent_finder() -> MainExtent:
    """The engine's own way to the box of a class, or the one of this file where its libraries are missing."""
    there = all(importlib.util.find_spec(name) for name in ("cc3d", "msgspec"))
    return main_extent if there else extent_by_runs


def extent_by_runs(mask: np.ndarray, min_share: float) -> Extent:
    """See ``region.main_extent``: the same numbers, of a (D, H, W) bool mask."""
    counts, starts, stops = components(mask)
    large = counts >= min_share * counts.max()
    return starts[large].min(0), stops[large].max(0)


def components(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """26-connected components of a (D, H, W) bool mask that has a voxel.

    Returns:
        voxels of each (n,), and its box: first and one past the last index, (n, 3) each.
    """
    rows, first, last = _runs(mask)
    label = _joined(len(rows), *_touching(rows, first, last, mask.shape))
    _, number = np.unique(label, return_inverse=True)
    count = int(number.max()) + 1
    places = np.stack([rows // mask.shape[1], rows % mask.shape[1], first], 1)
    ends = np.stack([places[:, 0] + 1, places[:, 1] + 1, last], 1)
    starts, stops = np.full((count, 3), max(mask.shape)), np.zeros((count, 3), np.int64)
    np.minimum.at(starts, number, places)
    np.maximum.at(stops, number, ends)
    return np.bincount(number, last - first).astype(np.int64), starts, stops


def _runs(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Runs of voxels along the last axis: row ``d * H + h``, first and one past the last, each (n,)."""
    flat = np.pad(mask.reshape(-1, mask.shape[2]), ((0, 0), (1, 1))).astype(np.int8)
    change = np.diff(flat, axis=1)
    rows, first = np.nonzero(change == 1)
    return rows, first, np.nonzero(change == -1)[1]


def _touching(
    rows: np.ndarray, first: np.ndarray, last: np.ndarray, shape: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of runs, of which one lies in a row before the other's, that touch by a face, edge or corner."""
    depth, height, width = shape
    apart = width + 2  # so that a place before or behind a row is in no other
    begins, ends = rows * apart + first, rows * apart + last
    ones, others = [], []
    for d, h in BEFORE:
        at_d, at_h = rows // height + d, rows % height + h
        inside = np.flatnonzero((at_d >= 0) & (at_h >= 0) & (at_h < height))
        there = (at_d[inside] * height + at_h[inside]) * apart
        low = np.searchsorted(ends, there + first[inside])
        high = np.searchsorted(begins, there + last[inside], side="right")
        many = np.maximum(high - low, 0)
        ones.append(np.repeat(inside, many))
        within = np.arange(many.sum()) - np.repeat(many.cumsum() - many, many)
        others.append(np.repeat(low, many) + within)
    return np.concatenate(ones), np.concatenate(others)


def _joined(count: int, one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The smallest of ``count`` numbers that each is connected to by the pairs ``one``, ``other``."""
    label = np.arange(count)
    while True:
        least = label.copy()
        np.minimum.at(least, one, label[other])
        np.minimum.at(least, other, label[one])
        least = least[least]
        if np.array_equal(least, label):
            return label
        label = least

"""Which slices are shown: few, so that targets share them, and each target near its largest area."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

ENOUGH = 0.7
"""Share of a target's largest area that a slice must have to be shown for it."""
Areas = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Voxels of one target in each slice along D, H and W."""


def areas_of(labels: np.ndarray, ids: Sequence[int], objects: bool) -> dict[int, Areas]:
    """Voxels per slice of each target that has any.

    Args:
        labels: (D, H, W) whole numbers.
        ids: of the targets.
        objects: the labels are objects of the one target that ``ids`` names, whatever their value.
    """
    found = {}
    counts = _counts_along_d(labels, ids, objects)
    for id_ in ids:
        along_d = counts[id_]
        filled = np.flatnonzero(along_d)
        if not len(filled):
            continue
        along_h, along_w = np.zeros(labels.shape[1], np.int64), np.zeros(labels.shape[2], np.int64)
        for d in filled:
            mask = mask_of(labels[d], id_, objects)
            along_h += np.count_nonzero(mask, axis=1)
            along_w += np.count_nonzero(mask, axis=0)
        found[id_] = (along_d, along_h, along_w)
    return found


def mask_of(labels: np.ndarray, id_: int, objects: bool) -> np.ndarray:
    """Where a target is in labels of any shape, bool."""
    return labels > 0 if objects else labels == id_


def shared_slices(counts: Mapping[int, np.ndarray]) -> dict[int, int]:
    """A slice for each target, from its voxels per slice along one axis.

    The slice that serves most of the targets left is taken until each has one; of equal ones that with the
    largest areas, then the first.
    """
    shares = {id_: along / along.max() for id_, along in counts.items()}
    chosen: dict[int, int] = {}
    while len(chosen) < len(shares):
        left = [id_ for id_ in shares if id_ not in chosen]
        stack = np.stack([shares[id_] for id_ in left])
        good = stack >= ENOUGH
        index = int(np.argmax((good + stack * good * 1e-3).sum(0)))
        chosen |= {id_: index for row, id_ in enumerate(left) if good[row, index]}
    return chosen


def _counts_along_d(labels: np.ndarray, ids: Sequence[int], objects: bool) -> dict[int, np.ndarray]:
    """Voxels of each target in each slice along D."""
    if objects:
        along = np.array([np.count_nonzero(part) for part in labels], np.int64)
        return dict.fromkeys(ids, along)
    n = max([*ids, int(labels.max(initial=0))]) + 1
    counts = np.stack([np.bincount(part.ravel(), minlength=n) for part in labels])
    return {id_: counts[:, id_] for id_ in ids}

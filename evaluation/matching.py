"""Overlaps of two label maps, and the optimal matching of their objects."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# Voxels handled at once: the temporary codes of a 512x512x400 volume would take 0.8 GB otherwise.
CHUNK_VOXELS = 1 << 23


@dataclass(frozen=True)
class Overlaps:
    """Voxel counts of every pair of labels of two maps of one shape."""

    truth_ids: np.ndarray
    """Labels of the ground truth, ascending, 0 always first."""

    prediction_ids: np.ndarray
    """Labels of the prediction, ascending, 0 always first."""

    counts: np.ndarray
    """(len(truth_ids), len(prediction_ids)) int64: voxels that carry both labels."""

    def sizes(self, class_id: int) -> tuple[int, int, int]:
        """Return the voxels of one label: in the ground truth, in the prediction, in both. Absent means 0."""
        row = np.flatnonzero(self.truth_ids == class_id)
        column = np.flatnonzero(self.prediction_ids == class_id)
        shared = self.counts[np.ix_(row, column)]
        return int(self.counts[row].sum()), int(self.counts[:, column].sum()), int(shared.sum())


@dataclass(frozen=True)
class Matching:
    """Objects found, invented and missed at one threshold of intersection over union."""

    tp: int
    fp: int
    fn: int
    dsc_tp: float
    """Mean DSC of the matched pairs; 0 without a pair, NaN when the ground truth has no object."""

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall, in the official script's order of steps; 0 without pairs."""
        if self.tp == 0:
            return 0.0
        precision, recall = self.tp / (self.tp + self.fp), self.tp / (self.tp + self.fn)
        return 2 * precision * recall / (precision + recall)


def overlaps(truth: np.ndarray, prediction: np.ndarray) -> Overlaps:
    """Count the voxels of every pair of labels of two (D,H,W) maps of non-negative integers, in one pass."""
    truth_ids, prediction_ids = present_ids(truth), present_ids(prediction)
    rows = _positions(truth_ids) * len(prediction_ids)
    columns = _positions(prediction_ids)
    cells = len(truth_ids) * len(prediction_ids)
    counts = np.zeros(cells, dtype=np.int64)
    for part in _chunks(truth.size):
        true, predicted = truth.reshape(-1)[part], prediction.reshape(-1)[part]
        labelled = np.flatnonzero((true != 0) | (predicted != 0))  # most of a volume is background in both
        counts += np.bincount(rows[true[labelled]] + columns[predicted[labelled]], minlength=cells)
        counts[0] += len(true) - len(labelled)
    return Overlaps(truth_ids, prediction_ids, counts.reshape(len(truth_ids), len(prediction_ids)))


def present_ids(labels: np.ndarray) -> np.ndarray:
    """Return the labels of a map of any shape, ascending, with 0 in front whether it occurs or not."""
    seen = np.zeros(int(labels.max(initial=0)) + 1, dtype=bool)
    seen[0] = True
    flat = labels.reshape(-1)
    for part in _chunks(labels.size):
        chunk = flat[part]
        seen[chunk[chunk != 0]] = True
    return np.flatnonzero(seen)


def match_objects(table: Overlaps, threshold: float = 0.5) -> Matching:
    """Match objects one to one so that as many pairs as possible reach the IoU `threshold`.

    Among such matchings the one with the largest sum of IoU is taken: the official
    script's costs, so that ties fall the same way. Label 0 is background. Empty maps match nothing.
    """
    from scipy.optimize import linear_sum_assignment

    true, predicted = table.counts.sum(axis=1)[1:], table.counts.sum(axis=0)[1:]
    shared = table.counts[1:, 1:]
    if not len(true):
        return Matching(0, len(predicted), 0, float("nan"))
    if not len(predicted):
        return Matching(0, 0, len(true), 0.0)
    union = true[:, None] + predicted[None, :] - shared
    iou = shared / union
    costs = -(iou >= threshold).astype(float) - iou / (2 * min(iou.shape))
    rows, columns = linear_sum_assignment(costs)
    matched = iou[rows, columns] >= threshold
    rows, columns = rows[matched], columns[matched]
    dice = 2 * shared[rows, columns] / (true[rows] + predicted[columns])
    tp = len(rows)
    return Matching(tp, len(predicted) - tp, len(true) - tp, float(dice.mean()) if tp else 0.0)


def _positions(ids: np.ndarray) -> np.ndarray:
    """Return the table from label to its position in `ids`."""
    table = np.zeros(int(ids[-1]) + 1, dtype=np.int64)
    table[ids] = np.arange(len(ids))
    return table


def _chunks(size: int) -> list[slice]:
    return [slice(start, start + CHUNK_VOXELS) for start in range(0, size, CHUNK_VOXELS)]

"""Reduction: per-class probabilities on views -> one label and one winning probability per native voxel.

Each class touches only its own box, one after the other and slab by slab, so no array of classes x volume
ever exists, and what a slab needs stays in the processor's cache.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vesal.inference.geometry.resample import SLAB_VOXELS, Taps, enlarge
from vesal.inference.geometry.views import View
from vesal.inference.runtime.threads import in_parallel, in_slabs
from vesal.inference.stages.float16_bits import MIN_NORMAL, float16_bits, from_bits

Box = tuple[slice, slice, slice]
"""A part of a label map (D, H, W)."""


class LabelMap:
    """Labels and winning probability (float16) of one case, both (D, H, W); all background at first."""

    def __init__(self, shape: tuple[int, int, int], largest_id: int) -> None:
        self.labels = np.zeros(shape, np.uint8 if largest_id < 256 else np.uint16)
        self.probability = np.zeros(shape, np.float16)
        self.boxes: dict[int, Box] = {}
        """label -> a box that contains all of its voxels"""

    def clear(self) -> None:
        """Make all background again; only inside the boxes of the classes."""
        for box in self.boxes.values():
            self.labels[box] = 0
            self.probability[box] = 0
        self.boxes.clear()

    def keep(self, solid: np.ndarray) -> None:
        """Set everything outside of a mask (D, H, W) bool to background."""
        for box in self.boxes.values():
            self.labels[box] *= solid[box]
            self.probability[box] *= solid[box]

    def add(self, probability: np.ndarray, view: View, label: int, threshold: float) -> None:
        """Let a class win the voxels where it is above ``threshold`` and above the winner so far.

        Args:
            probability: (d, h, w) float32 on ``view``; NaN counts as 0.
            view: where it lies in the volume.
            label: prompt id, 1 or more.
            threshold: a voxel below it stays background. Equal probabilities keep the class that was added
            first.
        """
        projection = _Projection.of(probability > threshold)
        box = projection.native_box(view, self.labels.shape)
        if box is None:
            return
        self.boxes[label] = _hull(self.boxes.get(label, box), box)
        depth = Taps.of(view, 0, box[0])
        cut = np.fmax(probability, np.float32(MIN_NORMAL), dtype=np.float32)
        limit = float16_bits(np.array([max(threshold, MIN_NORMAL)]))[0]
        planes, rows, columns = (side.stop - side.start for side in box)

        def reduce(slab: slice) -> None:
            # The box of this slab alone, which is smaller than that of the class.
            taps = depth.part(slab)
            here = projection.native_box(view, self.labels.shape, taps.used)
            if here is None:
                return
            bits = float16_bits(enlarge(cut, [taps, Taps.of(view, 1, here[1]), Taps.of(view, 2, here[2])]))
            native = slice(box[0].start + slab.start, box[0].start + slab.stop)
            self._let_win(bits, (native, here[1], here[2]), label, limit)

        in_parallel(reduce, in_slabs(planes, SLAB_VOXELS // (rows * columns)))

    def snapshot(self) -> Snapshot:
        """The labels as they are now, for a map that later results are brought into one by one."""
        return Snapshot(self.labels.copy(), dict(self.boxes))

    def box(self, label: int, margin: tuple[int, int, int] = (0, 0, 0)) -> Box | None:
        """A box that contains all voxels of a class and ``margin`` voxels around, None where it has none.

        The whole map where it was not filled by `add`.
        """
        if not self.boxes:
            d, h, w = (slice(0, n) for n in self.labels.shape)
            return d, h, w
        box = self.boxes.get(label)
        if box is None or not any(margin):
            return box
        sides = zip(box, margin, self.labels.shape, strict=True)
        d, h, w = (slice(max(0, s.start - m), min(n, s.stop + m)) for s, m, n in sides)
        return d, h, w

    def totals(self, label: int, written: np.ndarray) -> tuple[int, float]:
        """Voxels of a class, and the sum of their probabilities, where ``written`` (D, H, W) is not 0."""
        box = self.box(label)
        if box is None:
            return 0, 0.0
        planes, rows, columns = box

        def total(slab: slice) -> tuple[int, float]:
            at = (slice(planes.start + slab.start, planes.start + slab.stop), rows, columns)
            mine = self.labels[at] == label
            if written is not self.labels:
                mine &= written[at] != 0
            bits = self.probability.view(np.uint16)[at][mine]
            return len(bits), float(from_bits(bits).sum(dtype=np.float64))

        thickness = SLAB_VOXELS // max(1, (rows.stop - rows.start) * (columns.stop - columns.start))
        found = in_parallel(total, in_slabs(planes.stop - planes.start, thickness))
        return sum(n for n, _ in found), sum(s for _, s in found)

    def _let_win(self, bits: np.ndarray, at: Box, label: int, limit: np.unsignedinteger) -> None:
        """Take over the voxels ``at`` where ``bits`` (float16) are above ``limit`` and the winner.

        float16 numbers from 0 on keep their order when read as integers. numpy compares and multiplies
        integers faster than it converts float16 or assigns by a mask.
        """
        best, labels = self.probability.view(np.uint16)[at], self.labels[at]
        wins = bits > limit
        wins &= bits > best
        if not wins.any():
            return
        bits *= wins
        np.maximum(best, bits, out=best)
        change = labels.dtype.type(label) - labels  # wraps around, and back
        change *= wins
        labels += change


@dataclass(frozen=True)
class Snapshot:
    """A label map on its own, and the boxes of its classes."""

    labels: np.ndarray
    """(D, H, W) unsigned, prompt ids"""
    boxes: dict[int, Box]

    def take(self, label: int, other: LabelMap, keep: bool = False) -> None:
        """Take one class from another map, in place of what it was here, or with ``keep`` beside it."""
        old, new = self.boxes.get(label), other.boxes.get(label)
        if old is not None and not keep:
            part = self.labels[old]
            part *= part != label
        if new is not None:
            self.boxes[label] = _hull(old, new) if old is not None and keep else new
            np.copyto(self.labels[new], other.labels.dtype.type(label), where=other.labels[new] == label)


@dataclass(frozen=True)
class _Projection:
    """A mask (d, h, w) projected along each of its last two axes: enough for the box of any of its planes."""

    rows: np.ndarray
    """(d, h) bool"""
    columns: np.ndarray
    """(d, w) bool"""

    @classmethod
    def of(cls, mask: np.ndarray) -> _Projection:
        """Project a mask (d, h, w) bool."""
        return cls(np.asarray(mask.any(axis=2)), np.asarray(mask.any(axis=1)))

    def native_box(self, view: View, shape: tuple[int, ...], planes: slice = slice(None)) -> Box | None:
        """Native voxels that linear interpolation can raise above the threshold: the box of the mask in some
        planes of the view, and one voxel more. None where the mask is empty.
        """
        depth = np.zeros(len(self.rows), bool)
        depth[planes] = self.rows[planes].any(axis=1)
        box = []
        hits_by_axis = (depth, self.rows[planes].any(axis=0), self.columns[planes].any(axis=0))
        for axis, hits in enumerate(hits_by_axis):
            hit = np.flatnonzero(hits)
            if not hit.size:
                return None
            low = view.start[axis] + (int(hit[0]) - 1) * view.step[axis]
            high = view.start[axis] + (int(hit[-1]) + 2) * view.step[axis]
            # Not beyond the view's border: nothing was predicted there.
            low = max(low, view.start[axis], 0.0)
            high = min(high, view.start[axis] + view.shape[axis] * view.step[axis], float(shape[axis]))
            first, last = int(np.floor(low + 1e-6)), int(np.ceil(high - 1e-6))
            if last <= first:
                return None
            box.append(slice(first, last))
        return box[0], box[1], box[2]


def _hull(a: Box, b: Box) -> Box:
    d, h, w = (slice(min(s.start, t.start), max(s.stop, t.stop)) for s, t in zip(a, b, strict=True))
    return d, h, w

"""Reduction: per-class probabilities on views -> one label and one probability per native voxel.

The classes of one view are brought to the volume together (see ``stages.grid_labels``), part by part, so no
array of classes x volume ever exists, and what a part needs stays in the processor's cache. A class by itself
is interpolated only where it touches another one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vesal.inference.geometry.resample import SLAB_VOXELS
from vesal.inference.geometry.views import View
from vesal.inference.planning.rules import LabelMaker, NativeLabels
from vesal.inference.runtime.threads import in_parallel, in_slabs
from vesal.inference.stages.enlarged_labels import EnlargedLabels, hull
from vesal.inference.stages.grid_labels import Box, ClassOnView, GridLabels
from vesal.postprocess.components import class_boxes


class LabelMap:
    """Labels and probability (float32) of one case, both (D, H, W); all background at first.

    Memory of the probability is taken where a class is, not for the whole volume.
    """

    def __init__(self, shape: tuple[int, int, int], largest_id: int) -> None:
        self.labels = np.zeros(shape, np.uint8 if largest_id < 256 else np.uint16)
        self.probability = np.zeros(shape, np.float32)
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
        """Let one class (d, h, w) float32 win, see ``add_classes``."""
        self.add_classes([(label, lambda: probability)], view, threshold)

    def add_classes(
        self,
        classes: Sequence[ClassOnView],
        view: View,
        threshold: float,
        maker: LabelMaker | None = None,
    ) -> None:
        """Let the classes of one view win the voxels where they are foreground and above the winner so far.

        Args:
            classes: prompt ids, 1 or more, and probabilities.
            view: where they lie in the volume.
            threshold: a voxel below it stays background. Of equal probabilities the class that was added
                first wins.
            maker: makes the labels instead, see ``StageRule.label_maker``.
        """
        if not classes:
            return
        if maker is not None:
            self.put(maker.native_labels(((id_, read()) for id_, read in classes), view, threshold))
            return
        grid = GridLabels.of(classes, view, threshold)
        enlarged = None if grid is None else EnlargedLabels.of(grid, self.labels.shape)
        if enlarged is None:
            return
        for id_, box in enlarged.boxes().items():
            self.boxes[id_] = hull(self.boxes.get(id_, box), box)

        def fill(part: Box) -> None:
            at = enlarged.foreground(part)
            if at is not None:
                probability, labels = enlarged.part(at)
                self._let_win(probability, labels, enlarged.native(at))

        in_parallel(fill, enlarged.parts(2 * SLAB_VOXELS))

    def put(self, found: NativeLabels) -> None:
        """Lay the labels of a part of the volume over the map, which is widened where they do not fit; what
        lies beyond its end is left out.
        """
        sides = zip(found.corner, found.labels.shape, self.labels.shape, strict=True)
        at = tuple(slice(a, min(a + n, m)) for a, n, m in sides)
        part = tuple(slice(0, side.stop - side.start) for side in at)
        found = NativeLabels(found.corner, found.labels[part], found.probability[part])
        boxes = class_boxes(found.labels)
        if boxes and max(boxes) > np.iinfo(self.labels.dtype).max:
            self.labels = self.labels.astype(np.min_scalar_type(max(boxes)))
        mine = (found.labels > 0) & (found.probability > self.probability[at])
        np.copyto(self.labels[at], found.labels, where=mine, casting="same_kind")
        np.copyto(self.probability[at], found.probability, where=mine)
        for label, box in boxes.items():
            d, h, w = (slice(a + s.start, a + s.stop) for a, s in zip(found.corner, box, strict=True))
            self.boxes[label] = hull(self.boxes.get(label, (d, h, w)), (d, h, w))

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
            values = self.probability[at][mine]
            return len(values), float(values.sum(dtype=np.float64))

        thickness = SLAB_VOXELS // max(1, (rows.stop - rows.start) * (columns.stop - columns.start))
        found = in_parallel(total, in_slabs(planes.stop - planes.start, thickness))
        return sum(n for n, _ in found), sum(s for _, s in found)

    def _let_win(self, probability: np.ndarray, labels: np.ndarray, at: Box) -> None:
        """Take over the voxels ``at`` that have a label and are above the winner so far.

        numpy multiplies faster than it assigns by a mask; most parts are empty before.
        """
        best, mine = self.probability[at], self.labels[at]
        wins = labels > 0
        if not mine.any():
            np.multiply(probability, wins, out=best)
            mine[...] = labels
            return
        wins &= probability > best
        probability *= wins
        np.maximum(best, probability, out=best)
        change = labels.astype(mine.dtype, copy=False) - mine  # wraps around, and back
        change *= wins
        mine += change


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
            self.boxes[label] = hull(old, new) if old is not None and keep else new
            np.copyto(self.labels[new], other.labels.dtype.type(label), where=other.labels[new] == label)

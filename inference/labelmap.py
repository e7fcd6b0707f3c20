"""Reduction: per-class probabilities on views -> one label and one winning probability per native voxel.

Each class touches only its own box, one after the other and slab by slab, so no array of classes x volume
ever exists, and what a slab needs stays in the processor's cache.
"""

from __future__ import annotations

import numpy as np

from inference.geometry import View
from inference.halves import LEAST, half_bits
from inference.parallel import in_parallel, in_slabs
from inference.resample import SLAB_VOXELS, Taps, grow


class LabelMap:
    """Labels and winning probability (float16) of one case, both (D, H, W); all background at first."""

    def __init__(self, shape: tuple[int, int, int], largest_id: int) -> None:
        self.labels = np.zeros(shape, np.uint8 if largest_id < 256 else np.uint16)
        self.probability = np.zeros(shape, np.float16)
        self.boxes: dict[int, tuple[slice, slice, slice]] = {}
        """label -> a box outside of which it does not occur"""

    def add(self, probability: np.ndarray, view: View, label: int, threshold: float) -> None:
        """Let a class win the voxels where it is above ``threshold`` and above the winner so far.

        Args:
            probability: (d, h, w) float32 on ``view``; NaN counts as 0.
            view: where it lies in the volume.
            label: prompt id, 1 or more.
            threshold: a voxel below it stays background. Equal probabilities keep the class that was added
            first.
        """
        box = self._native_box(probability > threshold, view)
        if box is None:
            return
        self._grow_box(label, box)
        taps = [Taps.of(view, axis, box[axis]) for axis in range(3)]
        cut = np.fmax(probability, np.float32(LEAST), dtype=np.float32)
        planes, rows, columns = (side.stop - side.start for side in box)
        limit = half_bits(np.array([max(threshold, LEAST)]))[0]

        def reduce(slab: slice) -> None:
            here = half_bits(grow(cut, [taps[0].part(slab), taps[1], taps[2]]))
            native = slice(box[0].start + slab.start, box[0].start + slab.stop)
            self._let_win(here, (native, box[1], box[2]), label, limit)

        in_parallel(reduce, in_slabs(planes, SLAB_VOXELS // (rows * columns)))

    def _let_win(
        self, bits: np.ndarray, at: tuple[slice, slice, slice], label: int, limit: np.unsignedinteger
    ) -> None:
        """Take over the voxels ``at`` where ``bits`` (half precision) are above ``limit`` and the winner.

        Numbers of half precision from 0 on keep their order when read as integers, and integers compare and
        multiply many at a time where numpy converts halves one by one, and assigns by a mask one by one.
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

    def _grow_box(self, label: int, box: tuple[slice, slice, slice]) -> None:
        self.boxes[label] = _hull(self.boxes.get(label, box), box)

    def _native_box(self, mask: np.ndarray, view: View) -> tuple[slice, slice, slice] | None:
        """Native voxels that linear interpolation can lift above the threshold: the mask's box and one
        voxel more.
        """
        box = []
        # Planes, then rows, then columns: the whole is looked at once.
        planes, below = np.any(mask, axis=(1, 2)), np.any(mask, axis=0)
        for axis, hits in enumerate((planes, np.any(below, axis=1), np.any(below, axis=0))):
            hit = np.flatnonzero(hits)
            if not hit.size:
                return None
            low = view.start[axis] + (int(hit[0]) - 1) * view.step[axis]
            high = view.start[axis] + (int(hit[-1]) + 2) * view.step[axis]
            # A class at the view's border must not spill past it: beyond, nobody looked.
            low = max(low, view.start[axis], 0.0)
            high = min(
                high, view.start[axis] + view.shape[axis] * view.step[axis], float(self.labels.shape[axis])
            )
            first, last = int(np.floor(low + 1e-6)), int(np.ceil(high - 1e-6))
            if last <= first:
                return None
            box.append(slice(first, last))
        return box[0], box[1], box[2]


def _hull(a: tuple[slice, slice, slice], b: tuple[slice, slice, slice]) -> tuple[slice, slice, slice]:
    d, h, w = (slice(min(s.start, t.start), max(s.stop, t.stop)) for s, t in zip(a, b, strict=True))
    return d, h, w

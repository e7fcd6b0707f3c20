"""Reduction: per-class probabilities on views -> one label and one winning probability per native voxel.

Each class touches only its own box, one after the other, so no array of classes x volume ever exists.
"""

from __future__ import annotations

import numpy as np

from inference.geometry import View
from inference.resample import to_native

SLAB_VOXELS = 1 << 22
"""Native voxels of one class interpolated at a time: 16 MB of float32."""


class LabelMap:
    """Labels and winning probability (float16) of one case, both (D, H, W); all background at first."""

    def __init__(self, shape: tuple[int, int, int], largest_id: int) -> None:
        self.labels = np.zeros(shape, np.uint8 if largest_id < 256 else np.uint16)
        self.probability = np.zeros(shape, np.float16)

    def add(self, probability: np.ndarray, view: View, label: int, threshold: float) -> None:
        """Let a class win the voxels where it is above ``threshold`` and above the winner so far.

        Args:
            probability: (d, h, w) float32 on ``view``.
            view: where it lies in the volume.
            label: prompt id, 1 or more.
            threshold: a voxel below it stays background. Equal probabilities keep the class that was added
            first.
        """
        box = self._native_box(probability > threshold, view)
        if box is None:
            return
        slab = max(1, SLAB_VOXELS // max(1, (box[1][1] - box[1][0]) * (box[2][1] - box[2][0])))
        for first in range(box[0][0], box[0][1], slab):
            last = min(first + slab, box[0][1])
            corner = (first, box[1][0], box[2][0])
            shape = (last - first, box[1][1] - box[1][0], box[2][1] - box[2][0])
            here = to_native(probability, view, corner, shape).astype(np.float16)
            at = tuple(slice(c, c + n) for c, n in zip(corner, shape, strict=True))
            wins = (here > threshold) & (here > self.probability[at])
            self.labels[at][wins] = label
            self.probability[at][wins] = here[wins]

    def _native_box(self, mask: np.ndarray, view: View) -> list[tuple[int, int]] | None:
        """Native voxels that linear interpolation can lift above the threshold: the mask's box and one
        voxel more.
        """
        box = []
        for axis in range(3):
            hit = np.flatnonzero(mask.any(tuple(a for a in range(3) if a != axis)))
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
            box.append((first, last))
        return box

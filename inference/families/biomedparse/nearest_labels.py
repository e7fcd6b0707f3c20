"""Labels as the released code of BiomedParse-V makes them: decided on the network's grid, then moved.

A voxel takes the class with the highest probability above the threshold, of equals the first; the label map
goes back by the nearest pixel, and what was added to make a square is cut off.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from vesal.inference.families.published.labels import labels_on_view
from vesal.inference.geometry.views import View
from vesal.inference.planning.rules import NativeLabels


@dataclass(frozen=True)
class NearestLabels:
    """Makes the labels of a stage; a ``planning.rules.LabelMaker``."""

    shape: tuple[int, int, int]
    """of the volume, (D, H, W)"""

    by_slices = True

    def native_labels(
        self, classes: Iterable[tuple[int, np.ndarray]], view: View, threshold: float
    ) -> NativeLabels:
        """Labels of classes (d, h, w) float32 on a view of ``geometry.square_slices``, as for every
        ``planning.rules.LabelMaker``.
        """
        labels, highest = labels_on_view(classes, view.shape, threshold, sums=False)
        corner = []
        for axis, (start, step, side) in enumerate(zip(view.start, view.step, view.shape, strict=True)):
            first, size = round(start), round(step * side)
            low, high = max(0, first), min(self.shape[axis], first + size)
            corner.append(low)
            if size == side:
                at = np.arange(low - first, high - first)
            else:
                at = _nearest(size, side)[low - first : high - first]
            labels, highest = labels.take(at, axis), highest.take(at, axis)
        return NativeLabels((corner[0], corner[1], corner[2]), labels, highest)


def _nearest(n_out: int, n_in: int) -> np.ndarray:
    """The input of each output, (n_out,): as torch's ``nearest`` has it, floor(i n_in / n_out) in float32."""
    scale = np.float32(n_in) / np.float32(n_out)
    at = np.floor(np.arange(n_out, dtype=np.float32) * scale).astype(np.int64)
    clipped: np.ndarray = np.minimum(at, n_in - 1)
    return clipped

"""Who has a voxel that several prompts claim, as released: the later one, however sure the earlier is."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from vesal.inference.geometry.resample import to_native
from vesal.inference.geometry.views import View
from vesal.inference.planning.rules import NativeLabels


@dataclass(frozen=True)
class LaterWins:
    """Makes the labels of a stage; a ``planning.rules.LabelMaker``."""

    by_slices, later_wins = False, True

    def native_labels(
        self, classes: Iterable[tuple[int, np.ndarray]], view: View, threshold: float
    ) -> NativeLabels:
        """Labels of the classes (d, h, w) float32 on a view, those of later classes over those before.

        The part is that of the view which lies in the volume from its first voxel on; what lies beyond the
        volume's end is cut off by who lays it.
        """
        box = view.box
        first = [max(0, round(a)) for a in box.start]
        stop = [max(f + 1, round(b)) for f, b in zip(first, box.stop, strict=True)]
        corner = first[0], first[1], first[2]
        shape = stop[0] - first[0], stop[1] - first[1], stop[2] - first[2]
        labels, highest = np.zeros(shape, np.uint32), np.zeros(shape, np.float32)
        for id_, values in classes:
            found = to_native(values, view, corner, shape)
            above = found > threshold
            labels[above] = id_
            np.copyto(highest, found, where=above)
        return NativeLabels(corner, labels.astype(np.min_scalar_type(labels.max(initial=0))), highest)

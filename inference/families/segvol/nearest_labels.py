"""Labels of zoom-out alone, by the nearest voxel as the released code brings its logits back."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from vesal.inference.families.published.labels import labels_on_view
from vesal.inference.geometry.nearest import nearest
from vesal.inference.geometry.views import Sides, View
from vesal.inference.planning.rules import NativeLabels


@dataclass(frozen=True)
class NearestLabels:
    """Makes the labels of a stage; a ``planning.rules.LabelMaker``."""

    start: Sides
    """first voxel (D, H, W) of the part of the volume that is looked at"""
    shape: Sides
    """of that part"""

    by_slices = False

    def native_labels(
        self, classes: Iterable[tuple[int, np.ndarray]], view: View, threshold: float
    ) -> NativeLabels:
        """Labels of classes (d, h, w) float32, the most probable has a voxel, of equals the first."""
        labels, highest = labels_on_view(classes, view.shape, threshold, sums=False)
        at = np.ix_(*(nearest(n, m) for n, m in zip(self.shape, view.shape, strict=True)))
        return NativeLabels(self.start, labels[at], highest[at])

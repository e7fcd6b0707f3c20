"""Labels on the volume's grid as the published code makes them: decided on the view, then moved."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from vesal.inference.families.published.resampling import corner_resample, resample, resample_labels
from vesal.inference.geometry.views import Sides, View
from vesal.inference.planning.rules import NativeLabels
from vesal.postprocess.rule import Count, MapRule
from vesal.postprocess.specks import remove_specks


@dataclass(frozen=True)
class PublishedLabels:
    """Makes the labels of a stage; a ``planning.rules.LabelMaker``."""

    corners: bool = False
    """Labels go back by nearest neighbour with the corners in place (SAT); else by each one's interpolated
    mask (Medal S)."""
    sums: bool = False
    """See ``labels_on_view``."""

    by_slices = False

    def native_labels(
        self, classes: Iterable[tuple[int, np.ndarray]], view: View, threshold: float
    ) -> NativeLabels:
        """Labels of the (d, h, w) voxels that a view was sampled from, see ``planning.rules.LabelMaker``.

        The view has a sampling, and no padding any more.
        """
        assert view.sampling is not None
        labels, highest = labels_on_view(classes, view.shape, threshold, self.sums)
        source = view.sampling.source
        if self.corners:
            moved = corner_resample(labels, source, nearest=True), corner_resample(highest, source)
        else:
            moved = resample_labels(labels, source), resample(highest, source)
        return NativeLabels((view.first(0), view.first(1), view.first(2)), *moved)


def labels_on_view(
    classes: Iterable[tuple[int, np.ndarray]], shape: Sides, threshold: float, sums: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Decide the labels of a view.

    Args:
        classes: prompt ids, each with its probability (d, h, w) float32.
        shape: of the view, (d, h, w).
        threshold: a class has the voxels where it is above this.
        sums: where classes overlap, their ids are added up (``docs/sat.md`` 10); else the most probable one
            has the voxel, of equals the first.

    Returns:
        labels, (d, h, w) of the smallest unsigned type; and the highest probability, (d, h, w) float32.
    """
    labels, highest = np.zeros(shape, np.uint32), np.zeros(shape, np.float32)
    for id_, values in classes:
        above = values > threshold
        if sums:
            labels += np.uint32(id_) * above
        else:
            labels[above & (values > highest)] = id_
        np.fmax(highest, values, out=highest)
    return labels.astype(np.min_scalar_type(labels.max(initial=0))), highest


class ForegroundMask(MapRule, frozen=True):
    """Medal S where objects are wanted: one mask of all, without specks (``docs/medal_s.md`` 5, 6)."""

    min_voxels: Count = 1
    """6-connected components of fewer voxels go, of all labels together."""

    def split(self, labels: np.ndarray) -> np.ndarray:
        """(D, H, W) prompt ids -> (D, H, W) uint8, 0 or 1."""
        return remove_specks(labels, self.min_voxels).astype(np.uint8)


class UnsplitLabels(MapRule, frozen=True):
    """SAT where objects are wanted: the labels as they are (``docs/sat.md`` 13)."""

    def split(self, labels: np.ndarray) -> np.ndarray:
        """(D, H, W) prompt ids -> the same array."""
        return labels

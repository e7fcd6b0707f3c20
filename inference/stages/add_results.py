"""Results of a stage are laid over the label map: those on one grid together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from vesal.inference.geometry.tilings import unpadded, without_padding
from vesal.inference.geometry.views import View, triple
from vesal.inference.planning.rules import LabelMaker
from vesal.inference.stages.label_map import LabelMap
from vesal.inference.stages.stage_result import Latest

SLAB_VOXELS = 1 << 22
"""Of all classes together: 16 MB of float32 are unpacked at a time, one slice at least."""


Classes = list[tuple[int, Latest]]
"""Ids, each with its result."""


def add_results(labels: LabelMap, results: Classes) -> None:
    """Let results win voxels of a label map, which is changed in place."""
    grids: dict[tuple[View, float, LabelMaker | None], Classes] = {}
    for id_, latest in results:
        grids.setdefault((unpadded(latest.view), latest.threshold, latest.maker), []).append((id_, latest))
    for (view, threshold, maker), classes in grids.items():
        if maker is not None and maker.by_slices:
            _add_by_slices(labels, classes, view, threshold, maker)
        else:
            read = [(id_, partial(_own_probability, latest)) for id_, latest in classes]
            labels.add_classes(read, view, threshold, maker)


def _own_probability(latest: Latest) -> np.ndarray:
    """(d, h, w) float32 without what its sampling appended."""
    return without_padding(latest.probability, latest.view)[0]


def _add_by_slices(
    labels: LabelMap,
    classes: Sequence[tuple[int, Latest]],
    view: View,
    threshold: float,
    maker: LabelMaker,
) -> None:
    """Lay the labels of one view over a map, some slices at a time (``LabelMaker.by_slices``).

    Args:
        labels: of the case; changed in place.
        classes: ids, each with its result on ``view``.
        view: of all of them.
        threshold: see ``LabelMaker.native_labels``.
        maker: labels every slice by itself.
    """
    axis, length = view.thick_axis, view.shape[view.thick_axis]
    plane = math.prod(view.shape) // length
    step = max(1, SLAB_VOXELS // (plane * len(classes)))
    for first in range(0, length, step):
        slab = slice(first, min(length, first + step))
        at = tuple(slab if a == axis else slice(None) for a in range(3))
        parts: dict[int, np.ndarray] = {}
        for _, latest in classes:
            # All classes of a result are unpacked at once.
            if id(latest.result) not in parts:
                parts[id(latest.result)] = latest.result.probability[(slice(None), *at)]
        found = [(id_, parts[id(latest.result)][latest.row]) for id_, latest in classes]
        labels.put(maker.native_labels(found, _part_of(view, slab), threshold))


def _part_of(view: View, slab: slice) -> View:
    """Some slices of a view."""
    axis = view.thick_axis
    start, shape = list(view.start), list(view.shape)
    start[axis] += slab.start * view.step[axis]
    shape[axis] = slab.stop - slab.start
    return replace(view, start=triple(start), shape=(shape[0], shape[1], shape[2]))

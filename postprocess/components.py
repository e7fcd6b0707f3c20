"""Connected components chosen by probability and size (Medal S, algorithm 3, section 2.9).

Labels and probabilities are (D,H,W). A class is looked at only inside its own bounding box, and all its
components are measured in one labelling: cost grows with the boxes, not with the number of components.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import cc3d
import numpy as np

from vesal.postprocess.checks import require_ndim, require_same_shape
from vesal.postprocess.instances import hits_by_axis

# Means of float32 probabilities are summed in float64; what is left of the float32 rounding near 1 is about
# 6e-8. A mean closer than this to a border counts as lying on it: no choice hangs on the last bit.
BORDER = 1e-6

WORTH_TAKING = 0.9
"""A copy without empty planes is made where at most this share of an axis is left."""

Box = tuple[slice, slice, slice]


@dataclass(frozen=True)
class ComponentRules:
    """What decides which components of one class stay (defaults: Medal S, algorithm 3)."""

    max_components: int = 3
    """Components considered, by size; anything smaller is always dropped. The paper takes three."""

    max_probability_drop: float = 0.1
    """Mean probability may fall this much below the best one for a component to be kept beside it."""

    high_probability: float = 0.86
    """Mean probability above which a component may be kept beside another one."""

    together: int = 2
    """Fewest sure and close components for all of them to be kept (a single one falls to the rule below)."""

    finalists: int = 2
    """The surest component wins over the largest only when it is among this many largest ones."""

    min_size_ratio: float | None = 0.6
    """... and only with at least this share of the largest one's voxels, as in the paper. None or 0 leaves
    the ratio out, as the authors' published code does: there a few sure voxels can replace an organ."""


def filter_components(
    labels: np.ndarray,
    probability: np.ndarray,
    ids: Iterable[int] | None = None,
    rules: ComponentRules = ComponentRules(),
) -> np.ndarray:
    """Keep, for each class, only the components that the rules choose.

    Args:
        labels: (D,H,W) unsigned integers, 0 is background.
        probability: (D,H,W) float, probability of the class that won each voxel.
        ids: classes to filter; others stay as they are. None means every class; an absent id changes nothing.
        rules: see `ComponentRules`.

    Returns:
        A new array like `labels`; the input is not touched. An empty map comes back empty.

    Raises:
        ArrayShapeError: the arrays are not (D,H,W) or differ in shape.
    """
    require_ndim("labels", labels, 3, "(D,H,W)")
    require_same_shape("probability", probability, "labels", labels.shape)
    result = labels.copy()
    boxes = class_boxes(labels)
    for class_id in boxes if ids is None else ids:
        if class_id in boxes:
            box = boxes[class_id]
            filter_class(result[box], probability[box], class_id, rules)
    return result


def filter_class(
    labels: np.ndarray, probability: np.ndarray, class_id: int, rules: ComponentRules = ComponentRules()
) -> None:
    """Remove the components of one class that the rules do not choose, in place.

    Args:
        labels: (D,H,W) unsigned integers: a map, or the part of it that holds the whole class.
        probability: (D,H,W) float, as for `filter_components`.
        class_id: the class; one that is absent changes nothing.
        rules: see `ComponentRules`.

    Raises:
        ArrayShapeError: the arrays are not (D,H,W) or differ in shape.
    """
    require_ndim("labels", labels, 3, "(D,H,W)")
    require_same_shape("probability", probability, "labels", labels.shape)
    mask = labels == class_id
    removed = _voxels_to_remove(mask, probability, rules)
    if removed.size:
        labels[np.unravel_index(removed, labels.shape)] = 0


def keep_components(
    mask: np.ndarray, probability: np.ndarray, rules: ComponentRules = ComponentRules()
) -> np.ndarray:
    """Return the (D,H,W) bool mask of the components of `mask` that the rules choose; empty stays empty."""
    require_ndim("mask", mask, 3, "(D,H,W)")
    require_same_shape("probability", probability, "mask", mask.shape)
    kept = np.array(mask, dtype=bool, order="C")
    kept.reshape(-1)[_voxels_to_remove(kept, probability, rules)] = False
    return kept


def _voxels_to_remove(mask: np.ndarray, probability: np.ndarray, rules: ComponentRules) -> np.ndarray:
    """Return the (n,) flat indices of a contiguous mask's voxels whose component does not stay."""
    near = _without_gaps(mask)
    # cc3d numbers in memory order: raster order breaks ties
    components, count = cc3d.connected_components(near, connectivity=6, return_N=True)
    if count <= 1:
        return np.empty(0, np.intp)
    inside = components[near].astype(np.intp)  # few of the box's voxels: all that follows costs by them
    sizes = np.bincount(inside, minlength=count + 1)
    weights = probability[mask]
    if weights.dtype == np.float16:  # exact, and from there to doubles it is several times as fast
        weights = weights.astype(np.float32)
    sums = np.bincount(inside, weights=weights, minlength=count + 1)
    order = _by_size(sizes, rules.max_components)
    chosen = _choose(sizes[order], sums[order] / sizes[order], rules)
    keep = np.zeros(count + 1, dtype=bool)
    keep[order[chosen]] = True
    stays = keep[inside]
    return np.empty(0, np.intp) if stays.all() else np.flatnonzero(mask)[~stays]


def _without_gaps(mask: np.ndarray) -> np.ndarray:
    """A (D,H,W) bool mask of which one empty plane is left wherever there are several side by side.

    Components, their sizes and the raster order of the voxels stay the same; stray specks far from an organ
    make its box several times as large as what lies in it.
    """
    for axis, hits in enumerate(hits_by_axis(mask)):
        wanted = hits.copy()
        wanted[1:] |= hits[:-1]
        if np.count_nonzero(wanted) < WORTH_TAKING * len(wanted):
            mask = mask.take(np.flatnonzero(wanted), axis)
    return mask


def class_boxes(labels: np.ndarray) -> dict[int, Box]:
    """Return the bounding box of every class in a (D,H,W) label map, ids ascending, in one pass."""
    if labels.size == 0 or not labels.any():
        return {}
    names = np.arange(int(labels.max()) + 1)
    if len(names) > labels.size:  # cc3d counts only labels below the number of voxels
        names, labels = np.unique(labels, return_inverse=True)
    if labels.dtype.kind != "u":  # cc3d wants unsigned integers
        labels = labels.astype(np.uint32)
    statistics = cc3d.statistics(np.ascontiguousarray(labels))
    counts, boxes = statistics["voxel_counts"], statistics["bounding_boxes"]
    return {int(names[i]): boxes[i] for i in np.flatnonzero(counts) if names[i] != 0}


def _by_size(sizes: np.ndarray, largest: int) -> np.ndarray:
    """Return the labels of the largest components; equal sizes stay in raster order."""
    return 1 + np.argsort(-sizes[1:], kind="stable")[:largest]


def _choose(sizes: np.ndarray, means: np.ndarray, rules: ComponentRules) -> np.ndarray:
    """Return the positions to keep, from sizes in descending order and the mean probabilities beside them."""
    close = means.max() - means <= rules.max_probability_drop + BORDER
    sure = means > rules.high_probability + BORDER
    together = np.flatnonzero(close & sure)
    if len(together) >= rules.together:
        return together
    surest = int(np.argmax(means >= means.max() - BORDER))
    large_enough = sizes[surest] >= (rules.min_size_ratio or 0.0) * sizes[0]
    return np.array([surest if surest < rules.finalists and large_enough else 0])

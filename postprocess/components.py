"""Rule ``components``: connected components by probability and size (Medal S, algorithm 3, section 2.9).

Labels and probabilities are (D,H,W). A class is filtered only inside its own bounding box, and all its
components are measured in one labelling: cost grows with the boxes, not with the number of components.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from vesal.postprocess.checks import require_ndim, require_same_shape
from vesal.postprocess.instances import hits_by_axis
from vesal.postprocess.rule import ClassPart, ClassRule, Count, Share

# Means of float32 probabilities are summed in float64; the float32 rounding near 1 is about 6e-8. A mean
# closer than this to a border counts as on it, so no choice depends on the last bit.
BORDER = 1e-6

WORTH_TAKING = 0.9
"""Empty planes are cut out where at most this share of an axis remains."""

MIN_CONFIDENT = 2
"""From so many components of high probability on, all of them are kept; else the next rule decides."""

CANDIDATES = 2
"""The component of the highest probability replaces the largest one only if it is among this many largest."""

Box = tuple[slice, slice, slice]


class Components(ClassRule, frozen=True):
    """Choose the components of a class (defaults: Medal S, algorithm 3)."""

    max_components: Count = 3
    """Components considered, by size; anything smaller is always dropped. The paper takes three."""
    max_probability_drop: Share = 0.1
    """Mean probability may fall this much below the best one's for a component to be kept beside it."""
    high_probability: Share = 0.86
    """Mean probability above which a component may be kept beside another one."""
    min_size_ratio: Share | None = 0.6
    """Share of the largest component's voxels that the one of the highest probability needs to replace it, as
    in the paper. None or 0 leaves the ratio out, as the authors' published code does: there a few voxels of
    high probability can replace an organ."""

    one_object: ClassVar[bool] = True
    only_removes: ClassVar[bool] = True

    def apply(self, part: ClassPart) -> None:
        """See ``filter_class``."""
        filter_class(part.labels, part.probability, part.class_id, self)


MEDAL_S = Components()
"""As in the paper."""


def filter_class(
    labels: np.ndarray, probability: np.ndarray, class_id: int, rules: Components = MEDAL_S
) -> None:
    """Remove the components of one class that the rules do not choose, in place.

    Args:
        labels: (D,H,W) unsigned integers: a map, or the part of it that holds the whole class.
        probability: (D,H,W) float, of the class that won each voxel.
        class_id: the class; one that is absent changes nothing.
        rules: see `Components`.

    Raises:
        ArrayShapeError: the arrays are not (D,H,W) or differ in shape.
    """
    require_ndim("labels", labels, 3, "(D,H,W)")
    require_same_shape("probability", probability, "labels", labels.shape)
    mask = np.ascontiguousarray(labels == class_id)
    removed = _voxels_to_remove(mask, probability, rules)
    if removed.size:
        labels[np.unravel_index(removed, labels.shape)] = 0


def _voxels_to_remove(mask: np.ndarray, probability: np.ndarray, rules: Components) -> np.ndarray:
    """Return the (n,) flat indices of a contiguous mask's voxels whose component does not stay."""
    import cc3d  # here and below: a profile is read without it

    near = _without_gaps(mask)
    # cc3d numbers in memory order: raster order breaks ties
    components, count = cc3d.connected_components(near, connectivity=6, return_N=True)
    if count <= 1:
        return np.empty(0, np.intp)
    inside = components[near].astype(np.intp)  # few of the box's voxels, so the rest is cheap
    sizes = np.bincount(inside, minlength=count + 1)
    weights = probability[mask]
    if weights.dtype == np.float16:  # exact, and several times as fast to float64
        weights = weights.astype(np.float32)
    sums = np.bincount(inside, weights=weights, minlength=count + 1)
    order = _by_size(sizes, rules.max_components)
    chosen = _choose(sizes[order], sums[order] / sizes[order], rules)
    keep = np.zeros(count + 1, dtype=bool)
    keep[order[chosen]] = True
    stays = keep[inside]
    return np.empty(0, np.intp) if stays.all() else np.flatnonzero(mask)[~stays]


def _without_gaps(mask: np.ndarray) -> np.ndarray:
    """A (D,H,W) bool mask in which adjacent empty planes are reduced to one.

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
    import cc3d

    statistics = cc3d.statistics(np.ascontiguousarray(labels))
    counts, boxes = statistics["voxel_counts"], statistics["bounding_boxes"]
    return {int(names[i]): boxes[i] for i in np.flatnonzero(counts) if names[i] != 0}


def _by_size(sizes: np.ndarray, largest: int) -> np.ndarray:
    """(k,) labels of the largest components, from (n+1,) sizes by label; equal sizes stay in raster order."""
    return 1 + np.argsort(-sizes[1:], kind="stable")[:largest]


def _choose(sizes: np.ndarray, means: np.ndarray, rules: Components) -> np.ndarray:
    """(k,) positions to keep, from (n,) sizes in descending order and the (n,) means beside them."""
    near_best = means.max() - means <= rules.max_probability_drop + BORDER
    confident = np.flatnonzero(near_best & (means > rules.high_probability + BORDER))
    if len(confident) >= MIN_CONFIDENT:
        return confident
    best = int(np.argmax(means >= means.max() - BORDER))
    large_enough = sizes[best] >= (rules.min_size_ratio or 0.0) * sizes[0]
    return np.array([best if best < CANDIDATES and large_enough else 0])

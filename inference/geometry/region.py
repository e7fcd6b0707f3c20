"""From the coarse result to the region of the fine stage (docs/design.md, The way of a case)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from vesal.inference.geometry.views import Box, Sides, Triple, View, triple

Extent = tuple[np.ndarray, np.ndarray]
"""First and one-past-last index, (3,) each."""
MainExtent = Callable[[np.ndarray, float], Extent]
"""Of a (D, H, W) bool mask and the least share of its components that count."""

FOREGROUND_THRESHOLD = 0.5
"""Probability above which a voxel is foreground, where no rule says otherwise."""
LOW_PROBABILITY, HIGH_PROBABILITY = 0.1, 0.9
"""A coarse probability between these says neither yes nor no."""
UNCERTAIN_SHARE = 0.5
"""A class of which at least this share of what it may be is neither is uncertain."""


def is_uncertain(probability: np.ndarray) -> bool:
    """Whether a coarse result (N, d, h, w) leaves one of its classes open; an empty one does not."""
    for one in probability:
        may_be = np.count_nonzero(one >= LOW_PROBABILITY)
        if may_be and may_be - np.count_nonzero(one >= HIGH_PROBABILITY) >= UNCERTAIN_SHARE * may_be:
            return True
    return False


def main_extent(mask: np.ndarray, min_share: float) -> Extent:
    """First and one-past-last index per axis of the components of a (D, H, W) bool mask that count."""
    import cc3d  # imported where it is used: a case without foreground does not need it

    from vesal.postprocess.instances import tight_box

    box = tight_box(mask)
    # With a border, as in a bare line or sheet of single voxels cc3d 4.1.1 counts on too few components and
    # raises.
    labels = cc3d.connected_components(np.pad(mask[box], 1), connectivity=26)
    statistics = cc3d.statistics(labels)
    counts = statistics["voxel_counts"][1:]
    boxes = [
        b
        for b, n in zip(statistics["bounding_boxes"][1:], counts, strict=True)
        if n >= min_share * counts.max()
    ]
    first = np.array([s.start - 1 for s in box])
    start = np.min([[s.start for s in b] for b in boxes], 0)
    stop = np.max([[s.stop for s in b] for b in boxes], 0)
    return first + start, first + stop


def region_of(
    probability: np.ndarray,
    view: View,
    shape: tuple[int, int, int],
    threshold: float = FOREGROUND_THRESHOLD,
    min_share: float = 0.1,
    extent_of: MainExtent = main_extent,
) -> Box | None:
    """The box of the coarse foreground in native voxel edges, or None where nothing reaches ``threshold``.

    Args:
        probability: (N, d, h, w) float on ``view``; the box holds all N classes.
        view: the coarse view.
        shape: of the volume, (D, H, W); the box is clipped to it.
        threshold: probability from which a voxel counts as foreground.
        min_share: a component smaller than this share of its class's largest does not stretch the box.
        extent_of: finds the components that count, and their box.
    """
    extents = [extent_of(mask, min_share) for mask in probability > threshold if mask.any()]
    if not extents:
        return None
    # Class by class: a small organ in one view with a large one is no speck.
    start, stop = np.min([first for first, _ in extents], 0), np.max([end for _, end in extents], 0)
    first = [max(0.0, a + i * s) for a, i, s in zip(view.start, start, view.step, strict=True)]
    last = [min(float(n), a + i * s) for a, i, s, n in zip(view.start, stop, view.step, shape, strict=True)]
    if any(b <= a for a, b in zip(first, last, strict=True)):
        return None
    return Box(triple(first), triple(last))


def grown_region(box: Box, factor: float, step: Triple, shape: Sides) -> Box:
    """The region of the fine stage: ``box`` scaled by ``factor``, but no further than the volume.

    Args:
        box: of the coarse foreground, native voxel edges.
        factor: on its extent, about its centre.
        step: native voxels per coarse voxel: the least margin, as the coarse result may be off by one voxel.
        shape: of the volume, (D, H, W).
    """
    grown = box.grown(factor)
    edges = zip(box.start, box.stop, grown.start, grown.stop, step, shape, strict=True)
    start, stop = zip(
        *((max(0.0, min(c, a - s)), min(float(n), max(d, b + s))) for a, b, c, d, s, n in edges), strict=True
    )
    return Box(triple(start), triple(stop))

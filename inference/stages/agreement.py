"""How well what a network found by a name agrees with what a user marked.

SegVol, section 4, disambiguation and identification: there the result by text with that by box or point.

Without a network that segments by marks alone the marks themselves are compared: 0 no, 1 full agreement.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vesal.inference.data.user_prompts import Point, UserPrompts, VoxelBox
from vesal.inference.geometry.views import View
from vesal.inference.stages.marked_components import LOW_PROBABILITY, components
from vesal.inference.stages.marks import Part, parts_of_boxes, voxels_of_points
from vesal.inference.stages.spatial_prompt import MaskPrompt

FAINT = 0.5
"""Factor on the agreement of what is found only at a low probability."""
CORRECTION = 0.1
"""What clicks beside a mask or a box may take of a score."""
BESIDE = 1
"""Voxels of the view around a point over which the probability is averaged."""


def agreement(
    probability: np.ndarray, threshold: float, view: View, user: UserPrompts, prompt_id: int
) -> float:
    """The agreement of one candidate with what a user marked for a prompt: the product over all kinds.

    Args:
        probability: (d, h, w) float32 of the candidate, found without any mark.
        threshold: from which a voxel is foreground.
        view: where it lies.
        user: of the case.
        prompt_id: the prompt.
    """
    score = 1.0
    mask = MaskPrompt.of(user.of([prompt_id]))
    if mask is not None:
        score *= dice(probability > threshold, mask.sampled(prompt_id, view) > threshold)
    boxes = user.boxes.get(prompt_id, ())
    if boxes:
        score *= of_boxes(probability, threshold, view, boxes)
    if points := user.points.get(prompt_id, ()):
        clicked = of_points(probability, view, points)
        # Beside a mask or a box clicks correct a result: they lie where the network is wrong.
        score *= clicked if mask is None and not boxes else 1 - CORRECTION * (1 - clicked)
    return score


def dice(one: np.ndarray, other: np.ndarray) -> float:
    """Dice of two masks of one shape; 0 where both are empty."""
    size = np.count_nonzero(one) + np.count_nonzero(other)
    return 2 * np.count_nonzero(one & other) / size if size else 0.0


def of_boxes(probability: np.ndarray, threshold: float, view: View, boxes: Sequence[VoxelBox]) -> float:
    """Mean over boxes: intersection over union of a box with the extent of what was found in it.

    ``probability`` is (d, h, w) float32 on ``view``.
    """
    found, factor = probability > threshold, 1.0
    parts = parts_of_boxes(boxes, view)
    if not any(found[part].any() for part in parts):
        found, factor = probability > LOW_PROBABILITY, FAINT
    if not parts or not any(found[part].any() for part in parts):
        return 0.0
    labels = components(found)
    return factor * float(np.mean([_overlap(labels, part) for part in parts]))


def _overlap(labels: np.ndarray, part: Part) -> float:
    """Intersection over union of a box and the extent of the components that have most of their voxels in it,
    or the one that has most there.
    """
    sizes, inside = np.bincount(labels.ravel()), np.bincount(labels[part].ravel())
    inside = np.pad(inside, (0, len(sizes) - len(inside)))
    inside[0] = 0
    if not inside.any():
        return 0.0
    held = np.flatnonzero(2 * inside > sizes)
    held = held if held.size else np.array([inside.argmax()])
    at = np.nonzero(np.isin(labels, held))
    both = size = own = 1.0
    for side, axis in zip(part, at, strict=True):
        first, last = int(axis.min()), int(axis.max()) + 1
        both *= max(0, min(last, side.stop) - max(first, side.start))
        size *= side.stop - side.start
        own *= last - first
    return both / (size + own - both)


def of_points(probability: np.ndarray, view: View, points: Sequence[Point]) -> float:
    """Mean probability around foreground points, times what is left of 1 around background points.

    ``probability`` is (d, h, w) float32 on ``view``.
    """
    inside, outside = (voxels_of_points(points, view, side) for side in (True, False))
    if not inside and not outside:
        return 0.0
    score = float(np.mean([_mean_at(probability, at) for at in inside])) if inside else 1.0
    return score * (1 - float(np.mean([_mean_at(probability, at) for at in outside]))) if outside else score


def _mean_at(probability: np.ndarray, at: Sequence[int]) -> float:
    around = tuple(slice(max(0, i - BESIDE), i + BESIDE + 1) for i in at)
    return float(probability[around].mean(dtype=np.float64))

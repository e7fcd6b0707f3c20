"""How well what a network found by a name agrees with what a user marked.

SegVol, section 4, disambiguation and identification: there the result by text with that by box or point.

Without a network that segments by marks alone the marks themselves are compared: 0 no, 1 full agreement.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from vesal.inference.data.user_prompts import Point, UserPrompts, VoxelBox
from vesal.inference.geometry.views import View
from vesal.inference.stages.marked_components import LOW_PROBABILITY, components
from vesal.inference.stages.marks import Part, parts_of_boxes, voxels_of_points
from vesal.inference.stages.spatial_prompt import MaskPrompt
from vesal.postprocess.instances import tight_box

FAINT = 0.5
"""Factor on the agreement of what is found only at a low probability."""
CORRECTION = 0.1
"""What clicks beside a box may take of a score."""
BESIDE = 1
"""Voxels of the view around a point over which the probability is averaged."""
RIVALS = 2
"""Power of a target's share of what it and the others are probable to be: of the powers 0 to 3 the first with
which no set of `val` has fewer right names than without it, and most have more."""


@dataclass(frozen=True, eq=False)
class ByName:
    """What a network found of one target, asked for by its name and without any mark."""

    probability: np.ndarray
    """(d, h, w) float32"""
    threshold: float
    """from which a voxel is foreground"""
    view: View
    """where it lies"""

    @cached_property
    def labels(self) -> np.ndarray:
        """(d, h, w) unsigned: components of the foreground."""
        return components(self.probability > self.threshold)

    @cached_property
    def faint(self) -> np.ndarray:
        """(d, h, w) unsigned: components of what has a low probability at least."""
        return components(self.probability > LOW_PROBABILITY)

    @property
    def grid(self) -> tuple[object, ...]:
        """What tells two views apart as grids."""
        return self.view.start, self.view.step, self.view.shape


def highest(found: Iterable[ByName]) -> dict[tuple[object, ...], np.ndarray]:
    """By ``ByName.grid`` the highest probability (d, h, w) of any target there."""
    most: dict[tuple[object, ...], np.ndarray] = {}
    for each in found:
        before = most.get(each.grid)
        most[each.grid] = each.probability if before is None else np.maximum(before, each.probability)
    return most


def agreement(found: ByName, user: UserPrompts, prompt_id: int, most: np.ndarray | None = None) -> float:
    """The agreement of one candidate with what a user marked for a prompt.

    The geometric mean of mask and box, as both say how far two regions overlap and one threshold counts for
    both; by points where there is neither. It is weighed by how certain the component is that was marked.

    Args:
        found: the candidate.
        user: of the case.
        prompt_id: the prompt.
        most: (d, h, w) float32, the highest probability of all candidates; None where there are no others.
    """
    overlaps = []
    mask, boxes = MaskPrompt.of(user.of([prompt_id])), user.boxes.get(prompt_id, ())
    points = user.points.get(prompt_id, ())
    labels, held = found.labels, np.zeros(0, int)
    if mask is not None:
        marked = mask.sampled(prompt_id, found.view) > found.threshold
        overlaps.append(dice(labels > 0, marked))
        held = np.unique(labels[marked])
    if boxes:
        overlap, labels, held = of_boxes(found, boxes)
        overlaps.append(overlap)
    if not overlaps and points:
        overlaps.append(of_points(found.probability, found.view, points))
        labels, held = _held_by_points(found, points)
    if not overlaps or min(overlaps) <= 0:
        return 0.0
    score = float(np.prod(overlaps) ** (1 / len(overlaps)))
    if boxes and points and mask is None:
        # Beside a box clicks lie where the network is wrong; beside a mask they correct that one.
        score *= 1 - CORRECTION * (1 - of_points(found.probability, found.view, points))
    region = np.isin(labels, held[held > 0])
    return score * certainty(found.probability, region, most)


def certainty(probability: np.ndarray, region: np.ndarray, most: np.ndarray | None = None) -> float:
    """The mean probability of a region (d, h, w) bool, times a power of its share of what is found there.

    At one voxel many targets are found with a probability of 1; over a whole component the one that is shown
    is found with more than others.
    """
    mine = probability[region]
    if not mine.size:
        return LOW_PROBABILITY
    share = 1.0 if most is None else float(mine.sum(dtype=np.float64) / most[region].sum(dtype=np.float64))
    return float(mine.mean(dtype=np.float64)) * share**RIVALS


def dice(one: np.ndarray, other: np.ndarray) -> float:
    """Dice of two masks of one shape; 0 where both are empty."""
    size = np.count_nonzero(one) + np.count_nonzero(other)
    return 2 * np.count_nonzero(one & other) / size if size else 0.0


def of_boxes(found: ByName, boxes: Sequence[VoxelBox]) -> tuple[float, np.ndarray, np.ndarray]:
    """Mean over boxes: intersection over union of a box with the extent of what was found in it.

    Returns:
        the mean; components (d, h, w), and those of them that were compared.
    """
    labels, factor = found.labels, 1.0
    parts = [(box, part) for box in boxes for part in parts_of_boxes([box], found.view)]
    if not any(labels[part].any() for _, part in parts):
        labels, factor = found.faint, FAINT
    overlaps, held = [], [np.zeros(0, int)]
    for box, part in parts:
        mine = _components_of(labels, part)
        overlaps.append(_overlap(np.isin(labels, mine), part, box.open_axes) if mine.size else 0.0)
        held.append(mine)
    return factor * float(np.mean(overlaps or [0.0])), labels, np.unique(np.concatenate(held))


def _components_of(labels: np.ndarray, part: Part) -> np.ndarray:
    """The components that have most of their voxels in a box, or the one that has most there."""
    sizes, inside = np.bincount(labels.ravel()), np.bincount(labels[part].ravel())
    inside = np.pad(inside, (0, len(sizes) - len(inside)))
    inside[0] = 0
    if not inside.any():
        return np.zeros(0, int)
    held = np.flatnonzero(2 * inside > sizes)
    return held if held.size else np.array([inside.argmax()])


def _overlap(mine: np.ndarray, part: Part, open_axes: Collection[int]) -> float:
    """Intersection over union of a box and the extent of a mask (d, h, w).

    A box that is open along two axes was measured in one slice: there it is compared with the extent of the
    mask's largest slice, too, and the better one counts.
    """
    whole = tight_box(mine)
    closed = [axis for axis in range(3) if axis not in open_axes]
    if len(closed) != 1:
        return _box_overlap(whole, part)
    areas = np.count_nonzero(mine, axis=tuple(open_axes))
    largest = list(tight_box(mine.take([int(areas.argmax())], closed[0])))
    largest[closed[0]] = whole[closed[0]]
    return max(_box_overlap(whole, part), _box_overlap(largest, part))


def _box_overlap(one: Sequence[slice], other: Sequence[slice]) -> float:
    """Intersection over union of two boxes."""
    both = size = own = 1.0
    for a, b in zip(one, other, strict=True):
        both *= max(0, min(a.stop, b.stop) - max(a.start, b.start))
        size *= b.stop - b.start
        own *= a.stop - a.start
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


def _held_by_points(found: ByName, points: Sequence[Point]) -> tuple[np.ndarray, np.ndarray]:
    """Components, and those that hold foreground points: of what is faint where no foreground does."""
    inside = voxels_of_points(points, found.view, True)
    held = np.array([0])
    for labels in (found.labels, found.faint):
        held = np.array([0, *(int(labels[at]) for at in inside)])
        if held.any():
            return labels, held
    return found.labels, held


def _mean_at(probability: np.ndarray, at: Sequence[int]) -> float:
    around = tuple(slice(max(0, i - BESIDE), i + BESIDE + 1) for i in at)
    return float(probability[around].mean(dtype=np.float64))

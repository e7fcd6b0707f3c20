"""A user's boxes and points for networks that do not see them as such: what they change in results.

A family with spatial prompts gets them through the result of the stage before, which is its spatial prompt
and its region (``Capabilities.draws``). What a box does to a result, and points (``marked_components``):

- outside of a target's boxes, which are taken a little larger, nothing of it is kept;
- the target is present in the slices of its boxes, whatever the network says of them;
- where a box holds next to nothing of it, what is most probable there is raised; a result that goes on to
  another stage gets the box filled by an ellipsoid, as a spatial prompt of unknown shape;
- foreground points keep the components that they are in, or near; background points remove what is around
  them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from vesal.inference.data.case import Case
from vesal.inference.data.prompt import Query
from vesal.inference.data.user_prompts import KINDS, Point, UserPrompts, VoxelBox
from vesal.inference.families.contract import Capabilities, UserInput
from vesal.inference.geometry.region import region_of
from vesal.inference.geometry.view_groups import bounding_box
from vesal.inference.geometry.views import Box, View
from vesal.inference.planning.plan import Batch
from vesal.inference.planning.rules import StageRule
from vesal.inference.prompts.vocabulary import load_vocabulary
from vesal.inference.stages.marked_components import (
    BALL_VOXELS,
    LOW_PROBABILITY,
    Grid,
    Others,
    Voxel,
    chosen,
    components,
    ellipsoid,
)
from vesal.inference.stages.spatial_prompt import MaskPrompt
from vesal.inference.stages.stage_result import Latest, StageResult
from vesal.inference.stages.user_prompts import box_around, on_views

BOX_SLACK = 0.1
"""What of a box's extent a target may reach beyond it, to each side, and one voxel of the view at least."""
PROMPT_SLACK = 0.5
"""The same of a result that is a spatial prompt."""
REACHES = 0.5
"""Share of a box along each axis that a result before has to reach to tell the region better than the box."""
EMPTY_SHARE = 0.03
"""A box of which less is foreground holds nothing of its target: the thinnest targets fill some 0.1."""

SEVERAL = ("lesion", "cell", "")
"""Kinds of targets that have any number of objects; of an unknown one it is not known."""

NO_SHAPE = (1 << 30,) * 3
"""A volume that no box is clipped to."""

Part = tuple[slice, slice, slice]


@dataclass(frozen=True, eq=False)
class DrawnPrompts:
    """Boxes and points of a case by prompt id, as far as they are drawn."""

    user: UserPrompts
    spacing_dhw_mm: Sequence[float]
    seen: UserPrompts = UserPrompts()
    """The others, which the network sees as they are."""
    instance: bool = False
    """Whether objects are wanted."""

    @classmethod
    def of(cls, case: Case, can: Capabilities) -> DrawnPrompts:
        """What is drawn of a case's user prompts for a family."""
        drawn = can.draws()
        user = case.user.without([kind for kind in KINDS if kind not in drawn])
        return cls(user, case.spacing_dhw_mm, case.user.without(drawn), case.instance)

    @property
    def boxes(self) -> Mapping[int, tuple[VoxelBox, ...]]:
        """By prompt id."""
        return self.user.boxes

    @property
    def points(self) -> Mapping[int, tuple[Point, ...]]:
        """By prompt id."""
        return self.user.points

    def on_view(self, queries: Sequence[Query]) -> Callable[[View], UserInput] | None:
        """What the network sees as it is, see ``on_views``."""
        return on_views(self.seen, queries)

    def has(self, query: Query) -> bool:
        """Whether something is drawn for the prompt of a query."""
        return query.prompt_id in self.boxes or query.prompt_id in self.points

    def regions(self, queries: Sequence[Query], before: Sequence[Latest | None]) -> list[Box | None]:
        """For each query the box of the user's that is its region; see ``find_regions``."""
        seen = [box_around(self.seen, query) for query in queries]
        drawn = map(self._region, queries, before)
        return [ours if theirs is None else theirs for ours, theirs in zip(drawn, seen, strict=True)]

    def _region(self, query: Query, before: Latest | None) -> Box | None:
        """The box that holds all of a query's boxes, in native voxel edges, where it tells the region.

        None where there is none, where the result ``before`` reaches most of it and tells more, or left
        nothing, as another target of the prompt is what the boxes hold.
        """
        given = box_around(self.user, query)
        if before is None or given is None:
            return given
        found = region_of(before.probability[None], before.view, NO_SHAPE, before.threshold)
        if found is None:
            return None
        shared = [
            min(b, d) - max(a, c)
            for a, b, c, d in zip(given.start, given.stop, found.start, found.stop, strict=True)
        ]
        if all(s >= REACHES * size for s, size in zip(shared, given.size, strict=True)):
            return None
        return bounding_box([given, found])

    def drawn(self, query: Query, view: View) -> np.ndarray:
        """(d, h, w) float32 on a view: the boxes of a query, filled by ellipsoids, and balls at its points,
        if it has no box. The spatial prompt where there is no result before.
        """
        out = np.zeros(view.shape, np.float32)
        boxes = self.boxes.get(query.prompt_id, ())
        for part in parts_of_boxes(boxes, view):
            out[part][ellipsoid(part)] = 1
        if not boxes:
            for at in voxels_of_points(self.points.get(query.prompt_id, ()), view, True):
                _draw_ball(out, at)
        return out

    def guide(
        self,
        result: StageResult,
        queries: Sequence[Query],
        batch: Batch,
        rule: StageRule,
    ) -> StageResult:
        """The result as boxes and points leave it; the same object where none is for these queries.

        Args:
            result: of one stage.
            queries: its rows.
            batch: theirs; where another stage comes, the result is its spatial prompt, and boxes without
                one are filled.
            rule: of the stage.
        """
        rows_of: dict[int, list[int]] = {}
        for row, query in enumerate(queries):
            if self.has(query):
                rows_of.setdefault(query.prompt_id, []).append(row)
        if not rows_of:
            return result
        view, threshold = result.view, rule.threshold
        goes_on = any(not later.skip for later in batch.stages[batch.stages.index(rule) + 1 :])
        d, h, w = (s * mm for s, mm in zip(view.step, self.spacing_dhw_mm, strict=True))
        grid = Grid(view.shape, (d, h, w))
        probability, presence, filled = result.probability.copy(), result.presence.copy(), 0
        for id_, rows in rows_of.items():
            mine = np.array(result.probability[rows])
            filled += self._apply_boxes(id_, mine, view, threshold, goes_on, presence, rows)
            self._apply_points([queries[row] for row in rows], mine, view, grid, threshold, goes_on)
            probability[rows] = mine
        why = f"{result.why}, guided by the user's {' and '.join(self.user.kinds())}"
        if filled:
            why += f", {filled} boxes filled as nothing was found in them"
        return replace(result, probability=probability, presence=presence, why=why)

    def _apply_boxes(
        self,
        id_: int,
        mine: np.ndarray,
        view: View,
        threshold: float,
        goes_on: bool,
        presence: np.ndarray,
        rows: Sequence[int],
    ) -> int:
        """What the boxes of a prompt change in its probabilities ``mine`` (n, d, h, w), in place; how many
        boxes were filled.
        """
        boxes, filled = self.boxes.get(id_, ()), 0
        if not boxes:
            return 0
        kept = np.zeros(view.shape, bool)
        for part in parts_of_boxes(boxes, view, PROMPT_SLACK if goes_on else BOX_SLACK, open_too=True):
            kept[part] = True
        kept &= ~_apart(mine.max(0) * kept > threshold, parts_of_boxes(boxes, view, BOX_SLACK))
        mine[:, ~kept] = 0
        for part in parts_of_boxes(boxes, view):
            here = mine[(slice(None), *part)]
            # Of several targets of a prompt, as its two sides, the box is that of the one found in it.
            owner = int(here.sum((1, 2, 3), dtype=np.float64).argmax())
            slices = part[view.thick_axis]
            presence[rows[owner], slices] = 1
            filled += raise_in_box(here[owner], threshold, goes_on, part)
        return filled

    def _apply_points(
        self,
        queries: Sequence[Query],
        mine: np.ndarray,
        view: View,
        grid: Grid,
        threshold: float,
        goes_on: bool,
    ) -> None:
        """What the points of a prompt change in the probabilities ``mine`` (n, d, h, w) of its queries, in
        place.
        """
        id_ = queries[0].prompt_id
        points = self.points.get(id_, ())
        inside, outside = (voxels_of_points(points, view, side) for side in (True, False))
        if not inside and not outside:
            return
        together = mine.max(0)
        boxes = parts_of_boxes(self.boxes.get(id_, ()), view)
        if inside and goes_on and not boxes and not (together > LOW_PROBABILITY).any():
            for at in inside:
                _draw_ball(mine[0], at)
            return
        mask = MaskPrompt.of(self.seen.of([id_]))
        known = None if mask is None else mask.sampled(id_, view) > threshold
        others = Others.NONE if self.instance else others_of(queries, goes_on)
        keep, raised = chosen(together, threshold, grid, inside, outside, boxes, others, known)
        mine[:, ~keep] = 0
        if raised.any():
            top = mine.argmax(0)
            for row, one in enumerate(mine):
                at = raised & (top == row)
                one[at] = np.maximum(one[at], _raised(one[at], threshold))


def others_of(queries: Sequence[Query], goes_on: bool) -> Others:
    """Which components of a prompt stay beside those that its foreground points hold.

    Of lesions, cells, and of several targets in one prompt, a point chooses. An organ is one thing, or one on
    each side: its coarse result may be in pieces that are none in the fine one.
    """
    query = queries[0]
    if len(queries) > 1 or query.kind in SEVERAL:
        return Others.NONE
    if goes_on:
        return Others.ALL
    return Others.LARGE if is_both_sides(query.concept, query.side) else Others.JOINED


def is_both_sides(concept: str | None, side: str | None) -> bool:
    """Whether a target is the one of both sides of the body."""
    known = load_vocabulary().concepts.get(concept or "")
    return side is None and known is not None and known.sided


def raise_in_box(here: np.ndarray, threshold: float, goes_on: bool, part: Part) -> bool:
    """Raise what is most probable in a box (d, h, w) that holds next to nothing, in place, or fill it.

    Returns:
        whether it was filled.
    """
    if not here.size or np.count_nonzero(here > threshold) >= EMPTY_SHARE * here.size:
        return False
    if goes_on:
        here[ellipsoid(part)] = 1
        return True
    most = float(here.max())
    if most > LOW_PROBABILITY:
        here *= 1 / most
    return False


def _raised(values: np.ndarray, threshold: float) -> np.ndarray:
    """Values of voxels that are foreground by a point: just above the threshold, in their order."""
    return np.asarray(threshold + (1 - threshold) * (0.01 + 0.99 * values), np.float32)


def parts_of_boxes(
    boxes: Sequence[VoxelBox], view: View, slack: float = 0.0, open_too: bool = False
) -> list[Part]:
    """The voxels of a view that boxes cover, one at least of each that meets the view.

    ``slack`` is added to each side as a share of the extent, and a voxel of the view at least. With
    ``open_too`` a box reaches through the whole view along its open axes: cut at those of one slice, a spinal
    cord or a mandible would lose up to a third of its Dice.
    """
    parts = []
    for box in boxes:
        sides = []
        for axis in range(3):
            if open_too and axis in box.open_axes:
                sides.append(slice(0, view.shape[axis]))
                continue
            a, b, step = box.start[axis], box.stop[axis], view.step[axis]
            more = max(slack * (b - a), step) if slack else 0.0
            low, high = ((edge - view.start[axis]) / step for edge in (a - more, b + more))
            first = max(0, min(int(np.floor(low + 0.5)), int(np.floor((low + high) / 2))))
            last = min(view.shape[axis], max(int(np.floor(high + 0.5)), first + 1))
            sides.append(slice(first, last))
        if all(side.start < side.stop for side in sides):
            parts.append((sides[0], sides[1], sides[2]))
    return parts


def _apart(found: np.ndarray, parts: Sequence[Part]) -> np.ndarray:
    """(d, h, w) bool: the components of a mask that meet none of some boxes."""
    labels = components(found)
    meeting = [np.unique(labels[part]) for part in parts]
    return found & ~np.isin(labels, np.concatenate(meeting)) if meeting else found


def voxels_of_points(points: Sequence[Point], view: View, foreground: bool) -> list[Voxel]:
    """The voxels of a view that hold points; those outside of it are left out."""
    found = []
    for point in points:
        if point.foreground is not foreground:
            continue
        at = [int((x + 0.5 - a) // s) for x, a, s in zip(point.voxel, view.start, view.step, strict=True)]
        if all(0 <= i < n for i, n in zip(at, view.shape, strict=True)):
            found.append((at[0], at[1], at[2]))
    return found


def _draw_ball(out: np.ndarray, at: Voxel) -> None:
    """Set a ball of ``BALL_VOXELS`` around a voxel of (d, h, w) to 1, in place."""
    part = [
        slice(max(0, i - BALL_VOXELS), min(n, i + BALL_VOXELS + 1))
        for i, n in zip(at, out.shape, strict=True)
    ]
    axes = [(np.arange(side.start, side.stop) - i) ** 2 for side, i in zip(part, at, strict=True)]
    inside = axes[0][:, None, None] + axes[1][:, None] + axes[2] <= BALL_VOXELS**2
    out[tuple(part)][inside] = 1

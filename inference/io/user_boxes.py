"""Boxes that a user gives beside the text.

A box is (d0, h0, w0, d1, h1, w1): its first voxel, and the first one behind it; or a dict with those as
`start` and `stop`. Or it is the dict of the
challenge's interactive track (CVPR 2025, `get_boxes.py` of JunMa11/CVPR-MedSegFMCompetition): z, y and x are
D, H and W, and the last voxel belongs to the box. That script measures y and x in the slice `z_mid` alone, so
the target may be larger in other slices; `z_mid` itself is not read.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

from vesal.inference.data.errors import BoxError, shown
from vesal.inference.data.user_prompts import BOXES, Voxel, VoxelBox
from vesal.inference.io.user_values import Notation, Problems, left_out

IN_PLANE = (1, 2)
"""Axes along which the track's boxes say nothing of other slices than ``z_mid``."""
FIRST = ("z_min", "z_mid_y_min", "z_mid_x_min")
LAST = ("z_max", "z_mid_y_max", "z_mid_x_max")
START, STOP = "start", "stop"
NOTATION = Notation(
    BOXES,
    (*FIRST, *LAST, START, STOP),
    "whole numbers (d0, h0, w0, d1, h1, w1), the last three exclusive, or a dict with "
    f"{', '.join((*FIRST, *LAST))}",
    BoxError,
    track=(*FIRST, *LAST),
    one_a_class=True,
)
SMALL_SHARE = 0.5
"""Of a box that reaches out of the volume: where less of it lies inside, another order of axes in which all
of it would is told as an error, else as a note. Boxes of the challenge may be some voxels too wide."""


def parse_boxes(
    values: Any,
    ids: Collection[int],
    shape: Sequence[int],
    source: str,
    problems: Problems | None = None,
    wanted: str | None = None,
) -> tuple[dict[int, tuple[VoxelBox, ...]], tuple[str, ...]]:
    """Boxes by prompt id, ascending, without the prompts that have none.

    Args:
        values: dicts, lists and numbers, see `user_values`; with a single prompt all boxes are its own.
        ids: of the case's prompts.
        shape: of its volume, (D,H,W).
        source: where they were found, for messages.
        problems: gets the errors of boxes that cannot be used, see `user_values.left_out`.
        wanted: how boxes are written there, for messages; None: as dicts, lists and numbers.

    Returns:
        the boxes, clipped to the volume, and a note for each one that was.

    Raises:
        BoxError: no six whole numbers, no voxel, outside of the volume, or of no prompt.
    """
    found: dict[int, tuple[VoxelBox, ...]] = {}
    notes: list[str] = []
    notation = NOTATION.written(wanted)
    for id_, rows in notation.by_prompt(values, ids, source, problems).items():
        where = f"{source}, prompt {id_}"
        boxes: list[VoxelBox] = []
        for row in rows:
            with left_out(problems):
                given = _box(row, where, notation)
                boxes.append(_clipped(given, shape, where))
                if boxes[-1] != given:
                    notes.append(
                        f"{where}: the box from {given.start} to {given.stop} is clipped to the volume, "
                        f"{tuple(shape)}{_other_order(given, shape)}"
                    )
        if boxes:
            found[id_] = tuple(boxes)
    return found, tuple(notes)


def _box(row: Any, source: str, notation: Notation) -> VoxelBox:
    start, stop = _corners(row, source, notation)
    if any(a >= b for a, b in zip(start, stop, strict=True)):
        problem = f"the box {shown(row)} holds no voxel, from {start} to {stop}"
        raise notation.refused(source, problem, malformed=False)
    return VoxelBox(start, stop, IN_PLANE if isinstance(row, dict) and FIRST[0] in row else ())


def _corners(row: Any, source: str, notation: Notation) -> tuple[Voxel, Voxel]:
    """First voxel, and the first one behind."""
    given = row
    if isinstance(row, dict) and START in row and STOP in row:
        row = [*_listed(row[START]), *_listed(row[STOP])]
    if isinstance(row, dict):
        missing = [key for key in (*FIRST, *LAST) if key not in row]
        if missing:
            problem = f"{shown(row)} is a box without {', '.join(missing)}"
            raise notation.refused(source, problem, malformed=False)
        d, h, w = (notation.whole(row[key], source, key) for key in LAST)
        z, y, x = (notation.whole(row[key], source, key) for key in FIRST)
        return (z, y, x), (d + 1, h + 1, w + 1)
    if not isinstance(row, (list, tuple)) or len(row) != 6:
        raise notation.refused(source, f"{shown(row)} is no box")
    return notation.voxel(row[:3], source, given), notation.voxel(row[3:], source, given)


def _listed(value: Any) -> Sequence[Any]:
    return value if isinstance(value, (list, tuple)) else (value,)


def _clipped(box: VoxelBox, shape: Sequence[int], source: str) -> VoxelBox:
    """The part of a box within the volume. Raises BoxError where there is none, or little of it and all of
    it would be within in the order (x,y,z).
    """
    d0, h0, w0 = (max(a, 0) for a in box.start)
    d1, h1, w1 = (min(b, n) for b, n in zip(box.stop, shape, strict=True))
    other = _other_order(box, shape)
    if d0 >= d1 or h0 >= h1 or w0 >= w1:
        raise BoxError(
            f"{source}: the box from {box.start} to {box.stop} lies outside of the volume, {tuple(shape)}. "
            f"Give voxels in the order (D,H,W){other}."
        )
    clipped = replace(box, start=(d0, h0, w0), stop=(d1, h1, w1))
    if other and clipped.voxels < SMALL_SHARE * box.voxels:
        raise BoxError(
            f"{source}: most of the box from {box.start} to {box.stop} lies outside of the volume, "
            f"{tuple(shape)}. Give voxels in the order (D,H,W){other}."
        )
    return clipped


def _other_order(box: VoxelBox, shape: Sequence[int]) -> str:
    """What to say of a box that does not fit into the volume and would in the order (x,y,z)."""
    turned = box.transposed((2, 1, 0))
    if not all(a >= 0 and b <= n for a, b, n in zip(turned.start, turned.stop, shape, strict=True)):
        return ""
    return f"; read as (x,y,z) it would fit, as the box from {turned.start} to {turned.stop}"

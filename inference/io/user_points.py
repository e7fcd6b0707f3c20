"""Points that a user gives beside the text.

A point is (d, h, w), or (d, h, w, label) with label 1 for foreground and 0 for background. Or they are the
clicks of the challenge's interactive track (CVPR 2025, `CVPR25_iter_eval.py` of JunMa11/
CVPR-MedSegFMCompetition), a dict with the lists `fg` and `bg` of voxels. The script's docstring calls a click
[x, y, z], but what it stores, and what is read here, are indices of the array, (d, h, w). `clicks_order` says
which was clicked first, foreground or background; it is not read.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from vesal.inference.data.errors import PointError, shown
from vesal.inference.data.user_prompts import POINTS, Point
from vesal.inference.io.user_values import Notation

FOREGROUND, BACKGROUND = "fg", "bg"
NOTATION = Notation(
    POINTS,
    (FOREGROUND, BACKGROUND),
    "whole numbers (d, h, w) or (d, h, w, label) with label 1 or 0, or a dict with the lists fg and bg",
    PointError,
)


def parse_points(
    values: Any, ids: Collection[int], shape: Sequence[int], source: str
) -> dict[int, tuple[Point, ...]]:
    """Points by prompt id, ascending, without the prompts that have none.

    Args:
        values: dicts, lists and numbers, see `user_values`; with a single prompt all points are its own.
        ids: of the case's prompts.
        shape: of its volume, (D,H,W).
        source: where they were found, for messages.

    Raises:
        PointError: no three or four whole numbers, outside of the volume, or of no prompt.
    """
    found = {}
    for id_, rows in NOTATION.by_prompt(values, ids, source).items():
        where = f"{source}, prompt {id_}"
        labelled = [pair for row in rows for pair in _labelled(row, where)]
        points = tuple(_point(voxel, label, shape, where) for voxel, label in labelled)
        if points:
            found[id_] = points
    return found


def _labelled(row: Any, source: str) -> list[tuple[Any, Any]]:
    """Voxel and label of one point, or of the clicks of one prompt, foreground first."""
    if not isinstance(row, dict):
        has_label = isinstance(row, (list, tuple)) and len(row) == 4
        return [(row[:3], row[3])] if has_label else [(row, 1)]
    clicks = {key: row.get(key) or [] for key in (FOREGROUND, BACKGROUND)}
    wrong = [value for value in clicks.values() if not isinstance(value, (list, tuple))]
    if wrong or not row.keys() <= clicks.keys():
        raise NOTATION.refused(source, shown(row))
    return [(voxel, key == FOREGROUND) for key, voxels in clicks.items() for voxel in voxels]


def _point(voxel: Any, label: Any, shape: Sequence[int], source: str) -> Point:
    if not isinstance(voxel, (list, tuple)) or len(voxel) != 3:
        raise NOTATION.refused(source, f"{shown(voxel)} is no voxel")
    if label not in (0, 1):
        raise NOTATION.refused(source, f"{shown(label)} is no label")
    at = NOTATION.voxel(voxel, source)
    if not all(0 <= i < n for i, n in zip(at, shape, strict=True)):
        raise PointError(
            f"{source}: the point {at} lies outside of the volume, {tuple(shape)}. Give voxels in the order "
            "(D,H,W), counted from 0."
        )
    return Point(at, bool(label))

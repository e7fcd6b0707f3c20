"""Points that a user gives beside the text.

A point is (d, h, w), or (d, h, w, label) with label 1 or `+` for foreground and 0 or `-` for background. Or
they are the clicks of the challenge's interactive track (CVPR 2025, `CVPR25_iter_eval.py` of JunMa11/
CVPR-MedSegFMCompetition), a dict with the lists `fg` and `bg` of voxels. The script's docstring calls a click
[x, y, z], but what it stores, and what is read here, are indices of the array, (d, h, w). `clicks_order` says
which was clicked first, foreground or background; it is not read.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import Any

from vesal.inference.data.errors import PointError, shown
from vesal.inference.data.user_prompts import POINTS, Point
from vesal.inference.io.user_values import MAX_DIGITS, Notation, Problems, left_out

FOREGROUND, BACKGROUND = "fg", "bg"
MAX_COORDINATE = float(10**MAX_DIGITS)
LABELS: dict[Any, bool] = {"+": True, "-": False}
"""Labels as text; else 1 and 0."""
NOTATION = Notation(
    POINTS,
    (FOREGROUND, BACKGROUND),
    "whole numbers (d, h, w) or (d, h, w, label) with label 1 or 0, or a dict with the lists fg and bg",
    PointError,
    depth=2,
    track=(FOREGROUND, BACKGROUND),
)


def parse_points(
    values: Any,
    ids: Collection[int],
    shape: Sequence[int],
    source: str,
    problems: Problems | None = None,
    notes: list[str] | None = None,
    wanted: str | None = None,
) -> dict[int, tuple[Point, ...]]:
    """Points by prompt id, ascending, without the prompts that have none.

    Args:
        values: dicts, lists and numbers, see `user_values`; with a single prompt all points are its own.
        ids: of the case's prompts.
        shape: of its volume, (D,H,W).
        source: where they were found, for messages.
        problems: gets the errors of points that cannot be used, see `user_values.left_out`.
        notes: gets a note where points between voxels are moved to the nearest voxel, and where something
            empty stands for points.
        wanted: how points are written there, for messages; None: as dicts, lists and numbers.

    Raises:
        PointError: no three or four numbers, outside of the volume, or of no prompt.
    """
    found = {}
    notation = NOTATION.written(wanted)
    notes = [] if notes is None else notes
    for id_, rows in notation.by_prompt(values, ids, source, problems).items():
        where = f"{source}, prompt {id_}"
        points, moved = [], 0
        empty = sum(_empty_entries(row) for row in rows)
        if empty:
            notes.append(f"{where}: empty entries are taken as no points: {empty}")
        for voxel, label in _all_labelled(rows, where, problems, notation):
            with left_out(problems):
                points.append(_point(voxel, label, shape, where, notation))
                moved += tuple(voxel) != points[-1].voxel
        if points:
            found[id_] = tuple(points)
        if moved:
            notes.append(f"{where}: {moved} points between voxels are taken as the nearest voxel")
    return found


def _all_labelled(
    rows: Sequence[Any], source: str, problems: Problems | None, notation: Notation
) -> list[tuple[Any, Any]]:
    """Voxels and labels of all rows of one prompt."""
    found: list[tuple[Any, Any]] = []
    for row in rows:
        with left_out(problems):
            found += _labelled(row, source, notation)
    return found


def _labelled(row: Any, source: str, notation: Notation) -> list[tuple[Any, Any]]:
    """Voxel and label of one point, or of the clicks of one prompt, foreground first."""
    if not isinstance(row, dict):
        has_label = isinstance(row, (list, tuple)) and len(row) == 4
        return [(row[:3], row[3])] if has_label else [(row, 1)]
    clicks = {key: row.get(key) or [] for key in (FOREGROUND, BACKGROUND)}
    wrong = [value for value in clicks.values() if not isinstance(value, (list, tuple))]
    if wrong or not row.keys() <= clicks.keys():
        raise notation.refused(source, shown(row))
    return [(voxel, key == FOREGROUND) for key, voxels in clicks.items() for voxel in _voxels(voxels)]


def _empty_entries(row: Any) -> int:
    """How much in one row says nothing: itself, or entries of its lists of clicks."""
    if not isinstance(row, dict):
        return 0
    lists = [value for value in row.values() if isinstance(value, (list, tuple))]
    return sum(voxel is None or voxel == [] for voxels in lists for voxel in voxels) if row else 1


def _voxels(clicks: Sequence[Any]) -> list[Any]:
    """The voxels of a list, which may be one voxel alone; None is none."""
    is_one = any(isinstance(item, (int, float)) for item in clicks)
    return [clicks] if is_one else [voxel for voxel in clicks if voxel is not None and voxel != []]


def _point(voxel: Any, label: Any, shape: Sequence[int], source: str, notation: Notation) -> Point:
    if not isinstance(voxel, (list, tuple)) or len(voxel) != 3:
        raise notation.refused(source, f"{shown(voxel)} is no voxel")
    label = LABELS.get(label.strip(), label) if isinstance(label, str) else label
    if isinstance(label, (list, dict)) or label not in (0, 1):
        is_number = isinstance(label, (int, float))
        raise notation.refused(source, f"{shown(label)} is no label", malformed=not is_number)
    at = notation.voxel([_nearest(value) for value in voxel], source, voxel)
    if all(0 <= i < n for i, n in zip(at, shape, strict=True)):
        return Point(at, bool(label))
    fits = all(0 <= i < n for i, n in zip(at[::-1], shape, strict=True))
    other = f"; read as (x,y,z) it would be the voxel {at[::-1]}" if fits else ""
    raise PointError(
        f"{source}: the point {at} lies outside of the volume, {tuple(shape)}. Give voxels in the order "
        f"(D,H,W), counted from 0{other}."
    )


def _nearest(value: Any) -> Any:
    """The voxel that a coordinate lies in, where voxel j has its centre at j; other values as they are."""
    return math.floor(value + 0.5) if isinstance(value, float) and abs(value) < MAX_COORDINATE else value

"""Whether a target is in a slice, as the network tells it, along D of the volume: for the report's curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from vesal.inference.data.orientation import Orientation
from vesal.inference.data.prompt import Query
from vesal.inference.families.contract import Capabilities
from vesal.inference.geometry.views import View
from vesal.inference.stages.stage_result import StageResult

SlicePresence = tuple[np.ndarray, View]
"""(n,) float32 per slice of the view's thick axis, and the view."""


def add_presence(
    told: dict[int, list[SlicePresence]], result: StageResult, queries: Sequence[Query], can: Capabilities
) -> None:
    """Keep what a pass told of its queries, by class, where the family tells it and slices lie along D."""
    if can.presence and result.view.thick_axis == 0:
        for query, values in zip(queries, result.presence, strict=True):
            told.setdefault(query.class_id, []).append((values, result.view))


def presence_along_d(
    told: Mapping[int, Sequence[SlicePresence]],
    classes: Mapping[int, Sequence[int]],
    depth: int,
    orientation: Orientation,
) -> dict[int, np.ndarray]:
    """Presence in each slice along D of the case as it came, (depth,) float32 0..1 by prompt id.

    A later pass counts where it ran, a prompt's targets by the largest of them; NaN where nothing was told.
    Empty where slices of the network lie along another axis of the case.

    Args:
        told: class -> what passes told of it, the first one first.
        classes: prompt id -> its classes.
        depth: slices along D.
        orientation: how the case was turned for the network.
    """
    if orientation.order[0] != 0:
        return {}
    by_class = {id_: _on_volume(each, depth) for id_, each in told.items()}
    known = {id_: [by_class[each] for each in mine if each in by_class] for id_, mine in classes.items()}
    return {id_: _turned(np.fmax.reduce(mine), orientation) for id_, mine in known.items() if mine}


def _turned(curve: np.ndarray, orientation: Orientation) -> np.ndarray:
    return curve[::-1] if 0 in orientation.reversed else curve


def _on_volume(told: Sequence[SlicePresence], depth: int) -> np.ndarray:
    """(depth,) of what passes told one after the other; a native slice has that of the view at its centre."""
    curve = np.full(depth, np.nan, np.float32)
    for values, view in told:
        at = np.floor((np.arange(depth) + 0.5 - view.start[0]) / view.step[0]).astype(int)
        inside = (at >= 0) & (at < len(values))
        curve[inside] = values[at[inside]]
    return curve

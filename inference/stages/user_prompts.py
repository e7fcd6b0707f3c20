"""A case's user prompts: what a set of weights can use of them, and boxes and points on views."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import numpy as np

from vesal.inference.data.prompt import Query
from vesal.inference.data.user_prompts import MASK, UserPrompts, not_used
from vesal.inference.families.contract import UserInput
from vesal.inference.geometry.views import Box, View, triple


def usable(
    user: UserPrompts, can: Collection[str], weights: str, interactive: bool = False
) -> tuple[UserPrompts, tuple[str, ...], tuple[str, ...]]:
    """What weights can use of a case's user prompts.

    Args:
        user: of the case.
        can: the kinds that the weights take, of ``user_prompts.KINDS``.
        weights: their name.
        interactive: the case is a file of the challenge's interactive track.

    Returns:
        the user prompts without the kinds that cannot be used; a fallback where the mask is one of them; a
        note for boxes and points, which the challenge's files may hold whatever is asked, as those of the
        interactive track do with a mask.
    """
    unused = tuple(kind for kind in user.kinds() if kind not in can)
    said = {kind: not_used(kind, f"the weights {weights} take none") for kind in unused}
    fallbacks = () if interactive else tuple(text for kind, text in said.items() if kind == MASK)
    notes = tuple(text for text in said.values() if text not in fallbacks)
    return user.without(unused), fallbacks, notes


def on_views(user: UserPrompts, queries: Sequence[Query]) -> Callable[[View], UserInput] | None:
    """Boxes and points of some queries on a view, in its voxels; None where there are none."""
    ids = [query.prompt_id for query in queries]
    if not (user.boxes.keys() | user.points.keys()) & set(ids):
        return None

    def on_view(view: View) -> UserInput:
        start, step = np.array(view.start), np.array(view.step)
        boxes = (
            np.array([(box.start, box.stop) for box in user.boxes.get(id_, ())], np.float64).reshape(-1, 2, 3)
            for id_ in ids
        )
        points = (
            np.array([(*p.voxel, p.foreground) for p in user.points.get(id_, ())], np.float64).reshape(-1, 4)
            for id_ in ids
        )
        return UserInput(
            tuple((each - start) / step for each in boxes),
            tuple(np.column_stack([(each[:, :3] + 0.5 - start) / step - 0.5, each[:, 3]]) for each in points),
        )

    return on_view


def box_around(user: UserPrompts, query: Query) -> Box | None:
    """The box that holds all boxes of a query, in native voxel edges; None where it has none."""
    boxes = user.boxes.get(query.prompt_id, ())
    if not boxes:
        return None
    start = np.min([box.start for box in boxes], 0)
    stop = np.max([box.stop for box in boxes], 0)
    return Box(triple(start.astype(float).tolist()), triple(stop.astype(float).tolist()))

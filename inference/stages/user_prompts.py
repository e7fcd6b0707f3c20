"""A case's user prompts: what a set of weights can use of them, and boxes and points on views."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import numpy as np

from vesal.inference.data.prompt import Query
from vesal.inference.data.user_prompts import MASK, UserPrompts, not_used
from vesal.inference.families.contract import UserInput
from vesal.inference.geometry.views import Box, View, triple


def usable(user: UserPrompts, can: Collection[str]) -> UserPrompts:
    """A case's user prompts without the kinds that weights do not take; ``can`` are those they do, of
    ``user_prompts.KINDS``.
    """
    return user.without([kind for kind in user.kinds() if kind not in can])


def told_unused(
    user: UserPrompts,
    can: Collection[str],
    weights: str,
    interactive: bool = False,
    kept: Collection[int] = (),
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What the report says of the user prompts that ``usable`` leaves out.

    Args:
        user: of the case.
        can: the kinds that the weights take, of ``user_prompts.KINDS``.
        weights: their name.
        interactive: the case is a file of the challenge's interactive track.
        kept: prompts whose part of the mask is their result (``unnamed.KeptMask``), which they tell.

    Returns:
        a fallback where the mask is left out; a note for boxes and points, which the challenge's files may
        hold whatever is asked, as those of the interactive track do with a mask.
    """
    why, said = f"the weights {weights} take none", {}
    for kind in user.kinds():
        ids = [id_ for id_ in user.ids(kind) if kind != MASK or id_ not in kept]
        if kind not in can and ids:
            said[kind] = not_used(kind, why, ids if len(ids) < len(user.ids(kind)) else ())
    fallbacks = () if interactive else tuple(text for kind, text in said.items() if kind == MASK)
    return fallbacks, tuple(text for text in said.values() if text not in fallbacks)


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

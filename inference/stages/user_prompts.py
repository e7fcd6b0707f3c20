"""Which user prompts a set of weights can use, and what the report says of the others."""

from __future__ import annotations

from collections.abc import Collection

from vesal.inference.data.user_prompts import UserPrompts, not_used


def usable(user: UserPrompts, can: Collection[str], weights: str) -> tuple[UserPrompts, tuple[str, ...]]:
    """What weights can use of a case's user prompts.

    Args:
        user: of the case.
        can: the kinds that the weights take, of ``user_prompts.KINDS``.
        weights: their name.

    Returns:
        the user prompts without the kinds that cannot be used, and a fallback for each of these kinds.
    """
    unused = tuple(kind for kind in user.kinds() if kind not in can)
    told = tuple(not_used(kind, f"the weights {weights} take none") for kind in unused)
    return user.without(unused), told

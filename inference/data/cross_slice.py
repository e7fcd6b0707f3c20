"""Which heads of an attention look at another slice: a setting that networks, converter and profile share."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

Offset = Annotated[int, Meta(ge=-64, le=64)]


class CrossSlice(Struct, frozen=True, forbid_unknown_fields=True):
    """Cross-slice dual-head attention (Bio2Vol section 2.2), see ``networks/cross_slice.py``.

    The paper has one head and an offset of 2, which is the default where a profile asks for it at all. With
    several heads its source, ZeroI2V, looks both ways; so do these.
    """

    heads: Annotated[int, Meta(ge=0)] = 1
    """How many heads take keys and values of another slice, the first ones; 0: none."""
    offset: Offset | tuple[Offset, ...] = 2
    """Where that slice lies, in slices of the run: one number, whose sign alternates from head to head, or a
    list with one for each head."""

    def __post_init__(self) -> None:
        """Raise ValueError where heads and offsets contradict each other."""
        if isinstance(self.offset, tuple) and len(self.offset) != self.heads:
            raise ValueError(
                f"`offset` lists {len(self.offset)} offsets for {self.heads} heads; give one for each "
                "head, or a number for all"
            )
        if 0 in self.offsets:
            raise ValueError("`offset` is 0, which is the slice itself; give another, or `heads` 0")

    @property
    def offsets(self) -> tuple[int, ...]:
        """Of the heads 0, 1, ... in this order."""
        if isinstance(self.offset, tuple):
            return self.offset
        return tuple(-self.offset if head % 2 else self.offset for head in range(self.heads))

    @property
    def reach(self) -> int:
        """By how many slices a head looks away at most; 0 where none does."""
        return max(map(abs, self.offsets), default=0)


NO_CROSS_SLICE = CrossSlice(heads=0)
"""Every slice by itself."""

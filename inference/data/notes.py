"""Notes of a case: what was done with it, and of these what changes the result."""

from __future__ import annotations

from collections.abc import Iterable


class Caution(str):
    """A note of something that changes the result, or what may be made of it: slices that were missing, one
    series of several, a voxel size that is only guessed. Reports show it among the warnings.
    """

    __slots__ = ()


def cautions(notes: Iterable[str]) -> tuple[str, ...]:
    """Those of the notes that are cautions, each once, in their order."""
    return tuple(dict.fromkeys(note for note in notes if isinstance(note, Caution)))

"""What a rule is: one entry of a profile's list, with a pure function beside it.

There are four kinds, by what they work on. A family or a profile gives the list; the engine runs it in its
order at each of the four places, and knows no rule by name.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from msgspec import Meta, Struct

Share = Annotated[float, Meta(ge=0, le=1)]
Count = Annotated[int, Meta(ge=1)]
SpacingMm = tuple[float, float, float]


class Rule(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """An entry of `postprocess` in a manifest, without its name."""

    needs_presence: ClassVar[bool] = False
    """Whether it needs a network that tells presence."""
    needs_edges: ClassVar[bool] = False
    """Whether it needs a network that tells the edges of objects."""
    one_object: ClassVar[bool] = False
    """Whether it takes each target for a single thing: not for a prompt that is run as left and right."""


class SliceRule(Rule, frozen=True):
    """Empties slices of one stage's probabilities, before the region of the next stage is taken from them."""

    kinds: tuple[str, ...] | None = None
    """Kinds of targets that it is for, as the vocabulary has them; null: all."""

    competes: ClassVar[bool] = False
    """Whether it compares the sides of one concept; it is then given them together, and nothing else."""
    competes_with_all: ClassVar[bool] = False
    """Whether it compares all targets of a stage that it is for; it is then given them together."""

    def may_keep(self, presence: np.ndarray) -> np.ndarray:
        """(N, S) bool: which slices may stay by their presence (N, S); what may not is not worth reading."""
        return np.ones(presence.shape, bool)

    def keep(self, planes: np.ndarray, presence: np.ndarray) -> np.ndarray:
        """Which slices stay.

        Args:
            planes: (N, S, h, w) float32 probabilities of N classes in S slices.
            presence: (N, S) float32.

        Returns:
            (N, S) bool.
        """
        raise NotImplementedError


@dataclass(frozen=True, eq=False)
class ClassPart:
    """The part of a label map in which one class is changed, in place."""

    labels: np.ndarray
    """(d, h, w) unsigned; holds the whole class"""
    probability: np.ndarray
    """(d, h, w) float, of the class that won each voxel"""
    class_id: int
    spacing_dhw_mm: SpacingMm
    edges: Callable[[slice], np.ndarray] | None = None
    """gives (planes, h, w) float32 0..1 of some planes: the probability that an object of the class ends
    there; None where nothing is known of it"""


class ClassRule(Rule, frozen=True):
    """Changes one class of the label map inside its own box."""

    kinds: tuple[str, ...] | None = None
    """Kinds of targets that it is for, as the vocabulary has them; null: all."""
    instances: bool = False
    """Also where objects are wanted, which are split afterwards."""
    semantic: bool = True
    """Also where no objects are wanted."""

    only_removes: ClassVar[bool] = False
    """Whether it makes background of the class and changes nothing else: classes can then be run at once."""

    def margin(self, spacing_dhw_mm: SpacingMm) -> tuple[int, int, int]:
        """Voxels (D, H, W) around the class that it may change or needs to see."""
        return 0, 0, 0

    def apply(self, part: ClassPart) -> None:
        """Change the class in place."""
        raise NotImplementedError


@dataclass(frozen=True, eq=False)
class Cut:
    """A class cut into objects."""

    pieces: np.ndarray
    """(d, h, w) uint32: 1..n, 0 where no object stays; pieces are 6-connected, if their rule does not say
    otherwise"""
    sizes: np.ndarray
    """(n,) voxels of each"""
    left_whole: int = 0
    """components that were not looked at for want of time"""


class CutRule(Rule, frozen=True):
    """Separates the objects of one class that touch, before objects are counted."""

    concepts: tuple[str, ...] | None = ()
    """The targets that it is for, as the vocabulary names them; no other one is cut. Null: all."""
    kinds: tuple[str, ...] | None = None
    """Kinds of targets that it is for, as the vocabulary has them; null: all."""

    def cut(self, part: ClassPart, affords: Callable[[float], bool]) -> Cut:
        """The objects of a part's class; ``affords`` says whether so many seconds may be taken."""
        raise NotImplementedError


class MapRule(Rule, frozen=True):
    """Makes the final label map where objects are wanted."""

    def split(self, labels: np.ndarray) -> np.ndarray:
        """(D, H, W) prompt ids -> (D, H, W) object ids."""
        raise NotImplementedError

    def number(self, pieces: np.ndarray, sizes: np.ndarray) -> np.ndarray:
        """The same of (D, H, W) objects that are cut already: 1..n, with (n,) voxels each."""
        return self.split(pieces)

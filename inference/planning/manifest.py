"""``manifest.json`` as it is written: what every family's holds, field by field."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta, Struct, structs

from vesal.inference.data.terms import FINE, MASK_STAGES, MODALITIES, SIDES
from vesal.inference.planning.checked import one_of
from vesal.inference.planning.rules import FilterRule, OrientationRule, Share, StageRule

MANIFEST = "manifest.json"

Modality = Annotated[str, one_of(MODALITIES)]
Side = Annotated[str, one_of(SIDES)]
FileName = Annotated[str, Meta(min_length=1)]


class CoveredTarget(Struct, frozen=True, forbid_unknown_fields=True):
    """A target that the weights were trained on, with what was measured on held-out patients."""

    concept: str
    side: Side | None
    modality: Modality
    dsc: Share | None = None
    """Mean Dice on validation cases; None where there was none to measure on."""
    any_orientation: bool = False
    """Whether training showed it turned half about any axis; what was not is bound to the way its set stores
    it (``inference/stages/orientation.py``)."""


class OverrideEntry(Struct, frozen=True, forbid_unknown_fields=True):
    """What differs from the stage rules for some targets."""

    modality: Modality | None = None
    kind: str | None = None
    coarse: dict[str, Any] = {}
    """Some fields of a ``StageRule``; the others are those of all targets."""
    fine: dict[str, Any] = {}


class FileEntry(Struct, frozen=True, forbid_unknown_fields=True):
    """What is known of a file of the folder."""

    sha256: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]


class Manifest(Struct, frozen=True, kw_only=True):
    """All that every family's manifest holds; further fields are the family's own."""

    name: str
    family: str
    licence: str
    graphs: dict[str, FileName | dict[str, FileName]]
    """Graph files, by what the family tells them apart by."""
    bank: FileName
    files: dict[str, FileEntry]
    coarse: StageRule
    fine: StageRule
    targets: tuple[CoveredTarget, ...]
    overrides: tuple[OverrideEntry, ...] = ()
    filters: FilterRule = FilterRule()
    hybrid: Annotated[str, one_of(MASK_STAGES)] = FINE
    orientation: OrientationRule | None = None
    # What follows only people read, and training.
    version: int = 1
    about: str = ""
    source: Any = None
    sources: Any = None
    not_covered: tuple[CoveredTarget, ...] = ()
    """Targets that were trained on and are not good enough to be answered."""

    def used_files(self) -> list[str]:
        """Names of the files that cannot be done without."""
        graphs = [[entry] if isinstance(entry, str) else entry.values() for entry in self.graphs.values()]
        return [*(name for names in graphs for name in names), self.bank]


COMMON = frozenset(field.encode_name for field in structs.fields(Manifest)) - {"graphs"}
"""Fields that a family's own part does not repeat; which graphs it has is its own affair."""

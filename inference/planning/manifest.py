"""``manifest.json``: the fields of every family."""

from __future__ import annotations

import math
from typing import Annotated, Any

from msgspec import Meta, Struct, structs

from vesal.inference.data.prompt import Query
from vesal.inference.data.terms import FINE, MODALITIES, SIDES
from vesal.inference.planning.checked import one_of
from vesal.inference.planning.rules import IdentificationRule, OrientationRule, Share, StageRule
from vesal.inference.planning.weights_folder import MANIFEST as MANIFEST

Modality = Annotated[str, one_of(MODALITIES)]
Side = Annotated[str, one_of(SIDES)]
FileName = Annotated[str, Meta(pattern=r"^\w[\w.+ -]*(/\w[\w.+ -]*)*\Z")]
"""Of a file in the weights' folder, or in a folder below it: never `..`, a drive, or a path from the root."""
Digest = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
"""SHA-256, hexadecimal."""


class CoveredTarget(Struct, frozen=True, forbid_unknown_fields=True):
    """A target that the weights were trained on, with what was measured on held-out patients."""

    concept: str
    side: Side | None
    modality: Modality
    dsc: Share | None = None
    """Mean Dice on validation cases; None where there was none to measure on."""
    any_orientation: bool = False
    """Whether it was trained with half turns about any axis; if not, it needs the orientation of its
    training set (``inference/stages/orientation.py``)."""
    thickest_slice_mm: Annotated[float, Meta(gt=0)] | None = None
    """Of the volumes that it was trained on, as they were scanned. A view of thicker slices is interpolated
    to this, where the layout chooses the spacing; None: views are as thick as the scan's slices."""
    mirrored: bool | None = None
    """Whether it was trained mirrored along any one axis, its side, if it has one, told by the anatomy: then
    a rule's mirrored copies hold for it (``StageRule.mirror_axes``). None: they do where it has no side."""

    @property
    def name(self) -> str:
        """With its side: `left kidney`."""
        return f"{self.side} {self.concept}" if self.side else self.concept

    def query(self, prompt_id: int, kind: str) -> Query:
        """The target as it is run for a prompt."""
        return Query(
            prompt_id,
            self.name,
            self.concept,
            self.side,
            self.modality,
            kind,
            any_orientation=self.any_orientation,
            thickest_slice_mm=math.inf if self.thickest_slice_mm is None else self.thickest_slice_mm,
            mirrored=self.mirrored,
        )


class SeenTogether(Struct, frozen=True, forbid_unknown_fields=True):
    """Targets that are run together, whichever of them are asked for (``planning.seen_together``)."""

    modality: Modality
    targets: Annotated[tuple[str, ...], Meta(min_length=2)]
    """By their names with sides; those that are neither in `targets` nor in `not_covered` are left out."""


class OverrideEntry(Struct, frozen=True, forbid_unknown_fields=True):
    """Changes of the stage rules for some targets."""

    modality: Modality | None = None
    kind: str | None = None
    stages: dict[str, dict[str, Any]] = {}
    """By the stage's name some fields of its ``StageRule``; the others are those of all targets."""


class SourceFile(Struct, frozen=True, forbid_unknown_fields=True):
    """A file that the weights were made of."""

    file: str
    """Its name, without a folder."""
    sha256: Digest | None = None
    step: int | None = None
    """Training step that the file states."""


class Provenance(Struct, frozen=True, forbid_unknown_fields=True):
    """Where weights come from; None where it is not known."""

    paper: str | None = None
    repository: str | None = None
    """Of the code; of the weights where only that is known; `this one` for Vesal's own."""
    commit: Annotated[str, Meta(pattern="^[0-9a-f]{7,40}$")] | None = None
    """State of the repository that the facts about the weights were taken from."""
    code_licence: str | None = None
    weights_licence: str | None = None
    files: dict[str, SourceFile] = {}
    """By their role; empty for weights that were trained here."""
    modalities: tuple[Modality, ...] = ()
    """Those that the network was trained on."""


class FileEntry(Struct, frozen=True, forbid_unknown_fields=True):
    """What is known of a file of the folder."""

    sha256: Digest


class Manifest(Struct, frozen=True, kw_only=True):
    """All that every family's manifest holds; further fields are the family's own."""

    name: str
    family: str
    licence: str
    graphs: dict[str, FileName | dict[str, FileName]]
    """Graph files, by the family's own keys."""
    bank: FileName | None = None
    """npz of stored text vectors, where the family has one."""
    files: dict[FileName, FileEntry]
    stages: Annotated[tuple[StageRule, ...], Meta(min_length=1)]
    """In the order in which they are run."""
    targets: tuple[CoveredTarget, ...]
    overrides: tuple[OverrideEntry, ...] = ()
    postprocess: tuple[dict[str, Any], ...] = ()
    """Rules of ``postprocess`` in their order: each names its `rule`, and the fields that differ from the
    defaults."""
    hybrid: str = FINE
    """Stage that takes a user's mask, by name, or `off`."""
    orientation: OrientationRule | None = None
    identification: IdentificationRule = IdentificationRule()
    seen_together: tuple[SeenTogether, ...] = ()
    provenance: Provenance = Provenance()
    not_covered: tuple[CoveredTarget, ...] = ()
    """Targets that were trained, with a Dice too low to be used. They are run as companions alone."""
    # The rest is for people and for training only.
    version: int = 1
    about: str = ""
    source: Any = None
    sources: Any = None

    def used_files(self) -> list[str]:
        """Names of the required files."""
        graphs = [[entry] if isinstance(entry, str) else entry.values() for entry in self.graphs.values()]
        return [*(name for names in graphs for name in names), *([self.bank] if self.bank else [])]


COMMON = frozenset(field.encode_name for field in structs.fields(Manifest)) - {"graphs"}
"""Fields that a family's own struct does not repeat; it defines its own graphs."""

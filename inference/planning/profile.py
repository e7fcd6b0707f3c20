"""The profile of a set of weights: ``manifest.json``, checked, with its files.

Everything that distinguishes one set of weights from another is data here; the engine has no branch on a
name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from msgspec import structs

from vesal.inference.data.errors import ProfileError
from vesal.inference.data.terms import FINE
from vesal.inference.planning.checked import checked, read_json
from vesal.inference.planning.digests import Digests
from vesal.inference.planning.manifest import (
    COMMON,
    MANIFEST,
    CoveredTarget,
    Manifest,
    OverrideEntry,
    Provenance,
)
from vesal.inference.planning.rules import FilterRule, OrientationRule, StageRule

T = TypeVar("T")


@dataclass(frozen=True)
class Override:
    """Stage rules for some targets only; the first that fits counts."""

    modality: str | None
    kind: str | None
    coarse: StageRule
    fine: StageRule


@dataclass(frozen=True)
class Profile:
    """One set of weights."""

    name: str
    folder: Path
    family: str
    licence: str
    bank: Path
    """npz with ``names`` (K,) and ``vectors`` (K, T) float16."""
    coarse: StageRule
    fine: StageRule
    filters: FilterRule
    overrides: tuple[Override, ...]
    targets: tuple[CoveredTarget, ...]
    hybrid: str = FINE
    """Stage that takes a user's mask as spatial prompt: `coarse`, `fine` or `off`."""
    orientation: OrientationRule | None = None
    """When other orientations are tried; None: never."""
    provenance: Provenance = Provenance()
    """Where the weights come from."""
    family_fields: Mapping[str, Any] = field(default_factory=dict)
    """The manifest's ``graphs``, and what not every family has: parsed JSON, which the family checks."""

    def read_family(self, kind: type[T]) -> T:
        """``family_fields`` as the family's struct, which forbids unknown ones. Raises ProfileError."""
        return checked(self.family_fields, kind, self.folder / MANIFEST)

    @cached_property
    def _covered(self) -> frozenset[tuple[str, str | None, str]]:
        return frozenset((t.concept, t.side, t.modality) for t in self.targets)

    @cached_property
    def _turned(self) -> frozenset[tuple[str, str | None, str]]:
        return frozenset((t.concept, t.side, t.modality) for t in self.targets if t.any_orientation)

    def covers(self, concept: str, side: str | None, modality: str) -> bool:
        """Whether the weights were trained on this target in this modality."""
        return (concept, side, modality) in self._covered

    def turns(self, concept: str, side: str | None, modality: str) -> bool:
        """Whether training showed this target turned half about any axis."""
        return (concept, side, modality) in self._turned

    def modalities_of(self, concept: str) -> list[str]:
        """Modalities in which some side of ``concept`` is covered."""
        return sorted({t.modality for t in self.targets if t.concept == concept})

    def rules_for(self, modality: str, kind: str) -> tuple[StageRule, StageRule]:
        """Coarse and fine rule for a target."""
        for o in self.overrides:
            if o.modality in (None, modality) and o.kind in (None, kind):
                return o.coarse, o.fine
        return self.coarse, self.fine


def read_profile(folder: Path, check_digests: bool = True) -> Profile:
    """Read ``folder/manifest.json`` and check it, and that the files are those that it lists.

    What was hashed is kept in the folder, see ``digests.Digests``; without ``check_digests`` files only have
    to be there.

    Raises:
        ProfileError: no such folder or manifest, not JSON, a field missing, unknown, of a wrong type or out
            of range (``checked.checked``), a file missing or changed. The fields that are the family's own
            are checked when its model is opened.
    """
    path = folder / MANIFEST
    content = read_json(path, "--weights takes a name in weights/ or a folder.")
    manifest = checked(content, Manifest, path)
    overrides = tuple(_override(entry, n, manifest, path) for n, entry in enumerate(manifest.overrides))
    _check_files(folder, manifest, check_digests)
    return Profile(
        name=manifest.name,
        folder=folder,
        family=manifest.family,
        licence=manifest.licence,
        bank=folder / manifest.bank,
        coarse=manifest.coarse,
        fine=manifest.fine,
        filters=manifest.filters,
        overrides=overrides,
        targets=manifest.targets,
        hybrid=manifest.hybrid,
        orientation=manifest.orientation,
        provenance=manifest.provenance,
        family_fields={name: value for name, value in content.items() if name not in COMMON},
    )


def _override(entry: OverrideEntry, number: int, manifest: Manifest, path: Path) -> Override:
    """An entry of `overrides` with whole rules: what it does not say is as for all targets."""
    coarse, fine = (
        checked({**structs.asdict(rule), **changes}, StageRule, path, f"$.overrides[{number}].{stage}")
        for stage, rule, changes in (
            ("coarse", manifest.coarse, entry.coarse),
            ("fine", manifest.fine, entry.fine),
        )
    )
    return Override(entry.modality, entry.kind, coarse, fine)


def _check_files(folder: Path, manifest: Manifest, digests: bool) -> None:
    for used in manifest.used_files():
        if used not in manifest.files:
            raise ProfileError(f"{folder / MANIFEST} uses {used} but gives no sha256 for it; export again.")
    seen = Digests(folder)
    for name, entry in manifest.files.items():
        path = folder / name
        if not path.is_file():
            raise ProfileError(
                f"{path} is missing; {folder / MANIFEST} lists it. Fetch or export the weights again."
            )
        if digests:
            came = seen.of(name)
            if came != entry.sha256:
                raise ProfileError(
                    f"{path} has sha256 {came[:12]}..., {folder / MANIFEST} says {entry.sha256[:12]}...; "
                    "the file was changed or cut. Fetch or export the weights again."
                )
    seen.keep()

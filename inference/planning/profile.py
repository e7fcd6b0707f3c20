"""The profile of a set of weights: ``manifest.json``, checked, with its files.

Everything that distinguishes one set of weights from another is data here; the engine has no branch on a
name.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from msgspec import to_builtins

from vesal.inference.data.errors import ProfileError, shown
from vesal.inference.data.terms import FINE, OFF, REFINE, STAGES
from vesal.inference.geometry.layouts import Slices
from vesal.inference.geometry.square_slices import SquareSlices
from vesal.inference.io.digests import Digests
from vesal.inference.planning.checked import checked, read_json
from vesal.inference.planning.manifest import (
    COMMON,
    MANIFEST,
    CoveredTarget,
    Manifest,
    OverrideEntry,
    Provenance,
    SeenTogether,
)
from vesal.inference.planning.rules import IdentificationRule, OrientationRule, StageRule
from vesal.inference.prompts.text_bank import TextBank
from vesal.inference.prompts.vocabulary import load_vocabulary
from vesal.postprocess.registry import RULES
from vesal.postprocess.rule import Rule

T = TypeVar("T")


@dataclass(frozen=True)
class Override:
    """Stage rules for some targets only; the first that fits counts."""

    modality: str | None
    kind: str | None
    stages: tuple[StageRule, ...]


@dataclass(frozen=True)
class Profile:
    """One set of weights."""

    name: str
    folder: Path
    family: str
    licence: str
    bank: Path | None
    """npz with ``names`` (K,) and ``vectors`` (K, T) float16; None where the family has none."""
    stages: tuple[StageRule, ...]
    """In the order in which they are run."""
    postprocess: tuple[Rule, ...]
    """What is done to results, in this order."""
    overrides: tuple[Override, ...]
    targets: tuple[CoveredTarget, ...]
    not_covered: tuple[CoveredTarget, ...] = ()
    """Targets that were trained and are not run when they are asked for: their results are too poor."""
    hybrid: str = FINE
    """Stage that takes a user's mask as spatial prompt, or `off`."""
    orientation: OrientationRule | None = None
    """When other orientations are tried; None: never."""
    identification: IdentificationRule = IdentificationRule()
    """When a prompt without a sentence is given a name."""
    seen_together: tuple[SeenTogether, ...] = ()
    """Targets that are run together; a target is in the first group that names it."""
    provenance: Provenance = Provenance()
    """Where the weights come from."""
    files: Collection[str] = ()
    """Names of the folder's files with a digest; what is not among them is not opened."""
    family_fields: Mapping[str, Any] = field(default_factory=dict)
    """The manifest's ``graphs``, and what not every family has: parsed JSON, which the family checks."""
    text_embeddings: TextBank | None = None
    """Text vectors that the user made; they go before those of the bank."""

    def read_family(self, kind: type[T]) -> T:
        """``family_fields`` as the family's struct, which forbids unknown ones. Raises ProfileError."""
        return checked(self.family_fields, kind, self.folder / MANIFEST)

    def file(self, name: str) -> Path:
        """The path of a file that the manifest names. Raises ProfileError where it gives no digest for it."""
        if name not in self.files:
            raise ProfileError(
                f"{self.folder / MANIFEST} uses {name} but gives no sha256 for it. Export or convert the "
                "weights again."
            )
        return self.folder / name

    def bank_path(self) -> Path:
        """The bank, for a family that needs one. Raises ProfileError where there is none."""
        if self.bank is None:
            raise ProfileError(
                f"{self.folder / MANIFEST}: `$.bank` is missing; the family {self.family} needs stored text "
                "vectors. Export or convert the weights again."
            )
        return self.bank

    @cached_property
    def _covered(self) -> dict[tuple[str, str | None, str], CoveredTarget]:
        return {(t.concept, t.side, t.modality): t for t in self.targets}

    def covers(self, concept: str, side: str | None, modality: str) -> bool:
        """Whether the weights were trained on this target in this modality."""
        return (concept, side, modality) in self._covered

    def target(self, concept: str, side: str | None, modality: str) -> CoveredTarget:
        """A covered target, as the manifest lists it."""
        return self._covered[concept, side, modality]

    def modalities_of(self, concept: str) -> list[str]:
        """Modalities in which some side of ``concept`` is covered."""
        return sorted({t.modality for t in self.targets if t.concept == concept})

    def rules_for(self, modality: str, kind: str) -> tuple[StageRule, ...]:
        """The rule of every stage for a target."""
        for o in self.overrides:
            if o.modality in (None, modality) and o.kind in (None, kind):
                return o.stages
        return self.stages

    def stage(self, name: str) -> StageRule:
        """The rule of one stage. Raises ProfileError where there is none of this name."""
        for rule in self.stages:
            if rule.name == name:
                return rule
        raise ProfileError(
            f"{self.name} has the stages {', '.join(r.name for r in self.stages)}, not {name}."
        )


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
    content = read_json(path, "Weights are named by their folder in weights/, or by its path.")
    manifest = checked(content, Manifest, path)
    _check_stages(manifest, content["stages"], path)
    overrides = tuple(_override(entry, n, manifest, path) for n, entry in enumerate(manifest.overrides))
    _check_files(folder, manifest, check_digests)
    return Profile(
        name=manifest.name,
        folder=folder,
        family=manifest.family,
        licence=manifest.licence,
        bank=folder / manifest.bank if manifest.bank else None,
        stages=manifest.stages,
        postprocess=_rules(manifest, path),
        overrides=overrides,
        targets=manifest.targets,
        not_covered=manifest.not_covered,
        hybrid=manifest.hybrid,
        orientation=manifest.orientation,
        identification=manifest.identification,
        seen_together=manifest.seen_together,
        provenance=manifest.provenance,
        files=frozenset(manifest.files),
        family_fields={name: value for name, value in content.items() if name not in COMMON},
    )


def _check_stages(manifest: Manifest, content: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Raise ProfileError where stages contradict each other, or the field of a mask names none of them.

    ``content`` is what the file says of the stages: there each says its name and role.
    """
    names = [rule.name for rule in manifest.stages]
    for n, rule in enumerate(manifest.stages):
        at = f"$.stages[{n}]"
        if missing := [field for field in ("name", "role") if field not in content[n]]:
            _refuse(path, f"`{at}` has no {' and no '.join(missing)}; each stage needs both.")
        if rule.name in names[:n]:
            _refuse(path, f"`{at}.name` is {rule.name!r} again; each stage needs its own name.")
        if n and rule.role != REFINE:
            _refuse(path, f"`{at}.role` is {rule.role!r}; only the first stage can locate.")
        _check_window(rule, at, path)
        if rule.keep_outside and rule is not manifest.stages[-1]:
            _refuse(path, f"`{at}.keep_outside` is true; only the last stage can keep what it does not see.")
    if all(rule.skip for rule in manifest.stages):
        _refuse(path, "`$.stages` skips every stage; one at least is needed.")
    if manifest.hybrid not in (*STAGES, *names, OFF):
        _refuse(path, f"`$.hybrid` is {manifest.hybrid!r}; one of {', '.join((*names, OFF))} is wanted.")


def _check_window(rule: StageRule, at: str, path: Path) -> None:
    if rule.mirror_axes and isinstance(rule.layout, Slices | SquareSlices):
        _refuse(path, f"`{at}.mirror_axes` is {list(rule.mirror_axes)}; runs of slices are not mirrored.")
    if len(set(rule.mirror_axes)) < len(rule.mirror_axes):
        _refuse(path, f"`{at}.mirror_axes` is {list(rule.mirror_axes)}; each axis is wanted once.")
    if (least := rule.layout.min_voxels) > rule.window_voxels:
        _refuse(path, f"`{at}.window_voxels` is {rule.window_voxels}; the layout needs {least} or more.")


def _refuse(path: Path, text: str) -> NoReturn:
    raise ProfileError(f"{path}: {text} Correct it, or export or convert the weights again.")


def _rules(manifest: Manifest, path: Path) -> tuple[Rule, ...]:
    """The rules of `postprocess`. Raises ProfileError for a name or a field that is none of theirs."""
    found = []
    for n, entry in enumerate(manifest.postprocess):
        name = entry.get("rule")
        if not isinstance(name, str) or name not in RULES:
            _refuse(path, f"`$.postprocess[{n}].rule` is {shown(name)}; one of {', '.join(RULES)} is wanted.")
        fields = {key: value for key, value in entry.items() if key != "rule"}
        rule = checked(fields, RULES[name], path, f"$.postprocess[{n}]")
        _check_kinds(getattr(rule, "kinds", None) or (), f"$.postprocess[{n}].kinds", path)
        _check_concepts(getattr(rule, "concepts", None) or (), f"$.postprocess[{n}].concepts", path)
        found.append(rule)
    return tuple(found)


def _check_kinds(kinds: Sequence[str], at: str, path: Path) -> None:
    known = sorted({concept.kind for concept in load_vocabulary().concepts.values()})
    if unknown := sorted(set(kinds) - set(known)):
        _refuse(path, f"`{at}` names {', '.join(unknown)}; the kinds are {', '.join(known)}.")


def _check_concepts(concepts: Sequence[str], at: str, path: Path) -> None:
    if unknown := sorted(set(concepts) - load_vocabulary().concepts.keys()):
        _refuse(path, f"`{at}` names {', '.join(unknown)}; the vocabulary knows no such target.")


def _override(entry: OverrideEntry, number: int, manifest: Manifest, path: Path) -> Override:
    """An entry of `overrides` with whole rules: what it does not say is as for all targets."""
    _check_kinds((entry.kind,) if entry.kind else (), f"$.overrides[{number}].kind", path)
    at = f"$.overrides[{number}].stages"
    names = [rule.name for rule in manifest.stages]
    if unknown := sorted(entry.stages.keys() - set(names)):
        _refuse(path, f"`{at}` names {', '.join(unknown)}; the stages are {', '.join(names)}.")
    stages = []
    for rule in manifest.stages:
        changes = entry.stages.get(rule.name, {})
        if fixed := sorted(changes.keys() & {"name", "role"}):
            _refuse(path, f"`{at}.{rule.name}` changes {', '.join(fixed)}, which all targets share.")
        stages.append(checked({**to_builtins(rule), **changes}, StageRule, path, f"{at}.{rule.name}"))
        _check_window(stages[-1], f"{at}.{rule.name}", path)
    return Override(entry.modality, entry.kind, tuple(stages))


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

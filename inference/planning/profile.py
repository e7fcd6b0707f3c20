"""The profile of a set of weights: ``manifest.json``, checked, as frozen dataclasses.

Everything that distinguishes one set of weights from another is data here; the engine has no branch on a
name.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from vesal.inference.data.errors import ProfileError
from vesal.inference.data.terms import FINE, MASK_STAGES
from vesal.inference.families.published.case_rules import PublishedRules, StageLayout
from vesal.inference.families.published.naming import Names, read_names
from vesal.inference.families.published.rules import read_rules

MANIFEST = "manifest.json"
FAMILIES = ("volume", "query")
DEGREES = (0, 1, 2)

T = TypeVar("T")


@dataclass(frozen=True)
class StageRule:
    """How one stage looks at a case; the spacing is as fine as voxels and windows allow (Medal S 2.5)."""

    window_voxels: int
    """Most voxels of one window."""
    max_windows: int = 1
    """Windows that the view may be cut into; more give a finer spacing, never finer than acquired."""
    overlap: float = 0.5
    """Share of a side that neighbouring windows have in common."""
    min_spacing_mm: float = 0.0
    """No spacing finer than this; 0 leaves it to the acquisition."""
    margin_factor: float = 1.0
    """Factor on the extent of the region before a view is laid around it."""
    low_threshold: float = 0.5
    """Of a fine stage: where nothing of a target is more probable than not, it looks where the coarse stage
    gave at least this; 0.5 leaves such a target out."""
    rounds: int = 1
    """Passes; each later one takes the result before it as spatial prompt (Medal S algorithm 2)."""
    complementary_block: int = 0
    """Side in view voxels of the blocks of complementary prompt masks (Medal S 2.4); 0 switches them off."""
    max_targets_per_view: int = 8
    """Most targets that share a view."""
    max_spacing_ratio: float = 2.5
    """Targets share a view as long as it is at most this much coarser than the finest that one of them would
    have alone (``geometry.view_groups``)."""
    max_windows_if_empty: int = 0
    """Windows laid over the whole volume where the coarse stage found nothing; 0 leaves the class empty."""
    threshold: float = 0.5
    """Probability from which a voxel belongs to a class."""
    skip: bool = False
    """The stage is left out."""
    refinement_block: int = 0
    """Side of the complementary blocks in later rounds; 0 takes that of the first."""
    merge_unprompted: bool = False
    """Of two complementary predictions each voxel takes the one whose prompt was hidden there; else the
    mean."""
    binary_prompts: bool = False
    """Spatial prompts are masks (probability above 0.5)."""
    layout: StageLayout | None = None
    """Lays the views, where the profile has rules; made for a case, never read from a file."""

    def __post_init__(self) -> None:
        """Refuse what no stage can do."""
        if self.layout is not None and not isinstance(self.layout, StageLayout):
            raise ValueError(f"layout is {self.layout!r}; it is not given in a file")
        if not 0 < self.low_threshold <= 0.5:
            raise ValueError(
                f"low_threshold is {self.low_threshold}; a probability above 0, at most 0.5, is wanted"
            )
        if self.max_targets_per_view < 1 or self.max_spacing_ratio < 1:
            raise ValueError(
                f"max_targets_per_view is {self.max_targets_per_view}, max_spacing_ratio "
                f"{self.max_spacing_ratio}; 1 or more are wanted of both"
            )
        if self.window_voxels < 16**3 or self.max_windows < 1 or self.rounds < 1 or not 0 <= self.overlap < 1:
            raise ValueError(
                f"window_voxels is {self.window_voxels} (4096 or more are wanted), max_windows "
                f"{self.max_windows}, rounds {self.rounds} (1 or more), overlap {self.overlap} (0 to below 1)"
            )


@dataclass(frozen=True)
class FilterRule:
    """What is removed after the stages."""

    presence_threshold: float = 0.0
    """Slices whose predicted presence is at or below this are emptied (BiomedParse-V eq. 2); 0 keeps all."""
    slice_nms_iou: float = 0.0
    """Overlap (intersection over union, per slice) from which two sides of one concept compete; 0: never."""
    component_kinds: tuple[str, ...] = ()
    """Kinds of targets whose components are chosen by Medal S algorithm 3."""
    min_object_voxels: int = 1
    """Instances with fewer voxels are dropped."""
    component_ids: tuple[int, ...] = ()
    """Prompts of a case whose components are chosen whatever their kind: a profile's rules name them."""
    max_components: int = 3
    """Components considered, by size (Medal S algorithm 3)."""
    max_probability_drop: float = 0.1
    """Mean probability may fall this much below the best one's."""
    high_probability: float = 0.86
    """Mean probability above which several components may be kept."""
    min_size_ratio: float | None = 0.6
    """Share of the largest component's voxels that a surer one must have; null leaves the ratio out."""


@dataclass(frozen=True)
class OrientationRule:
    """When a case is looked at in other ways than it is stored (``stages.orientation``)."""

    low_confidence: float
    """Mean confidence of the coarse stage, 0 to 1, below which other orientations are tried."""
    min_gain: float
    """By how much the confidence in another orientation has to be higher."""
    min_confidence: float
    """Confidence that another orientation has to reach: what is not there at all may be seen dimly in any."""

    def __post_init__(self) -> None:
        """Refuse what would try nothing, or take any other way."""
        if not (0 < self.low_confidence <= 1 and 0 < self.min_gain < 1 and 0 < self.min_confidence <= 1):
            raise ValueError(
                f"low_confidence is {self.low_confidence}, min_gain {self.min_gain}, min_confidence "
                f"{self.min_confidence}; all are wanted above 0, and at most 1"
            )


@dataclass(frozen=True)
class CoveredTarget:
    """A target that the weights were trained on, with what was measured on held-out patients."""

    concept: str
    side: str | None
    modality: str
    dsc: float | None = None
    """Mean Dice on validation cases; None where there was none to measure on."""
    any_orientation: bool = False
    """Whether training showed it turned half about any axis; what was not is bound to the way its set stores
    it (``inference/stages/orientation.py``)."""


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
    graphs: Mapping[int | str, Path]
    """Graph file by degree of anisotropy, or by stage and role: `coarse plain`."""
    bank: Path
    """npz with ``names`` (K,) and ``vectors`` (K, T) float16."""
    coarse: StageRule
    fine: StageRule
    filters: FilterRule
    overrides: tuple[Override, ...]
    targets: tuple[CoveredTarget, ...]
    hybrid: str = FINE
    """Stage that takes a user's mask as spatial prompt: `coarse`, `fine` or `off`."""
    ruled: PublishedRules | None = None
    """Rules that decide on stages, spacings, regions and filters case by case."""
    orientation: OrientationRule | None = None
    """When other orientations are tried; None: never."""

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
    """Read and check ``folder/manifest.json``.

    Raises:
        ProfileError: no such folder or manifest, not JSON, a field missing, unknown or of a wrong value, a
        file missing
            or changed.
    """
    path = folder / MANIFEST
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ProfileError(
            f"{path} cannot be read ({error.strerror}); --weights takes a name in weights/ or a folder."
        ) from None
    except ValueError as error:
        raise ProfileError(f"{path} is not JSON: {error}; export the weights again.") from None
    try:
        profile = _build(folder, content)
        digests = {name: str(entry["sha256"]) for name, entry in content["files"].items()}
    except KeyError as error:
        raise ProfileError(
            f"{path} lacks {error}; it has {sorted(content)}. Export the weights again."
        ) from None
    except (TypeError, ValueError, AttributeError) as error:
        raise ProfileError(f"{path} does not describe weights: {error}. Export the weights again.") from None
    _check_files(folder, digests, profile, check_digests)
    return profile


def _build(folder: Path, content: Mapping[str, Any]) -> Profile:
    if content["family"] not in FAMILIES:
        raise ValueError(f"family is {content['family']!r}, wanted one of {FAMILIES}")
    hybrid = content.get("hybrid", Profile.hybrid)
    if hybrid not in MASK_STAGES:
        raise ValueError(f"hybrid is {hybrid!r}, wanted one of {MASK_STAGES}")
    coarse = _fill(StageRule, content["coarse"], "coarse")
    fine = _fill(StageRule, content["fine"], "fine")
    overrides = tuple(_override(o, content) for o in content.get("overrides", ()))
    return Profile(
        name=content["name"],
        folder=folder,
        family=content["family"],
        licence=content["licence"],
        graphs=_graphs(folder, content),
        bank=folder / content["bank"],
        coarse=coarse,
        fine=fine,
        filters=_fill(FilterRule, content.get("filters", {}), "filters"),
        overrides=overrides,
        targets=tuple(_fill(CoveredTarget, t, "targets") for t in content["targets"]),
        hybrid=hybrid,
        ruled=_ruled(folder, content),
        orientation=_fill(OrientationRule, content["orientation"], "orientation")
        if "orientation" in content
        else None,
    )


def _graphs(folder: Path, content: Mapping[str, Any]) -> Mapping[int | str, Path]:
    graphs = content["graphs"]
    if content["family"] == "volume":
        return {degree: folder / graphs[str(degree)] for degree in DEGREES}
    return {
        f"{stage} {role}": folder / name for stage, roles in graphs.items() for role, name in roles.items()
    }


def _ruled(folder: Path, content: Mapping[str, Any]) -> PublishedRules | None:
    """The rules of a profile that has some: `rules`, and the file that `names` names, if classes have any."""
    if "rules" not in content:
        return None
    rules = read_rules(content["rules"] | _grids(content))
    if "names" not in content:
        return PublishedRules(rules, Names({}, {}))
    path = folder / content["names"]
    try:
        names = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"names {path} cannot be read ({error.strerror})") from None
    return PublishedRules(rules, read_names(names))


def _grids(content: Mapping[str, Any]) -> dict[str, Any]:
    """Window and spacing of each stage's network, where the conversion tells: they win over the rules'."""
    grids = {}
    for stage, facts in content.get("network", {}).items():
        own = {"crop": facts.get("window_dhw"), "target_mm": facts.get("spacing_dhw_mm")}
        given = {name: value for name, value in own.items() if value is not None}
        grids[stage] = {**content["rules"].get(stage, {}), **given}
    return grids


def _override(values: Mapping[str, Any], content: Mapping[str, Any]) -> Override:
    _refuse_unknown(Override, values, "overrides")
    coarse = {**content["coarse"], **values.get("coarse", {})}
    fine = {**content["fine"], **values.get("fine", {})}
    return Override(
        values.get("modality"),
        values.get("kind"),
        _fill(StageRule, coarse, "the coarse rule of overrides"),
        _fill(StageRule, fine, "the fine rule of overrides"),
    )


def _refuse_unknown(kind: type, values: Mapping[str, Any], where: str) -> None:
    known = {f.name for f in fields(kind)}
    unknown = set(values) - known
    if unknown:
        raise ValueError(f"{where} has unknown fields {sorted(unknown)}, known are {sorted(known)}")


def _fill(kind: type[T], values: Mapping[str, Any], where: str) -> T:
    _refuse_unknown(kind, values, where)
    return kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})


def _check_files(folder: Path, files: Mapping[str, str], profile: Profile, digests: bool) -> None:
    for used in (*profile.graphs.values(), profile.bank):
        if used.name not in files:
            raise ProfileError(
                f"{folder / MANIFEST} uses {used.name} but gives no sha256 for it; export again."
            )
    for name, wanted in files.items():
        path = folder / name
        if not path.is_file():
            raise ProfileError(
                f"{path} is missing; {folder / MANIFEST} lists it. Fetch or export the weights again."
            )
        if digests:
            with path.open("rb") as handle:  # not read whole: converted weights have hundreds of megabytes
                came = hashlib.file_digest(handle, "sha256").hexdigest()
            if came != wanted:
                raise ProfileError(
                    f"{path} has sha256 {came[:12]}..., {folder / MANIFEST} says {wanted[:12]}...; "
                    "the file was changed or cut. Fetch or export the weights again."
                )

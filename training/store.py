"""Labelled volumes with the targets that their prompts ask for.

Prompts go through the same parser as at run time, so a target means the same thing in both.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from vesal.inference.families.network_input import intensity_statistics
from vesal.inference.geometry.fit import through_plane_axis
from vesal.inference.geometry.foreground import foreground_box
from vesal.inference.geometry.views import Box
from vesal.training.anatomy import SETS
from vesal.training.bar import tqdm
from vesal.training.gaps import apart

PATIENT = re.compile(r"STS-\d+|obs\d+|ACDC_patient\d+")
"""Of a file's name, where several files show one patient: sarcomas in CT, MR and PET, prostates in MR and
ultrasound, phases of a heart."""
TURN_RAD = 0.25
"""Largest turn of a view of a set that names none."""
SEEDS = 256
"""Voxels of each target that are kept as centres for crops."""

TargetKey = tuple[str, str | None, str]
"""Concept, side, modality."""


class Voxels(Protocol):
    """An array that is read in parts: numpy's, or Blosc2's on disk (``shelf.py``)."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """(D, H, W)"""

    def __getitem__(self, at: tuple[slice, slice, slice]) -> np.ndarray: ...


@dataclass(frozen=True)
class Place:
    """Where a label lies, so that the whole array need not be read to know it."""

    start: tuple[int, int, int]
    stop: tuple[int, int, int]
    """Box of the label, first and one past the last voxel, (D, H, W)."""
    seeds: np.ndarray
    """(n, 3) int, some of its voxels"""


@dataclass(frozen=True)
class Target:
    """One labelled structure of a volume."""

    name: str
    """Canonical target with its side, as in the vocabulary: ``left kidney``."""
    concept: str
    side: str | None
    modality: str
    label: int
    """Value in ``labels``."""


@dataclass(frozen=True)
class Volume:
    """One labelled case."""

    name: str
    dataset: str
    image: Voxels
    """(D, H, W) uint8"""
    labels: Voxels
    """(D, H, W) uint8 or uint16; in an instance set every object is 1, apart from those it touches"""
    spacing_dhw_mm: tuple[float, float, float]
    targets: tuple[Target, ...]
    statistics: tuple[float, float]
    """Mean and standard deviation of ``image``."""
    instance: bool
    places: Mapping[int, Place]
    """of each target's label"""
    body: Box
    """what the coarse stage looks at, see ``inference/geometry/foreground.py``"""
    thickest_slice_mm: float = math.inf
    """of its views, as at run time (``with_thickest_slices``)"""


@dataclass(frozen=True)
class SetRule:
    """What ``sets.json`` says of one dataset."""

    weight: float
    flips: str
    crops: float
    body: tuple[str, ...]
    skip: tuple[str, ...]
    also: tuple[str, ...]
    turn_rad: float = TURN_RAD
    finest_mm: float = 0.0
    flipped: float = 1.0
    contrast: float = 0.0
    usual_mm: tuple[float, ...] = ()
    fine_scale: float = 1.0


def read_rules(path: Path = SETS) -> dict[str, SetRule]:
    """The sampling rules by dataset name."""

    def fixed(rule: dict[str, Any]) -> dict[str, Any]:
        return {key: tuple(value) if isinstance(value, list) else value for key, value in rule.items()}

    return {name: SetRule(**fixed(rule)) for name, rule in json.loads(path.read_text())["sets"].items()}


def learnt(rules: Mapping[str, SetRule]) -> dict[str, SetRule]:
    """The rules of sets that are trained on; the others have no weight."""
    return {name: rule for name, rule in rules.items() if rule.weight > 0}


def places_of(labels: np.ndarray, targets: Sequence[Target]) -> dict[int, Place]:
    """Box and some voxels of each target in ``labels`` (D, H, W); the same array gives the same voxels."""
    found = {}
    for label in sorted({t.label for t in targets}):
        where = np.argwhere(labels == label)
        rows = np.random.default_rng(label).choice(len(where), min(SEEDS, len(where)), replace=False)
        start, stop = where.min(0).tolist(), (where.max(0) + 1).tolist()
        found[label] = Place(tuple(start), tuple(stop), where[np.sort(rows)].astype(np.int32))
    return found


def labelled(
    name: str,
    dataset: str,
    image: np.ndarray,
    labels: np.ndarray,
    spacing_dhw_mm: tuple[float, float, float],
    targets: tuple[Target, ...],
    instance: bool = False,
) -> Volume:
    """A volume of arrays (D, H, W) in memory, with what follows from them; see ``Volume``."""
    return Volume(
        name,
        dataset,
        image,
        labels,
        spacing_dhw_mm,
        targets,
        intensity_statistics(image),
        instance,
        places_of(labels, targets),
        foreground_box(image),
    )


WHOLE = (slice(None), slice(None), slice(None))
"""All of an array that is read in parts."""


def shown_as(
    volume: Volume,
    image: np.ndarray,
    labels: np.ndarray,
    spacing_dhw_mm: tuple[float, float, float],
    targets: tuple[Target, ...],
) -> Volume:
    """The case with other arrays (D, H, W) in memory, as if it had been scanned so; its views have no thicker
    slices for that.
    """
    made = labelled(volume.name, volume.dataset, image, labels, spacing_dhw_mm, targets, volume.instance)
    return replace(made, thickest_slice_mm=volume.thickest_slice_mm)


def thickest_slices(volumes: Iterable[Volume]) -> dict[TargetKey, float]:
    """By target the thickest slices in mm of its volumes, as they were scanned."""
    found: dict[TargetKey, float] = {}
    for volume in volumes:
        slice_mm = volume.spacing_dhw_mm[through_plane_axis(volume.spacing_dhw_mm)]
        for target in volume.targets:
            key = target.concept, target.side, target.modality
            found[key] = max(slice_mm, found.get(key, 0.0))
    return found


def with_thickest_slices(volumes: Sequence[Volume]) -> list[Volume]:
    """The volumes with the thickest slices of their views: the least of their targets' ones."""
    found = thickest_slices(volumes)
    return [
        replace(v, thickest_slice_mm=min(found[t.concept, t.side, t.modality] for t in v.targets))
        for v in volumes
    ]


def read_volume(path: Path, skip: tuple[str, ...] = ()) -> Volume:
    """Read one labelled npz.

    Left out are classes whose sentence has no known target, that have no voxel, or whose concept begins with
    ``skip``.
    """
    # Imported here: unpacked volumes are read where the parser's libraries may not be.
    from vesal.inference.io.formats import read_case
    from vesal.inference.prompts.parser import parse_prompts

    case = read_case(path)
    with np.load(path) as archive:
        labels = archive["gts"]
    if labels.shape != case.image.shape:
        raise ValueError(f"{path.name}: gts is {labels.shape}, imgs {case.image.shape}; they must agree")
    if case.instance:
        labels = apart(labels)
    prompts, _ = parse_prompts(case.sentences, name=case.name, image=case.image, encoder=None)
    present = set(np.unique(labels).tolist())
    targets = tuple(
        Target(p.target, p.concept, p.side, p.modality, 1 if case.instance else p.id)
        for p in prompts
        if p.target and p.concept and not p.concept.startswith(skip)
        if (1 if case.instance else p.id) in present
    )
    return labelled(
        case.name, path.parent.name, case.image, labels, case.spacing_dhw_mm, targets, case.instance
    )


def find_volumes(folder: Path, rules: Mapping[str, SetRule], most: int | None = None) -> list[Path]:
    """Files ``folder/DATASET/*.npz`` of the sets with a rule, in name order, at most ``most`` of a set."""
    sets = (sorted(folder.glob(f"{name}/*.npz")) for name in sorted(rules))
    paths = [p for files in sets for p in files[:most]]
    if not paths:
        raise FileNotFoundError(f"{folder} holds no DATASET/*.npz; give the folder with the labelled volumes")
    return paths


def without_patients(paths: Sequence[Path], held_out: Iterable[Path]) -> list[Path]:
    """Those of ``paths`` that show no patient of ``held_out``, in whatever set or modality."""
    patients = {_patient(path) for path in held_out}
    return [path for path in paths if _patient(path) not in patients]


def of_patients(volumes: Sequence[Volume], most: int) -> list[Volume]:
    """Those of the first ``most`` patients of each set, by the order of a hash of their names.

    With more patients the same ones are among them, whatever their files are called.
    """
    by_set: dict[str, set[str]] = {}
    for volume in volumes:
        by_set.setdefault(volume.dataset, set()).add(_patient(Path(volume.name)))
    first = {
        dataset: set(sorted(patients, key=lambda p: hashlib.sha256(p.encode()).hexdigest())[:most])
        for dataset, patients in by_set.items()
    }
    return [v for v in volumes if _patient(Path(v.name)) in first[v.dataset]]


def _patient(path: Path) -> str:
    """Of a set whose patients no other shows, a file's own name: its provider split it by patient."""
    found = PATIENT.search(path.stem)
    return found.group() if found else path.stem


def read_folder(folder: Path, rules: Mapping[str, SetRule], most: int | None = None) -> list[Volume]:
    """The volumes of ``find_volumes`` with at least one target, whole in memory."""
    paths = tqdm(find_volumes(folder, rules, most), desc=f"reading {folder.name}", disable=None)
    volumes = [read_volume(p, rules[p.parent.name].skip) for p in paths]
    return [v for v in volumes if v.targets]

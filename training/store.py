"""Labelled volumes in memory, with the targets that their prompts ask for.

Prompts go through the same parser as at run time, so a target means the same thing in both.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from inference.case import read_case
from inference.models import intensity_statistics
from inference.prompts import parse_prompts

SETS = Path(__file__).with_name("sets.json")


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
    """One labelled case in memory."""

    name: str
    dataset: str
    image: np.ndarray
    """(D, H, W) uint8"""
    labels: np.ndarray
    """(D, H, W) uint8 or uint16; in an instance set every object is 1"""
    spacing_dhw_mm: tuple[float, float, float]
    targets: tuple[Target, ...]
    statistics: tuple[float, float]
    """Mean and standard deviation of ``image``."""
    instance: bool


@dataclass(frozen=True)
class SetRule:
    """What ``sets.json`` says of one dataset."""

    weight: float
    flips: str
    crops: float
    body: tuple[str, ...]
    skip: tuple[str, ...]
    also: tuple[str, ...]


def read_rules(path: Path = SETS) -> dict[str, SetRule]:
    """The sampling rules by dataset name."""

    def fixed(rule: dict[str, Any]) -> dict[str, Any]:
        return {key: tuple(value) if isinstance(value, list) else value for key, value in rule.items()}

    return {name: SetRule(**fixed(rule)) for name, rule in json.loads(path.read_text())["sets"].items()}


def read_volume(path: Path, skip: tuple[str, ...] = ()) -> Volume:
    """Read one labelled npz.

    Left out are classes whose sentence has no known target, that have no voxel, or whose concept begins with
    ``skip``.
    """
    case = read_case(path)
    with np.load(path) as archive:
        labels = archive["gts"]
    if labels.shape != case.image.shape:
        raise ValueError(f"{path.name}: gts is {labels.shape}, imgs {case.image.shape}; they must agree")
    if case.instance:
        labels = (labels > 0).astype(np.uint8)
    prompts, _ = parse_prompts(case.sentences, name=case.name, image=case.image, encoder=None)
    present = set(np.unique(labels).tolist())
    targets = tuple(
        Target(p.target, p.concept, p.side, p.modality, 1 if case.instance else p.id)
        for p in prompts
        if p.target and not p.concept.startswith(skip) and (1 if case.instance else p.id) in present
    )
    return Volume(
        case.name,
        path.parent.name,
        case.image,
        labels,
        case.spacing_dhw_mm,
        targets,
        intensity_statistics(case.image),
        case.instance,
    )


def read_folder(folder: Path, rules: dict[str, SetRule], most: int | None = None) -> list[Volume]:
    """All volumes of ``folder/DATASET/*.npz`` with a rule and at least one target, in name order.

    Of a set, at most the first ``most`` files are read.
    """
    sets = (sorted(folder.glob(f"{name}/*.npz")) for name in sorted(rules))
    paths = [p for files in sets for p in files[:most]]
    if not paths:
        raise FileNotFoundError(f"{folder} holds no DATASET/*.npz; give the folder with the labelled volumes")
    volumes = [
        read_volume(p, rules[p.parent.name].skip)
        for p in tqdm(paths, desc=f"reading {folder.name}", disable=None)
    ]
    return [v for v in volumes if v.targets]

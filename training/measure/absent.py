"""Targets that a case certainly does not show: those of sets that look at other parts of the body."""

from __future__ import annotations

import argparse
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vesal.inference.planning.profile import Profile
from vesal.training.anatomy import Anatomy
from vesal.training.measure.runs import (
    Labelled,
    TargetKey,
    add_case_arguments,
    find_cases,
    key_of,
    read_labelled,
)


def add_question_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of a measurement that asks cases for their own targets and for foreign ones."""
    add_case_arguments(parser)
    parser.add_argument("--real", type=Path, help="further cases: folder with imgs/ and gts/")
    parser.add_argument("--absent", type=int, default=3, help="absent targets asked of a case; 0: all")


@dataclass(frozen=True)
class Foreign:
    """A target of another set and how that set asks for it."""

    dataset: str
    key: TargetKey
    sentence: str

    @property
    def name(self) -> str:
        """Target with its side."""
        concept, side, _ = self.key
        return f"{side} {concept}" if side else concept


def read_foreign(data: Path, real: Path | None = None) -> tuple[Foreign, ...]:
    """Targets of the sets in ``data`` and of the further cases in ``real``, each once per set, with the
    sentence of the set's first case.
    """
    found = []
    for path, truth in find_cases(data, 1, real):
        labelled = read_labelled(path, truth)
        for prompt in labelled.prompts:
            key = key_of(prompt)
            if key:
                found.append(Foreign(labelled.dataset, key, prompt.text))
    return tuple(found)


def absent_from(
    labelled: Labelled,
    foreign: Sequence[Foreign],
    anatomy: Anatomy,
    profile: Profile,
    most: int = 0,
) -> list[Foreign]:
    """Covered targets of the case's modality that it cannot show, each once; at most so many, 0: all.

    They lie in no part of the body that its set shows, see ``Anatomy``. Which of many are taken follows from
    the case's name, so that the cases of a set are asked for different ones.
    """
    modalities = {p.modality for p in labelled.prompts}
    owners: dict[str, set[str]] = {}
    for other in foreign:
        owners.setdefault(other.key[0], set()).add(other.dataset)
    found: dict[TargetKey, Foreign] = {}
    for other in foreign:
        apart = anatomy.is_absent(labelled.dataset, anatomy.where(other.key[0], owners[other.key[0]]))
        if apart and other.key[2] in modalities and profile.covers(*other.key):
            found.setdefault(other.key, other)
    kept = list(found.values())
    if most and len(kept) > most:
        first = zlib.crc32(labelled.case.name.encode()) % len(kept)
        kept = (kept[first:] + kept[:first])[:most]
    return kept

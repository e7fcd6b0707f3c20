"""Targets that a case certainly does not show: those of sets that look at other parts of the body."""

from __future__ import annotations

import argparse
import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from inference.profile import Profile
from training.measure.runs import Labelled, TargetKey, find_cases, key_of, read_labelled

SETS = Path(__file__).parent.parent / "sets.json"
ANY = "any"
"""Part of the body of a set of which no target is known to be absent elsewhere."""


def add_case_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of a measurement that asks cases for their own targets and for foreign ones."""
    parser.add_argument("--data", type=Path, required=True, help="folder with SET/*.npz and labels")
    parser.add_argument("--weights", type=Path, required=True, help="folder with a manifest.json")
    parser.add_argument("--most", type=int, default=0, help="at most this many cases of a set; 0: all")
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


def read_bodies(path: Path = SETS) -> dict[str, frozenset[str]]:
    """Set -> parts of the body in view (``body`` of ``sets.json``)."""
    content = json.loads(path.read_text(encoding="utf-8"))["sets"]
    return {name: frozenset(rule["body"]) for name, rule in content.items()}


def read_foreign(data: Path) -> tuple[Foreign, ...]:
    """Targets of the sets in ``data``, each once per set, with the sentence of the set's first case."""
    found = []
    for path, _ in find_cases(data, most=1):
        labelled = read_labelled(path)
        for prompt in labelled.prompts:
            key = key_of(prompt)
            if key:
                found.append(Foreign(labelled.dataset, key, prompt.text))
    return tuple(found)


def absent_from(
    labelled: Labelled,
    foreign: Sequence[Foreign],
    bodies: Mapping[str, frozenset[str]],
    profile: Profile,
    most: int = 0,
) -> list[Foreign]:
    """Covered targets of the case's modality that it cannot show, each once; at most so many, 0: all.

    Its set and theirs have no part of the body in common. A set that ``bodies`` does not know, or that may
    show any part, tells nothing. Which of many are taken follows from the case's name, so that the cases of
    a set are asked for different ones.
    """
    here = bodies.get(labelled.dataset, frozenset())
    modalities = {p.modality for p in labelled.prompts}
    found: dict[TargetKey, Foreign] = {}
    for other in foreign:
        there = bodies.get(other.dataset, frozenset())
        apart = here and there and ANY not in here | there and not here & there
        if apart and other.key[2] in modalities and profile.covers(*other.key):
            found.setdefault(other.key, other)
    # A target that some set sees here too (the spinal cord in head and trunk) is not certainly absent.
    near = {o.key for o in foreign if bodies.get(o.dataset, frozenset()) & (here | {ANY})}
    kept = [other for key, other in found.items() if key not in near]
    if most and len(kept) > most:
        first = zlib.crc32(labelled.case.name.encode()) % len(kept)
        kept = (kept[first:] + kept[:first])[:most]
    return kept

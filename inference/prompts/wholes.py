"""What a whole is made of (`wholes.json`), and a whole as those of its parts that can be had."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from vesal.inference.data.prompt import Target
from vesal.inference.data.terms import SIDES
from vesal.inference.prompts.vocabulary import Concept, VocabularyError, load_vocabulary

FILE = Path(__file__).with_name("wholes.json")

MIN_PARTS = 0.5
"""Share of its parts from which on a whole is made of them. A side is half of a pair."""


@dataclass(frozen=True)
class Made:
    """A whole as what it is made of."""

    parts: tuple[Target, ...]
    """Those that can be had."""
    missing: tuple[Target, ...] = ()
    """Those that cannot."""


@dataclass(frozen=True)
class Part:
    """An entry of a whole: a concept, and the side that it is on where it is on one alone."""

    concept: str
    side: str | None = None


@cache
def load_wholes(path: Path = FILE) -> dict[str, tuple[Part, ...]]:
    """Concept to its parts. Raises VocabularyError where a name is none, or a whole would be in itself."""
    concepts = load_vocabulary().concepts
    wholes: dict[str, tuple[Part, ...]] = {}
    for name, entries in json.loads(path.read_text(encoding="utf-8")).items():
        if name not in concepts:
            raise VocabularyError(f"{path.name} names {name!r}, which is no concept: add it")
        # A whole may be made of wholes that stand before it, so none is in itself.
        wholes[name] = tuple(_part(entry, concepts, path) for entry in entries)
        if late := [part.concept for part in wholes[name] if part.concept == name]:
            raise VocabularyError(f"{path.name} has {late[0]!r} as a part of itself")
    order = list(wholes)
    for name, parts in wholes.items():
        for part in parts:
            if part.concept in wholes and order.index(part.concept) > order.index(name):
                raise VocabularyError(f"{path.name}: move {part.concept!r} before {name!r}, whose part it is")
    return wholes


def _part(entry: str, concepts: Mapping[str, Concept], path: Path) -> Part:
    """A name, or a side and a name: `right lung middle lobe`."""
    side, _, name = entry.partition(" ")
    if entry not in concepts and side in SIDES and name in concepts:
        return Part(name, side)
    if entry not in concepts:
        raise VocabularyError(f"{path.name} names the part {entry!r}, which is no concept: add it")
    return Part(entry)


def made_of(target: Target, known: Callable[[Target], bool]) -> Made | None:
    """What a target can be made of that is not known itself: its two sides, or its parts.

    What is complete goes before what is not, the sides before the parts.

    Args:
        target: asked for.
        known: whether a target can be had.

    Returns:
        None where too little of it can be had (``MIN_PARTS``).
    """
    ways = [way for way in (_sides(target), _parts(target)) if way]
    made = [_resolved(way, known) for way in ways]
    made = [each for each in made if each.parts and _share(each) >= MIN_PARTS]
    return min(made, key=lambda each: bool(each.missing), default=None)


def _share(made: Made) -> float:
    return len(made.parts) / (len(made.parts) + len(made.missing))


def _sides(target: Target) -> list[Target]:
    """Both sides of a target that has them and was asked for without one."""
    concept = load_vocabulary().concepts.get(target.concept)
    if target.side or concept is None or not concept.sided:
        return []
    return [Target(target.concept, side, target.kind) for side in SIDES]


def _parts(target: Target) -> list[Target]:
    """The parts of a target, on its side."""
    concepts = load_vocabulary().concepts
    found = []
    for part in load_wholes().get(target.concept, ()):
        if part.side and target.side and part.side != target.side:
            continue
        side = part.side or (target.side if concepts[part.concept].sided else None)
        found.append(Target(part.concept, side, concepts[part.concept].kind))
    return found


def _resolved(way: list[Target], known: Callable[[Target], bool]) -> Made:
    parts: list[Target] = []
    missing: list[Target] = []
    for target in way:
        made = Made((target,)) if known(target) else made_of(target, known)
        parts += made.parts if made else ()
        missing += made.missing if made else (target,)
    return Made(tuple(dict.fromkeys(parts)), tuple(dict.fromkeys(missing)))

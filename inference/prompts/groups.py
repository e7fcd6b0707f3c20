"""Names for several targets at once, read from `groups.json`: `abdominal organs`, `basal ganglia`."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from msgspec import Struct

FILE = Path(__file__).with_name("groups.json")


class Named(Struct, frozen=True):
    """A group with a name of its own."""

    names: tuple[str, ...]
    members: tuple[str, ...]
    """concepts"""
    plural: bool
    """Whether the name means the group only in the plural, or with `all`: `salivary glands`."""


class Groups(Struct, frozen=True):
    """All groups."""

    classes: Mapping[str, str]
    """Noun for things of one class (`viscera`) -> class (`organ`)."""
    class_kinds: Mapping[str, frozenset[str]]
    """Class -> kinds of its members."""
    class_names: Mapping[str, tuple[str, ...]]
    """Class -> its members, where no kind of the vocabulary says it (`vein`)."""
    region_words: Mapping[str, str]
    """Word for a region (`abdominal`) -> region (`abdomen`)."""
    regions: Mapping[str, tuple[str, ...]]
    """Region -> concepts in it."""
    named: tuple[Named, ...]
    sequences: tuple[tuple[str, ...], ...]
    """Numbered concepts in their order."""
    range_words: frozenset[str]
    """`to`, `through`: between two members of a sequence."""

    def of_class(self, name: str, regions: Collection[str], kinds: Mapping[str, str]) -> tuple[str, ...]:
        """Members of a class, those in the regions only where there are some; ``kinds``: concept -> kind."""
        wanted, names = self.class_kinds.get(name, frozenset()), self.class_names.get(name, ())
        found = [concept for concept, kind in kinds.items() if kind in wanted or concept in names]
        if not regions:
            return tuple(found)
        inside = {concept for region in regions for concept in self.regions[region]}
        return tuple(concept for concept in found if concept in inside)

    def between(self, first: str, last: str) -> tuple[str, ...]:
        """From one numbered concept to another, in either order; none where they are of no one sequence."""
        for sequence in self.sequences:
            if first in sequence and last in sequence:
                a, b = sorted((sequence.index(first), sequence.index(last)))
                return sequence[a : b + 1]
        return ()


@cache
def load_groups(path: Path = FILE) -> Groups:
    """Read the groups; a second call gives the same object. Raises KeyError for a field that is missing."""
    data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    sequences = tuple(tuple(sequence) for sequence in data["sequences"])
    members = data["class_members"]
    return Groups(
        classes={word: name for name, words in data["classes"].items() for word in words},
        class_kinds={name: frozenset(entry.get("kinds", ())) for name, entry in members.items()},
        class_names={name: tuple(entry.get("names", ())) for name, entry in members.items()},
        region_words={w: name for name, entry in data["regions"].items() for w in entry["words"]},
        regions={name: tuple(entry["members"]) for name, entry in data["regions"].items()},
        named=tuple(_named(entry, sequences) for entry in data["named"]),
        sequences=sequences,
        range_words=frozenset(data["range_words"]),
    )


def _named(entry: Mapping[str, Any], sequences: tuple[tuple[str, ...], ...]) -> Named:
    """A named group; `range` stands for all from the first to the last of a sequence."""
    members = tuple(entry.get("members", ()))
    for sequence in sequences if "range" in entry else ():
        first, last = entry["range"]
        if first in sequence:
            members = sequence[sequence.index(first) : sequence.index(last) + 1]
    return Named(tuple(entry["names"]), members, entry.get("plural", False))

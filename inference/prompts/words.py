"""Words that are no targets but say what is asked for: parts, other things, relations, denials, requests.

Read from `words.json`: class -> words. A word may be of several classes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from msgspec import Struct

FILE = Path(__file__).with_name("words.json")
CLASSES = (
    "of", "locating", "relations", "relation_prefixes", "denials", "exceptions", "resets", "joins",
    "accompanying", "requests", "clauses", "filler", "neutral", "imaging", "adjectives", "regions", "parts",
    "head_parts", "partials", "things", "generic", "relation_verbs", "lines",
)  # fmt: skip
"""Lists of the file; what each does is said in `chunks` and `nouns`."""


class Flow(Struct, frozen=True):
    """A way in which blood goes: into a heart chamber, or out of an organ."""

    of: str
    """`chamber` or `vessel`."""
    words: tuple[str, ...]
    """Verbs and prepositions that say it."""
    excluded: tuple[str, ...]
    """Ends of the names of concepts that these words do not describe."""
    unless: frozenset[str]
    """Concepts beside which they tell nothing."""


class Words(Struct, frozen=True):
    """The lists as they stand in the file."""

    lists: Mapping[str, tuple[str, ...]]
    """class -> words, as written"""
    whole_for: Mapping[str, frozenset[str]]
    """Word for a part -> kinds of targets that it is the whole of: the cavity of a heart chamber."""
    head_kinds: Mapping[str, frozenset[str]]
    """Noun that a description may have as its head -> kinds of targets that it may describe."""
    flows: tuple[Flow, ...]
    """Ways in which blood goes."""
    spans: frozenset[str]
    """Concepts that run through several regions: a region's adjective cuts them (`thoracic aorta`)."""
    thing_endings: tuple[str, ...]
    """Endings of an unknown word that names a disease, a procedure or a picture (`gastritis`)."""
    not_typing_errors: frozenset[str]
    """Words that differ in a letter from a known one and are right as they stand."""


@cache
def load_words(path: Path = FILE) -> Words:
    """Read the lists; a second call gives the same object. Raises KeyError for a list that is missing."""
    data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return Words(
        lists={name: tuple(data[name]) for name in CLASSES},
        whole_for={word: frozenset(kinds) for word, kinds in data["whole_for"].items()},
        head_kinds={word: frozenset(kinds) for word, kinds in data["head_kinds"].items()},
        flows=tuple(
            Flow(entry["of"], tuple(entry["words"]), tuple(entry["not"]), frozenset(entry["unless"]))
            for entry in data["flows"]
        ),
        spans=frozenset(data["spans"]),
        thing_endings=tuple(data["thing_endings"]),
        not_typing_errors=frozenset(data["not_typing_errors"]),
    )

"""Whether a label of a bank may answer a sentence that it is only near to: nothing may contradict.

A sentence encoder tells `left` from `right`, `artery` from `vein` and `with` from `without` badly: they stand
in the same sentences. So what these words say is compared by itself (`contrasts.json`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

from msgspec import Struct

from vesal.inference.prompts.chunks import MODALITY, Chunk, Item, cut_chunks, read_items
from vesal.inference.prompts.parser import find_target
from vesal.inference.prompts.reading import Reading
from vesal.inference.prompts.roles import DENIALS
from vesal.inference.prompts.tokens import Token, read_tokens
from vesal.inference.prompts.vocabulary import Vocabulary

FILE = Path(__file__).with_name("contrasts.json")
CODE = re.compile(r"([a-z]?)(\d+)(?:st|nd|rd|th)?\Z")
"""A number, or a letter with its number."""


class Contrasts(Struct, frozen=True):
    """Words that tell like things from each other."""

    groups: tuple[Mapping[str, str], ...]
    """Each: stem of a word -> what it says; of one group both texts have to say the same, or nothing."""
    loose: tuple[Mapping[str, str], ...]
    """Likewise, but one text may say nothing."""
    numbers: Mapping[str, str]
    """Word for a number -> the number."""
    ill: frozenset[str]
    """Words for what is ill, beside those of the vocabulary for lesions."""


class Facts(Struct, frozen=True):
    """What a text says of side, number, place and kind, and whether it denies."""

    sides: frozenset[str]
    numbers: frozenset[str]
    contrasts: tuple[frozenset[str], ...]
    """What is said of each group."""
    loose: tuple[frozenset[str], ...]
    parts: frozenset[str]
    """Words for parts: `lobe`, `wall`."""
    ill: bool
    """Whether it names something ill."""
    denies: bool
    named: frozenset[str]
    """Concepts by whose terms something is said, asked for or not."""
    targets: frozenset[str]
    """Targets that are asked for."""


@cache
def load_contrasts(path: Path = FILE) -> Contrasts:
    """Read the groups. Raises KeyError for one that is missing."""
    data = json.loads(path.read_text(encoding="utf-8"))
    groups, loose = (
        tuple(
            {word: says for says, words in group.items() for word in (says, *words)} for group in data[name]
        )
        for name in ("groups", "loose")
    )
    numbers = {word: str(n) for n, words in data["numbers"].items() for word in words}
    return Contrasts(groups, loose, numbers, frozenset(data["ill"]))


def facts_of(text: str, vocabulary: Vocabulary) -> Facts:
    """What a sentence or a label says."""
    tokens = read_tokens(text, vocabulary.stem, vocabulary.known, vocabulary.abbreviations)
    items = read_items(tokens, vocabulary)
    chunks = cut_chunks(items, tokens, vocabulary)
    said = [item for item in items if not item.of(MODALITY)]
    asked = [tokens[i].stem for item in _asked(chunks, vocabulary) for i in range(item.start, item.end)]
    sides = [tokens[i].stem for item in said for i in range(item.start, item.end)]
    # `non-calcified` begins a chunk, and denies nothing but the word behind it.
    asked += [word for chunk in chunks if chunk.lead in DENIALS for word in chunk.word.split()]
    contrasts, roles = load_contrasts(), Reading(tokens, items, chunks, vocabulary).roles
    return Facts(
        sides=frozenset(vocabulary.sides[stem] for stem in sides if stem in vocabulary.sides),
        numbers=_numbers(said, tokens, contrasts),
        contrasts=_said(asked, contrasts.groups),
        loose=_said(asked, contrasts.loose),
        parts=frozenset(stem for stem in asked if "parts" in vocabulary.classes.get(stem, ())),
        ill=any(_is_ill(stem, vocabulary) for stem in asked),
        denies=bool(roles.denied or roles.denies_before),
        named=frozenset(item.term.value[0] for item in items if item.term),
        targets=frozenset(target.name for target in find_target(text, vocabulary).targets),
    )


def contradiction(asked: Facts, label: Facts, known: bool) -> str:
    """Why a label does not answer a sentence, in a few words; empty where nothing speaks against it.

    ``known``: whether the targets of the sentence were read by their terms.
    """
    if asked.sides != label.sides:
        return "another side"
    if asked.numbers != label.numbers:
        return "another number"
    if label.denies:
        return "it denies something"
    if asked.contrasts != label.contrasts or any(
        a and b and a != b for a, b in zip(asked.loose, label.loose, strict=True)
    ):
        return "another place or kind"
    if asked.parts != label.parts:
        return "another part"
    if asked.ill != label.ill:
        return "only one of the two is ill"
    if known and label.targets and label.targets != asked.targets:
        return "another target"
    if not known and label.targets and label.named & asked.named:
        return "named in the sentence, but not asked for"
    return ""


def _said(stems: Sequence[str], groups: Sequence[Mapping[str, str]]) -> tuple[frozenset[str], ...]:
    return tuple(frozenset(group[stem] for stem in stems if stem in group) for group in groups)


def _is_ill(stem: str, vocabulary: Vocabulary) -> bool:
    named = stem in vocabulary.lesion_words or stem in load_contrasts().ill
    return named or stem.endswith(vocabulary.words.thing_endings)


def _numbers(items: Sequence[Item], tokens: Sequence[Token], contrasts: Contrasts) -> frozenset[str]:
    """Numbers, each with the letter before it: `c7`, also written `C 7`."""
    words = [(tokens[i].raw.lower(), item) for item in items for i in range(item.start, item.end)]
    found = set()
    for n, (word, item) in enumerate(words):
        before, said_before = words[n - 1] if n else ("", item)
        if code := CODE.match(word):
            letter = code[1] or (before if len(before) == 1 and before.isalpha() else "")
            found.add(letter + str(int(code[2])))
        # A Roman one stands behind what it counts; elsewhere `I` is a word.
        elif word in contrasts.numbers and (len(word) > 1 or (n and not _is_light(said_before))):
            found.add(contrasts.numbers[word])
    return frozenset(found)


LIGHT = ("filler", "locating", "of", "imaging", "requests", "neutral", "adjectives", MODALITY)
"""Classes of words that ask or show, and name nothing."""


def _is_light(item: Item) -> bool:
    return any(map(item.of, LIGHT)) or item.text in ("segment", "seg")


def _asked(chunks: Sequence[Chunk], vocabulary: Vocabulary) -> list[Item]:
    """Words of a sentence that name something: `in the abdomen` says where, `abdominal CT` what was shown.

    All words but modalities where nothing else is there.
    """

    def is_region(item: Item) -> bool:
        known = vocabulary.concepts[item.term.value[0]].target if item.term else False
        return item.of("regions") or (item.term is not None and not known)

    kept: list[Item] = []
    for chunk in chunks:
        items = chunk.items
        if any(not (_is_light(item) or is_region(item)) for item in items):
            shown = {n for n, item in enumerate(items[1:]) if item.of(MODALITY) and is_region(items[n])}
            kept += [item for n, item in enumerate(items) if n not in shown and not item.of(MODALITY)]
    everything = [item for chunk in chunks for item in chunk.items if not item.of(MODALITY)]
    return kept or everything


def asked_words(text: str, vocabulary: Vocabulary) -> str:
    """What a sentence names, for the encoder, see ``_asked``; as it stands where nothing is left."""
    tokens = read_tokens(text, vocabulary.stem, vocabulary.known, vocabulary.abbreviations)
    items = _asked(cut_chunks(read_items(tokens, vocabulary), tokens, vocabulary), vocabulary)
    while len(items) > 1 and any(map(items[-1].of, ("filler", "requests", "imaging"))):
        items.pop()
    while len(items) > 1 and any(map(items[0].of, ("filler", "requests", "imaging"))):
        items.pop(0)
    return (
        " ".join(tokens[i].raw.lower() for item in items for i in range(item.start, item.end)) or text.lower()
    )

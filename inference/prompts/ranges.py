"""From one numbered thing to another: `vertebrae L1 to L3`, `ribs 3-5`, `ribs 3 and 4`."""

from __future__ import annotations

from collections.abc import Sequence

from vesal.inference.prompts.chunks import NUMBER, Item
from vesal.inference.prompts.tokens import DASHES, Token
from vesal.inference.prompts.vocabulary import Vocabulary

WEIGHTINGS = frozenset({"t1", "t2"})
"""Codes of vertebrae that also say how an MR volume was taken: a range alone does not tell which."""


def find_range(
    tokens: Sequence[Token], items: Sequence[Item], vocabulary: Vocabulary
) -> tuple[tuple[str, ...], str]:
    """Concepts of the first range or list of numbers in a sentence, and its words; else none."""
    if any(item.term is not None and _is_other(item, vocabulary) for item in items):
        return (), ""  # `disc between L4 and L5`
    between = any(token.stem == "between" for token in tokens)
    words = vocabulary.groups.range_words
    places = [item for item in items if item.text in words or not item.of("filler")]
    for at, item in enumerate(places):
        first = _numbered(item, tokens, vocabulary, "")
        if not first:
            continue
        concepts, end, ranged = [first], item.end, False
        for joint, following in _joints(places, at, tokens, vocabulary):
            found = _numbered(following, tokens, vocabulary, concepts[-1])
            if not found:
                break
            run = vocabulary.groups.between(concepts[-1], found) if joint == "range" or between else ()
            ranged |= bool(run) or following.of(NUMBER)
            concepts += run or (found,)
            end = following.end
        sure = any(concept.split()[-1] not in WEIGHTINGS for concept in concepts)
        if ranged and (sure or any(token.stem in ("vertebra", "vertebral", "spine") for token in tokens)):
            return tuple(dict.fromkeys(concepts)), " ".join(token.raw for token in tokens[item.start : end])
    return (), ""


def _is_other(item: Item, vocabulary: Vocabulary) -> bool:
    """Whether a term is a thing between or beside vertebrae, and no vertebra or rib."""
    assert item.term is not None
    name = item.term.value[0]
    return vocabulary.concepts[name].target and name.split(" ")[0] not in ("vertebra", "rib", "spinal")


def _joints(
    places: Sequence[Item], at: int, tokens: Sequence[Token], vocabulary: Vocabulary
) -> list[tuple[str, Item]]:
    """What follows an item joined to it, one after the other, as (`range` or `list`, item)."""
    found = []
    while at + 1 < len(places):
        item = places[at + 1]
        marks = tokens[item.start].before
        if item.text in vocabulary.groups.range_words and at + 2 < len(places):
            found.append(("range", places[at + 2]))
            at += 2
        elif item.of("joins") and at + 2 < len(places):
            found.append(("list", places[at + 2]))
            at += 2
        elif marks and set(marks) <= DASHES:
            found.append(("range", item))
            at += 1
        elif marks == ",":
            found.append(("list", item))
            at += 1
        else:
            break
    return found


def _numbered(item: Item, tokens: Sequence[Token], vocabulary: Vocabulary, before: str) -> str:
    """The numbered concept that an item names; a bare number counts on from the one before."""
    members = {concept for sequence in vocabulary.groups.sequences for concept in sequence}
    if item.term is not None:
        name = item.term.value[0]
        return name if name in members else ""
    word = tokens[item.end - 1].stem
    if item.of(NUMBER) and before:
        word = before.rsplit(" ", 1)[-1].rstrip("0123456789") + word
        name = f"{before.rsplit(' ', 1)[0]} {word}"
        return name if name in members else ""
    name = f"vertebra {word}"
    return name if name in members else ""

"""Names whose noun stands first, as in lists of labels and subject headings.

`Bowel_Small`, `A_Pulmonary`, `Vena Cava, Inferior`.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from vesal.inference.prompts.tokens import Token
from vesal.inference.prompts.vocabulary import Vocabulary

MAX_WORDS = 6
"""Of a name; more are a sentence."""
HEADS = frozenset({"things", "parts", "generic"})
"""Classes of a noun that makes another thing of the term behind it: `Artery, Hepatic`."""
NOT_HEADS = frozenset({"requests", "neutral", "adjectives", "imaging"})
PLACES = frozenset({"partials", "regions"})
"""Classes of the adjectives of a part: `Aorta, thoracic, descending`."""
LATIN = frozenset({
    "arteria", "vena", "nervus", "musculus", "glandula", "ductus", "cortex", "medulla", "lobus", "ramus",
    "canalis", "tunica", "ligamentum", "os", "ventriculus", "nucleus",
})  # fmt: skip
VERBS = frozenset({"segment", "seg"})


def in_order(text: str, tokens: tuple[Token, ...], vocabulary: Vocabulary) -> tuple[Token, ...]:
    """The words of such a name in the order of running text, its sides last; other sentences as they are.

    Short forms of a name without blanks are written out.
    """
    if not 1 < len(tokens) <= MAX_WORDS:
        return tokens
    written = _written_out(text, tokens, vocabulary)
    every = _parts(text, written)
    sides = [part for part in every if all(token.stem in vocabulary.sides for token in part)]
    parts = [part for part in every if not all(token.stem in vocabulary.sides for token in part)]
    if len(parts) < 2 or _is_whole(_joined(parts), vocabulary):
        return written
    for order in (parts[1:] + parts[:1], parts[-1:] + parts[:-1], parts[::-1]):
        headed = order[:-1] == parts[1:] and (_heads(parts, vocabulary) or _places(parts[1:], vocabulary))
        if headed or _is_whole(_joined(order), vocabulary):
            plain = [replace(token, before="") for token in _joined(order)]
            return (*plain, *(replace(token, before=",") for token in _joined(sides)))
    return written


def _joined(parts: Sequence[Sequence[Token]]) -> list[Token]:
    return [token for part in parts for token in part]


def _parts(text: str, tokens: Sequence[Token]) -> list[list[Token]]:
    """Words between commas, or every word of a name without blanks; none of what is no such name."""
    marks = {mark for token in tokens for mark in token.before}
    if marks == {","}:
        parts: list[list[Token]] = [[]]
        for token in tokens:
            if token.before:
                parts.append([])
            parts[-1].append(token)
        return parts if len(parts) <= 3 else []
    joined = not any(map(str.isspace, text.strip())) and marks <= {"-", "."}
    return [[token] for token in tokens] if joined or (not marks and _is_latin(tokens)) else []


def _is_latin(tokens: Sequence[Token]) -> bool:
    """Whether it begins with a Latin noun, whose adjectives follow: `vena renalis sinistra`."""
    return tokens[0].raw.lower() in LATIN


def _written_out(text: str, tokens: tuple[Token, ...], vocabulary: Vocabulary) -> tuple[Token, ...]:
    """Short forms of a label written out: `A_Pulmonary`, `Left-Inf-Lat-Vent`."""
    if any(map(str.isspace, text.strip())):
        return tokens
    found: list[Token] = []
    for n, token in enumerate(tokens):
        short = token.raw.lower()
        words = vocabulary.label_words.get(short, "") if len(short) > 1 or not n else ""
        found += [Token(word, vocabulary.stem(word)) for word in words.split()] or [token]
    return tuple(found)


def _is_whole(words: Sequence[Token], vocabulary: Vocabulary) -> bool:
    """Whether all of the words are one term, or another known phrase."""
    stems = tuple(token.stem for token in words)
    spans = vocabulary.find_terms(stems, lambda span: not span.skipped)
    return len(spans) == 1 and spans[0].length == len(stems) > 1


def _places(parts: Sequence[Sequence[Token]], vocabulary: Vocabulary) -> bool:
    """Whether all that follows are adjectives of place."""
    classes = [vocabulary.classes.get(token.stem, frozenset()) for token in _joined(parts)]
    return all(found & PLACES and "head_parts" not in found for found in classes)


def _heads(parts: Sequence[Sequence[Token]], vocabulary: Vocabulary) -> bool:
    """Whether the first part is a noun for another thing, and the others are one target."""
    head = " ".join(token.stem for token in parts[0])
    classes = vocabulary.classes.get(head, frozenset())
    is_head = bool(classes & HEADS) and not classes & NOT_HEADS and head not in VERBS
    stems = tuple(token.stem for part in parts[1:] for token in part)
    spans = vocabulary.find_terms(stems, lambda span: not span.skipped)
    named = len(spans) == 1 and spans[0].value is not None and spans[0].length == len(stems)
    return named and (is_head or vocabulary.meaning(head) == "lesion")

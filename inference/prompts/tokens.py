"""A sentence as words with what stands between them; knows letters, no anatomy."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Mapping

from msgspec import Struct

from vesal.inference.io.limits import MAX_SENTENCE
from vesal.inference.prompts.term_search import MAX_WORDS, Stems

PIECE = re.compile(r"[^\W_]+|[^\w\s]|_|\s+")
HUMP = re.compile(r"(?<=[a-z])(?=[A-Z][a-z])|(?<=[A-Z])(?=[A-Z][a-z]{2})|(?<=[a-z]{3})(?=[A-Z]+\d*$)")
"""Where a name in CamelCase is cut: `Left|Kidney`, `LV|Myocardium`, `Kidney|L`."""
SHORT = re.compile(r"\bw/(o(?:ut)?\b)?", re.IGNORECASE)
"""`w/`, `w/o` and `w/out`, whose stroke joins nothing."""
NUMBERED = re.compile(r"^([^\W\d_]{3,})(\d{1,2})$")
"""A word with its number: `rib4`, `segment4`."""
STOPS = frozenset(",;:()[]{}/|+&.!?")
MINUS = "\u2212"
"""A dash behind a blank or a bracket, which may take something away."""
SPACED = re.compile(r"(?<=[\s(\[{])[-\u2012\u2013\u2014](?=[\s\w])")
DASHES = frozenset("-\u2010\u2011\u2012\u2013\u2014~" + MINUS)


class Token(Struct, frozen=True):
    """One word."""

    raw: str
    """As written."""
    stem: str
    """The form in which words are compared."""
    before: str = ""
    """Marks between the word before and this one, without blanks: `,`, `-`, `(`."""


def read_tokens(
    text: str, stem: Stems, known: Collection[str], abbreviations: Mapping[str, str]
) -> tuple[Token, ...]:
    """Words of a sentence, at most 256.

    Names in CamelCase, with numbers or with a side run into them are cut (`LeftKidney`, `rib4`,
    `leftkidney`), unless they are `known` as they stand. Abbreviations in capitals, or alone in their
    sentence, are written out.
    """
    tokens: list[Token] = []
    marks = ""
    # Normalising many combining marks takes time with the square of their number, and holds every thread.
    cut = text[:MAX_SENTENCE]
    plain = cut if cut.isascii() else unicodedata.normalize("NFKC", cut)
    if "/" in plain:
        plain = SHORT.sub(lambda found: " without " if found[1] else " with ", plain)
    pieces = PIECE.findall(SPACED.sub(MINUS, plain))
    n_words = sum(piece[0].isalnum() for piece in pieces)
    for piece in pieces:
        if not piece[0].isalnum():
            marks += "" if piece.isspace() or piece == "_" else piece
            continue
        if piece in abbreviations or (n_words == 1 and piece.upper() in abbreviations):
            words = abbreviations[piece if piece in abbreviations else piece.upper()].split()
        else:
            words = _cut(piece, stem, known)
        for word in words:
            tokens.append(Token(word, stem(word), marks))
            marks = ""
        if len(tokens) >= MAX_WORDS:
            break
    return tuple(tokens[:MAX_WORDS])


def _cut(word: str, stem: Stems, known: Collection[str]) -> list[str]:
    """The words that were run into one."""
    if stem(word) in known or (word.islower() and len(word) < 7 and word.isalpha()):
        return [word]
    found = []
    for part in HUMP.split(word):
        numbered = None if stem(part) in known else NUMBERED.match(part)
        found += list(numbered.groups()) if numbered else [part]
    if len(found) == 1 and stem(word) not in known:
        for side in ("left", "right"):
            rest = word.lower().removeprefix(side) if word.lower().startswith(side) else ""
            rest = rest or (word.lower().removesuffix(side) if word.lower().endswith(side) else "")
            if rest and stem(rest) in known:
                return [side, rest] if word.lower().startswith(side) else [rest, side]
    return found

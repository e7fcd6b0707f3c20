"""Words of a sentence and the search for known terms among them; knows nothing of anatomy."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from vesal.inference.io.limits import MAX_SENTENCE

T = TypeVar("T")

WORD = re.compile(r"[^\W_]+")
# A prompt is one sentence; more than this is no prompt, and the search below is quadratic in the worst case.
MAX_WORDS = 256


def split_words(text: str) -> tuple[str, ...]:
    """Runs of letters and digits in their own spelling; hyphens and underscores part words.

    At most 256, and of the first ``MAX_SENTENCE`` characters: normalising many combining marks takes time
    with the square of their number, and holds all other threads.
    """
    cut = text[:MAX_SENTENCE]
    plain = cut if cut.isascii() else unicodedata.normalize("NFKC", cut)
    return tuple(WORD.findall(plain))[:MAX_WORDS]


@dataclass(frozen=True)
class Stems:
    """Brings a word into the form in which terms are compared: lower case, singular, American spelling."""

    spellings: Mapping[str, str]
    """Other spelling, in lower case and singular, to the one in use."""
    plurals: Mapping[str, str]
    """Irregular plural to singular, lower case."""

    known: dict[str, str] = field(default_factory=dict)
    """Words of the vocabulary, in lower case, with their forms: read more than once while it is loaded."""

    def __call__(self, word: str) -> str:
        """The comparable form of one word."""
        word = word.lower()
        return self.known.get(word) or self._form(word)

    def learn(self, word: str) -> str:
        """The same, and kept."""
        word = word.lower()
        if word not in self.known:
            self.known[word] = self._form(word)
        return self.known[word]

    def _form(self, word: str) -> str:
        word = _singular(self.plurals.get(word, word))
        return self.spellings.get(word, word)


def _singular(word: str) -> str:
    """Cut off a regular plural; terms and sentences are cut alike, so `pancrea` does no harm."""
    if len(word) <= 3 or not word.endswith("s") or word.endswith(("ss", "us", "is")):
        return word
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    return word[:-2] if word.endswith(("sses", "ches", "shes")) else word[:-1]


@dataclass(frozen=True)
class Span(Generic[T]):
    """A term in the words [start, end) and what it stands for; the skipped words inside are not its own."""

    start: int
    end: int
    value: T
    skipped: tuple[int, ...] = ()

    @property
    def length(self) -> int:
        """Number of words of the term itself."""
        return self.end - self.start - len(self.skipped)

    def meets(self, other: Span) -> bool:
        """Whether the two share a word."""
        return self.start < other.end and other.start < self.end


VALUE = ""
"""Key of a node's value: no word is empty."""


class TermTree(Generic[T]):
    """Terms as a tree of words: plain dicts, since thousands are made at every start."""

    def __init__(self) -> None:
        self._root: dict[str, Any] = {}

    def add(self, term: Sequence[str], value: T) -> T:
        """Add a term of one or more stems; returns its value, the older one where it was known already."""
        node = self._root
        for word in term:
            node = node.setdefault(word, {})
        return node.setdefault(VALUE, value)

    def matches(self, words: Sequence[str], start: int, skip: Collection[str] = ()) -> Iterator[Span[T]]:
        """Every term that begins exactly at `start`; words of `skip` may lie between the words of a term."""
        if start < len(words) and words[start] not in self._root:
            return
        paths: list[tuple[dict[str, Any], int, tuple[int, ...]]] = [(self._root, start, ())]
        while paths:
            node, at, skipped = paths.pop()
            # A path that ends in a skipped word is the same term again.
            if VALUE in node and (not skipped or skipped[-1] < at - 1):
                yield Span(start, at, node[VALUE], skipped)
            if at >= len(words):
                continue
            if words[at] in node:
                paths.append((node[words[at]], at + 1, skipped))
            # Two skipped words are enough for `upper lobe of the left lung`; more would bridge clauses.
            if words[at] in skip and at > start and len(skipped) < 2:
                paths.append((node, at + 1, (*skipped, at)))

    def find(
        self,
        words: Sequence[str],
        skip: Collection[str] = (),
        allowed: Callable[[Span[T]], bool] = lambda span: True,
    ) -> list[Span[T]]:
        """Allowed terms that do not overlap, the longer one where they would, in the order of the words."""
        spans = [
            span for start in range(len(words)) for span in self.matches(words, start, skip) if allowed(span)
        ]
        spans.sort(key=lambda span: (-span.length, -_letters(words, span), span.start))
        kept: list[Span[T]] = []
        for span in spans:
            if not any(span.meets(other) for other in kept):
                kept.append(span)
        return sorted(kept, key=lambda span: span.start)


def _letters(words: Sequence[str], span: Span) -> int:
    return sum(len(words[i]) for i in range(span.start, span.end) if i not in span.skipped)

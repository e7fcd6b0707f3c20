"""Known words that differ from an unknown one by a typing error."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable

LEAST_LETTERS = 5
"""Of the known word: of shorter ones too many neighbours are words themselves."""
LETTERS_FOR_TWO = 9
"""From which two errors are forgiven, where the word starts alike."""
ENDINGS = frozenset("dsryn")
"""Letters at the end that make another form of a word."""


class KnownSpellings:
    """Words to compare with, by their length."""

    def __init__(self, words: Iterable[str], right: Collection[str] = ()) -> None:
        """``right``: words that are no typing errors, whatever they are near to."""
        self._by_length: dict[int, list[str]] = defaultdict(list)
        for word in sorted(set(words)):
            if len(word) >= LEAST_LETTERS and word.isalpha():
                self._by_length[len(word)].append(word)
        self._right = frozenset(right)
        self._found: dict[str, tuple[str, ...]] = {}

    def near(self, word: str) -> tuple[str, ...]:
        """The known words that are nearest by edit distance, all that are as near; none beyond the limit."""
        if word not in self._found:
            if len(self._found) > 10_000:  # of one process: a server's, over days
                self._found.clear()
            self._found[word] = self._nearest(word)
        return self._found[word]

    def _nearest(self, word: str) -> tuple[str, ...]:
        if len(word) < LEAST_LETTERS - 1 or len(word) > 40 or not word.isalpha() or word in self._right:
            return ()
        sizes = range(len(word) - 2, len(word) + 3)
        near = [known for size in sizes for known in self._by_length.get(size, ())]
        one = tuple(known for known in near if _one_error(word, known) and not _is_form(word, known))
        if one or len(word) < LETTERS_FOR_TWO:
            return one
        return tuple(known for known in near if known[:2] == word[:2] and _distance(word, known) <= 2)


def mistyped(word: str, words: Iterable[str]) -> str:
    """That one of a few short words of which letters are only exchanged or doubled (`rigth`); else empty."""
    near = (known for known in words if set(word) == set(known) and word != known and _one_error(word, known))
    return next(near, "")


def _is_form(a: str, b: str) -> bool:
    """Whether one is a form of the other rather than mistyped: `shaped` of `shape`."""
    short, long = sorted((a, b), key=len)
    end = long[len(short) :]
    return long.startswith(short) and end in ENDINGS and not short.endswith(end)


def _one_error(a: str, b: str) -> bool:
    """Whether one letter more, less or changed, or two neighbours exchanged, make one word of the other."""
    if abs(len(a) - len(b)) > 1:
        return False
    shorter = min(len(a), len(b))
    start = 0
    while start < shorter and a[start] == b[start]:
        start += 1
    end = 0
    while end < shorter - start and a[-1 - end] == b[-1 - end]:
        end += 1
    x, y = a[start : len(a) - end], b[start : len(b) - end]
    return len(x) <= 1 and len(y) <= 1 or (len(x) == len(y) == 2 and x == y[::-1])


def _distance(a: str, b: str) -> int:
    """Number of letters more, less or changed, or neighbours exchanged (optimal string alignment)."""
    before: list[int] = []
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        older, before, row = before, row, [i]
        for j, y in enumerate(b, 1):
            best = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (x != y))
            if i > 1 and j > 1 and x == b[j - 2] and a[i - 2] == y:
                best = min(best, older[j - 2] + 1)
            row.append(best)
    return row[-1]

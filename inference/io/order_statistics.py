"""Values at given places of the order of very many numbers, without sorting or holding them.

They are found digit by digit: numbers are counted by the highest 16 bits of their float64, those that share
the wanted ones by the next 16, and so on. No outlier makes it longer.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

import numpy as np

Count = Callable[[np.ndarray], None]

DIGIT_BITS = 16
MAX_HELD = 1 << 19
"""So many numbers that share all digits found so far are sorted instead: 4 MB."""
_SIGN = np.uint64(1 << 63)


def order_statistics(each: Callable[[Count], None], ranks: Sequence[int]) -> list[float]:
    """The numbers at ``ranks`` of the ascending order.

    Args:
        each: calls its argument with all numbers, (n,) float64 without NaN at a time.
            Called up to four times; may call from several threads.
        ranks: from 0 on, below the number of numbers.
    """
    prefixes = [np.uint64(0)] * len(ranks)
    left, adding = list(ranks), threading.Lock()
    for shift in (48, 32, 16, 0):
        counts = {prefix: np.zeros(1 << DIGIT_BITS, np.int64) for prefix in set(prefixes)}

        def count(values: np.ndarray, counts: dict = counts, shift: int = shift) -> None:
            for prefix, digits in _digits(_keys(values), counts, shift):
                found = np.bincount(digits, minlength=1 << DIGIT_BITS)
                with adding:
                    counts[prefix] += found

        each(count)
        held = {}
        for number, prefix in enumerate(prefixes):
            ends = np.cumsum(counts[prefix])
            digit = int(np.searchsorted(ends, left[number], "right"))
            left[number] -= int(ends[digit - 1]) if digit else 0
            prefixes[number] = (prefix << np.uint64(DIGIT_BITS)) | np.uint64(digit)
            held[prefixes[number]] = int(counts[prefix][digit])
        if shift and sum(held.values()) <= MAX_HELD:
            groups = _held(each, set(prefixes), shift)
            return [float(groups[p][rank]) for p, rank in zip(prefixes, left, strict=True)]
    return [float(_values(np.array([prefix]))[0]) for prefix in prefixes]


def _held(each: Callable[[Count], None], prefixes: set[np.uint64], shift: int) -> dict[np.uint64, np.ndarray]:
    """The numbers of each prefix, (n,) float64 ascending."""
    parts: dict[np.uint64, list[np.ndarray]] = {prefix: [] for prefix in prefixes}

    def keep(values: np.ndarray) -> None:
        keys = _keys(values)
        heads = keys >> np.uint64(shift)
        for prefix in prefixes:
            parts[prefix].append(values[heads == prefix])

    each(keep)
    return {prefix: np.sort(np.concatenate(found)) for prefix, found in parts.items()}


def _digits(keys: np.ndarray, prefixes: dict, shift: int) -> list[tuple[np.uint64, np.ndarray]]:
    """The next digit of the keys that begin with each prefix, (n,) int64."""
    mask = np.uint64((1 << DIGIT_BITS) - 1)
    found = []
    heads = None if shift == 48 else keys >> np.uint64(shift + DIGIT_BITS)
    for prefix in prefixes:
        mine = keys if heads is None else keys[heads == prefix]
        found.append((prefix, ((mine >> np.uint64(shift)) & mask).view(np.int64)))
    return found


def _keys(values: np.ndarray) -> np.ndarray:
    """(n,) float64 -> (n,) uint64 in the same order; -0 counts as 0."""
    bits = (values + 0.0).view(np.uint64)
    # All bits of a negative number are turned, else the sign alone.
    return bits ^ ((bits.view(np.int64) >> 63).view(np.uint64) | _SIGN)


def _values(keys: np.ndarray) -> np.ndarray:
    """What `_keys` was made of."""
    return np.where(keys & _SIGN, keys ^ _SIGN, ~keys).view(np.float64)

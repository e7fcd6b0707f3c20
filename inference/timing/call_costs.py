"""Measured seconds of network calls, by what is run, window size and number of prompts."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from threading import Lock

RECENT = 32
"""Calls of one kind and size that are kept: a machine that was slow once may be fast again."""
MAX_GROWTH = 2.0
"""Upper limit of the growth from call to call that is extrapolated to the next one."""

Point = tuple[int, float]
"""voxels of a window, or prompts; seconds of a call"""
Size = tuple[int, int]
"""voxels of a window, and the prompts that were asked at once (0 of an encoding)"""


class CallCosts:
    """Seconds of the calls so far, by a key that says what is run; several threads may record and read.

    The first call of each key compiles its graph. It counts only while there is no other, and only in
    `slowest_s`, which must not be too low.
    """

    def __init__(self) -> None:
        self._first: dict[str, tuple[Size, float]] = {}
        self._seen: dict[str, dict[Size, deque[float]]] = {}
        self._lock = Lock()

    def record(self, key: str, voxels: int, prompts: int, seconds: float) -> None:
        """Record one call on a window of ``voxels`` voxels for so many ``prompts``."""
        size = voxels, prompts
        with self._lock:
            if key not in self._first:
                self._first[key] = (size, seconds)
                return
            self._seen.setdefault(key, {}).setdefault(size, deque(maxlen=RECENT)).append(seconds)

    def mean_s(self, key: str, voxels: int, prompts: int) -> float:
        """Mean seconds of a call; 0 where only first calls were recorded.

        For sums over the plan, where the next measurement corrects an error: a window larger than any
        recorded is assumed to cost no more than that one, a smaller one less in proportion.
        """
        with self._lock:
            seen = self._seen.get(key) or self._pooled(_kind(key))
            by_prompts = _split({size: sum(s) / len(s) for size, s in seen.items()}.items())

        def at_voxels(means: list[Point]) -> float:
            smallest = min(means)
            return smallest[1] * voxels / smallest[0] if voxels < smallest[0] else _between(means, voxels)

        return _for_prompts({n: at_voxels(means) for n, means in by_prompts.items()}, prompts)

    def slowest_s(self, key: str, voxels: int, prompts: int) -> float:
        """Seconds that the next call may take, by the slowest recent ones; 0 where none was recorded.

        For the decision to begin a call: a window smaller than any recorded is assumed to cost no less, a
        larger one no more. If that is too low, the case is ended at its deadline with what is on disk.
        """
        with self._lock:
            if key in self._first:
                points = list(_slowest(self._seen.get(key, {}))) or [self._first[key]]
            else:  # its graph is still to be compiled, as those were
                firsts = [call for other, call in self._first.items() if _kind(other) == _kind(key)]
                points = [*_slowest(self._pooled(_kind(key))), *firsts]
        return _for_prompts({n: _between(of, voxels) for n, of in _split(points).items()}, prompts)

    def _pooled(self, kind: str) -> dict[Size, list[float]]:
        """Calls of all keys of a kind by size, without the first ones."""
        pooled: dict[Size, list[float]] = {}
        for key, sizes in self._seen.items():
            if _kind(key) != kind:
                continue
            for size, seconds in sizes.items():
                pooled.setdefault(size, []).extend(seconds)
        return pooled


def _kind(key: str) -> str:
    """The first word of a key. An encoding says nothing of a decoding."""
    return key.partition(" ")[0]


def _slowest(seen: Mapping[Size, Iterable[float]]) -> Iterator[tuple[Size, float]]:
    """The slowest call of each size, extrapolated where they grow."""
    return ((size, max(seconds) * _growth(seconds)) for size, seconds in seen.items())


def _growth(seconds: Iterable[float]) -> float:
    """Factor of the last call over the one before, where that one had grown too; 1 elsewhere."""
    last = list(seconds)[-3:]
    if len(last) < 3 or not last[0] < last[1] < last[2] or last[1] <= 0:
        return 1.0
    return min(MAX_GROWTH, last[2] / last[1])


def _split(calls: Iterable[tuple[Size, float]]) -> dict[int, list[Point]]:
    """Calls by their number of prompts: voxels and seconds of each."""
    split: dict[int, list[Point]] = {}
    for (voxels, prompts), seconds in calls:
        split.setdefault(prompts, []).append((voxels, seconds))
    return split


def _for_prompts(known: Mapping[int, float], prompts: int) -> float:
    """Seconds for so many prompts, from those for other numbers; 0 where nothing is known.

    Fewer than ever recorded cost no less, more cost more in proportion: a part of a call does not depend on
    them, so neither is too low.
    """
    if not known:
        return 0.0
    most = max(known)
    seconds = _between(known.items(), prompts)
    return seconds * prompts / most if prompts > most > 0 else seconds


def _between(points: Iterable[Point], at: int) -> float:
    """Linear interpolation between the slowest point of each size; constant outside."""
    dearest: dict[int, float] = {}
    for size, seconds in points:
        dearest[size] = max(seconds, dearest.get(size, 0.0))
    ordered = sorted(dearest.items())
    below = [p for p in ordered if p[0] <= at]
    above = [p for p in ordered if p[0] >= at]
    if not below or not above:
        return (above or below[::-1])[0][1]
    (v0, s0), (v1, s1) = below[-1], above[0]
    return s0 if v0 == v1 else s0 + (s1 - s0) * (at - v0) / (v1 - v0)

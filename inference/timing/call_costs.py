"""Measured seconds of network calls, by degree of anisotropy and window size."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from threading import Lock

RECENT = 32
"""Calls of one degree and size that are kept: a machine that was slow once may be fast again."""
MAX_GROWTH = 2.0
"""Upper limit of the growth from call to call that is extrapolated to the next one."""

Point = tuple[int, float]
"""voxels of a window, seconds of a call"""


class CallCosts:
    """Seconds of the calls so far; several threads may record and read.

    The first call of each degree compiles its graph. It counts only while there is no other, and only in
    `slowest_s`, which must not be too low.
    """

    def __init__(self) -> None:
        self._first: dict[int, Point] = {}
        self._seen: dict[int, dict[int, deque[float]]] = {}
        self._lock = Lock()

    def record(self, degree: int, voxels: int, seconds: float) -> None:
        """Record one call on a window of ``voxels`` voxels."""
        with self._lock:
            if degree not in self._first:
                self._first[degree] = (voxels, seconds)
                return
            self._seen.setdefault(degree, {}).setdefault(voxels, deque(maxlen=RECENT)).append(seconds)

    def mean_s(self, degree: int, voxels: int) -> float:
        """Mean seconds of a call; 0 where only first calls were recorded.

        For sums over the plan, where the next measurement corrects an error: a window larger than any
        recorded is assumed to cost no more than that one, a smaller one less in proportion.
        """
        with self._lock:
            means = [(v, sum(s) / len(s)) for v, s in (self._seen.get(degree) or self._pooled()).items()]
        if not means:
            return 0.0
        smallest = min(means)
        return smallest[1] * voxels / smallest[0] if voxels < smallest[0] else _between(means, voxels)

    def slowest_s(self, degree: int, voxels: int) -> float:
        """Seconds that the next call may take, by the slowest recent ones; 0 where none was recorded.

        For the decision to begin a call: a window smaller than any recorded is assumed to cost no less, a
        larger one no more. If that is too low, the case is ended at its deadline with what is on disk.
        """
        with self._lock:
            if degree in self._first:
                points = _slowest(self._seen.get(degree, {})) or [self._first[degree]]
            else:  # its graph is still to be compiled, as those were
                points = [*_slowest(self._pooled()), *self._first.values()]
        return _between(points, voxels) if points else 0.0

    def _pooled(self) -> dict[int, list[float]]:
        """Calls of all degrees by size, without the first ones."""
        pooled: dict[int, list[float]] = {}
        for sizes in self._seen.values():
            for voxels, seconds in sizes.items():
                pooled.setdefault(voxels, []).extend(seconds)
        return pooled


def _slowest(seen: Mapping[int, Iterable[float]]) -> list[Point]:
    """The slowest call of each size, extrapolated where they grow."""
    return [(voxels, max(seconds) * _growth(seconds)) for voxels, seconds in seen.items()]


def _growth(seconds: Iterable[float]) -> float:
    """Factor of the last call over the one before, where that one had grown too; 1 elsewhere."""
    last = list(seconds)[-3:]
    if len(last) < 3 or not last[0] < last[1] < last[2] or last[1] <= 0:
        return 1.0
    return min(MAX_GROWTH, last[2] / last[1])


def _between(points: Iterable[Point], voxels: int) -> float:
    """Linear interpolation between the slowest point of each size; constant outside."""
    dearest: dict[int, float] = {}
    for size, seconds in points:
        dearest[size] = max(seconds, dearest.get(size, 0.0))
    ordered = sorted(dearest.items())
    below = [p for p in ordered if p[0] <= voxels]
    above = [p for p in ordered if p[0] >= voxels]
    if not below or not above:
        return (above or below[::-1])[0][1]
    (v0, s0), (v1, s1) = below[-1], above[0]
    return s0 if v0 == v1 else s0 + (s1 - s0) * (voxels - v0) / (v1 - v0)

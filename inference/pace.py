"""Whether there is time for more views and windows: costs are measured on the way, not guessed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from inference.budget import Clock

MARGIN = 1.5
"""Factor on the slowest view so far: the next one may be larger or meet a stall."""
LEAST_RESERVE_S = 1.0
"""Kept for filtering and writing at least."""
RESERVE_FACTOR = 3.0
"""Filtering and writing the result costs at most this many times what writing the coarse result cost."""
OVERLAP_STEPS = (1.0, 0.5, 0.0)
"""Shares of a rule's overlap that are tried, widest first, when many windows have to fit into the time
left.
"""


class Pace:
    """Keeps the clock of one case and what its parts cost."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._view_s = 0.0
        self._window_s: dict[int, float] = {}
        self._warm: set[int] = set()
        self._reserve_s = LEAST_RESERVE_S

    def saw_view(self, seconds: float) -> None:
        """Take in the cost of a view."""
        self._view_s = max(self._view_s, seconds)

    def saw_writing(self, seconds: float) -> None:
        """Take in the cost of making and writing the coarse result."""
        self._reserve_s = max(LEAST_RESERVE_S, RESERVE_FACTOR * seconds)

    @contextmanager
    def window(self, degree: int) -> Iterator[None]:
        """Measure a window; the first of each degree compiles the graph and is not counted."""
        started = time.monotonic()
        yield
        if degree in self._warm:
            self._window_s[degree] = time.monotonic() - started
        self._warm.add(degree)

    def knows(self, degree: int) -> bool:
        """Whether a window of this degree was measured."""
        return degree in self._window_s

    def allows_view(self) -> bool:
        """Whether another view, and what must follow it, still fits."""
        return self._clock.left_s() > MARGIN * self._view_s + self._reserve_s

    def allows_windows(self, count: int, degree: int) -> bool:
        """Whether ``count`` more windows, and what must follow them, still fit."""
        return self._clock.left_s() > MARGIN * count * self._window_s.get(degree, 0.0) + self._reserve_s

    def why_not(self) -> str:
        """The reason for the report."""
        return (
            f"{self._clock.left_s():.1f} s of {self._clock.budget_s:.0f} s left, a view takes up to "
            f"{self._view_s:.1f} s, filtering and writing {self._reserve_s:.1f} s"
        )

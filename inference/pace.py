"""Whether there is time for one more fine view: costs are measured on the way, not guessed."""

from __future__ import annotations

from inference.budget import Clock

MARGIN = 1.5
"""Factor on the slowest view so far: the next one may be larger or meet a stall."""
LEAST_RESERVE_S = 1.0
"""Kept for filtering and writing at least."""
RESERVE_FACTOR = 3.0
"""Filtering and writing the result costs at most this many times what writing the coarse result cost."""


class Pace:
    """Keeps the clock of one case and what its parts cost."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._view_s = 0.0
        self._reserve_s = LEAST_RESERVE_S

    def saw_view(self, seconds: float) -> None:
        """Take in the cost of a view."""
        self._view_s = max(self._view_s, seconds)

    def saw_writing(self, seconds: float) -> None:
        """Take in the cost of making and writing the coarse result."""
        self._reserve_s = max(LEAST_RESERVE_S, RESERVE_FACTOR * seconds)

    def allows_view(self) -> bool:
        """Whether another view, and what must follow it, still fits."""
        return self._clock.left_s() > MARGIN * self._view_s + self._reserve_s

    def why_not(self) -> str:
        """The reason for the report."""
        return (
            f"{self._clock.left_s():.1f} s of {self._clock.budget_s:.0f} s left, a view takes up to "
            f"{self._view_s:.1f} s, filtering and writing {self._reserve_s:.1f} s"
        )

"""What the wall time of a run goes to."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Times:
    """Wall time by what it went to, in seconds."""

    def __init__(self) -> None:
        self.spent_s: dict[str, float] = {}
        self.since: float | None = None

    @contextmanager
    def __call__(self, what: str) -> Iterator[None]:
        """Count the time of the block as ``what``."""
        started = time.perf_counter()
        self.since = started if self.since is None else self.since
        yield
        self.spent_s[what] = self.spent_s.get(what, 0.0) + time.perf_counter() - started

    def shares(self) -> dict[str, float]:
        """The share of each of the time since the first block began, largest first; ``other`` is between."""
        now = time.perf_counter()
        total = max(now - (now if self.since is None else self.since), 1e-9)
        spent = self.spent_s | {"other": max(0.0, total - sum(self.spent_s.values()))}
        return {what: s / total for what, s in sorted(spent.items(), key=lambda item: -item[1])}

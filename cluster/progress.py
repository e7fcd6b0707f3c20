"""How far a run is: cases, cases a minute, time left, failures; a bar on a terminal, else a line at times."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from vesal.cluster.job import Job
from vesal.cluster.record import FAILED, Record
from vesal.inference.data.results import FELL_BACK, SKIPPED
from vesal.inference.output.logs import on_terminal

log = logging.getLogger("vesal.batch")

LINE_S = 60.0
"""Between two lines of the log where there is no terminal."""


class Progress:
    """Counts records; what is skipped takes no time and says nothing of how long the others take."""

    def __init__(self, jobs: Sequence[Job], now: Callable[[], float] = time.monotonic) -> None:
        """Begin; the clock ``now`` runs from here."""
        self._costs: Mapping[str, float] = {job.name: job.cost for job in jobs}
        self._now, self._began = now, now()
        self._left_cost, self._done_cost = sum(self._costs.values()), 0.0
        self.total, self.done, self.skipped, self.failed, self.fell_back = len(jobs), 0, 0, 0, 0

    def add(self, record: Record) -> None:
        """One case has ended."""
        cost = self._costs.get(record.name, 0.0)
        self._left_cost = max(0.0, self._left_cost - cost)
        self.done += 1
        self.skipped += record.state == SKIPPED
        self.failed += record.state == FAILED
        self.fell_back += record.state == FELL_BACK
        if record.state != SKIPPED:
            self._done_cost += cost

    @property
    def run(self) -> int:
        """Cases that were not skipped."""
        return self.done - self.skipped

    @property
    def per_minute(self) -> float | None:
        """Cases a minute, of those that were run; None before the first."""
        seconds = self._now() - self._began
        return 60.0 * self.run / seconds if self.run and seconds > 0 else None

    @property
    def left_s(self) -> float | None:
        """Seconds left by the expected costs; None: not known yet."""
        if self.done == self.total:
            return 0.0
        if not self._done_cost:
            return None
        return (self._now() - self._began) * self._left_cost / self._done_cost

    def text(self) -> str:
        """In one line."""
        parts = [f"{self.done} of {self.total} cases"]
        if self.per_minute is not None:
            parts.append(f"{self.per_minute:.1f} a minute")
        if self.left_s:
            parts.append(f"{_duration(self.left_s)} left")
        told = ((self.skipped, "done before"), (self.fell_back, "fell back"), (self.failed, "failed"))
        return ", ".join([*parts, *(f"{count} {word}" for count, word in told if count)])


class Shown:
    """Progress where it can be seen; for a `with`."""

    def __init__(self, progress: Progress, now: Callable[[], float] = time.monotonic) -> None:
        """Show ``progress``."""
        self.progress, self._now, self._told = progress, now, now()
        self._bar: Any = None

    def __enter__(self) -> Self:
        """Open the bar on a terminal."""
        if on_terminal() and log.isEnabledFor(logging.INFO):
            from tqdm import tqdm

            tqdm.monitor_interval = 0
            form = "{percentage:3.0f}%|{bar}| {desc}"
            self._bar = tqdm(total=self.progress.total, bar_format=form, leave=False, file=sys.stderr)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        if self._bar is not None:
            self._bar.close()

    def add(self, record: Record) -> None:
        """One case has ended."""
        self.progress.add(record)
        if self._bar is not None:
            self._bar.set_description_str(self.progress.text(), refresh=False)
            self._bar.update()
        elif self._now() - self._told >= LINE_S:
            self._told = self._now()
            log.info("%s", self.progress.text())


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"

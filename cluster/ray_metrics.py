"""How far a run is, for Ray's dashboard and whatever collects its metrics (Prometheus)."""

from __future__ import annotations

from collections.abc import Sequence

from vesal.cluster.job import Job
from vesal.cluster.progress import Progress
from vesal.cluster.record import Record


class Metrics:
    """Gauges and counters; Ray sends them on by itself every few seconds."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        """Ray has to be connected."""
        from ray.util.metrics import Counter, Gauge

        self._progress = Progress(jobs)
        self._cases = Counter("vesal_cases", "Cases that have ended, by their state", tag_keys=("state",))
        self._losses = Counter(
            "vesal_workers_lost", "Workers that were lost: killed, crashed, hung, node gone"
        )
        self._left = Gauge("vesal_cases_left", "Cases that are still to be run")
        self._per_minute = Gauge("vesal_cases_per_minute", "Cases a minute, without those found done")
        self._left_s = Gauge("vesal_seconds_left", "Seconds left by the expected costs")
        self._workers = Gauge("vesal_workers", "Workers that are ready")
        self._left.set(len(jobs))

    def add(self, record: Record) -> None:
        """One case has ended."""
        progress = self._progress
        progress.add(record)
        self._cases.inc(tags={"state": record.state})
        self._left.set(progress.total - progress.done)
        self._per_minute.set(progress.per_minute or 0.0)
        self._left_s.set(progress.left_s or 0.0)

    def lost(self) -> None:
        """One worker was lost."""
        self._losses.inc()

    def workers(self, ready: int) -> None:
        """So many are ready."""
        self._workers.set(ready)

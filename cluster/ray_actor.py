"""A worker of a run in a process of Ray: a `CaseWorker`, asked by two threads."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from vesal import __version__
from vesal.cluster.hiding import hide_secrets
from vesal.cluster.job import Job
from vesal.cluster.options import WorkerOptions
from vesal.cluster.record import Record
from vesal.cluster.worker import worker_name
from vesal.inference.runtime.threads import limit_threads


class Works(Protocol):
    """What runs the cases: `worker.CaseWorker`, or what tests and benchmarks have in its place."""

    def fetch(self, job: Job) -> None:
        """Begin to bring a case here."""

    def run(self, job: Job, attempt: int = 1) -> Record:
        """Run it."""

    def drop(self, job: Job) -> None:
        """Let go of a case that is run elsewhere."""

    def close(self) -> None:
        """Remove what was brought."""


MakeWorker = Callable[[WorkerOptions], Works]


@dataclass(frozen=True)
class Hello:
    """What a worker tells when it is ready."""

    name: str
    version: str
    pid: int


class RayWorker:
    """The class of the actors; `fetch` and `drop` are called by another thread than `run`."""

    def __init__(self, options: WorkerOptions, threads: int, make: MakeWorker) -> None:
        """``make`` is called with the options of this worker."""
        hide_secrets()
        limit_threads(threads)
        self._name = worker_name("ray")
        self._options, self._make = options.of_worker(self._name, threads), make
        self._lock = threading.Lock()

    def hello(self) -> Hello:
        """Asked first, and told as soon as it is ready."""
        # Not above: what is raised there reaches nobody.
        self._works = self._make(self._options)
        return Hello(self._name, __version__, os.getpid())

    def fetch(self, job: Job) -> None:
        """See `CaseWorker`; it may be called while a case is run, and then begins at once."""
        with self._lock:
            self._works.fetch(job)

    def drop(self, job: Job) -> None:
        """See `CaseWorker`."""
        self._works.drop(job)

    def run(self, job: Job, attempt: int) -> Record:
        """See `CaseWorker`."""
        self.fetch(job)  # here, behind the lock: it may be under way in the other thread
        return self._works.run(job, attempt)

    def close(self) -> None:
        """See `CaseWorker`."""
        self._works.close()

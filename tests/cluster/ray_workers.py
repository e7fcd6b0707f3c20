"""Workers for processes of Ray: a network that finds bright boxes, and cases that end their worker."""

from __future__ import annotations

import ctypes
import os
import signal
import time
from pathlib import Path

from tests.cluster.made import BoxOpener
from vesal.cluster.job import Job
from vesal.cluster.options import WorkerOptions
from vesal.cluster.record import Record
from vesal.cluster.worker import CaseWorker

LONG_S = 600
"""Of what hangs: longer than any test waits."""


def box_worker(options: WorkerOptions) -> CaseWorker:
    """A worker as it is, but for its network."""
    return CaseWorker(options, BoxOpener())


class TroubledWorker(CaseWorker):
    """What it does to its process is said by the name of a case.

    ``segfault``, ``exit``: the process ends. ``hang``: it holds the interpreter's lock, so that no Python of
    it runs. ``stop``: the whole process stands still. ``once-...``: the first time only. ``ahead-...``:
    already when it is read ahead. ``slow``: a second.
    """

    def fetch(self, job: Job) -> None:
        """Begin, or end, by the name."""
        if job.name.startswith("ahead-"):
            _do(job)
        super().fetch(job)

    def run(self, job: Job, attempt: int = 1) -> Record:
        """Run, or end, by the name."""
        _note(job, self._options)
        if not job.name.startswith("once-") or attempt == 1:
            _do(job)
        return super().run(job, attempt)


def troubled_worker(options: WorkerOptions) -> TroubledWorker:
    """Made in a worker's process."""
    return TroubledWorker(options, BoxOpener())


def fails_to_start(options: WorkerOptions) -> CaseWorker:
    """A worker that cannot be made."""
    raise ValueError(f"no such weights: {options.settings.weights}")


def attempts_of(out: Path, name: str) -> list[str]:
    """The workers that began a case, in turn; one line for each."""
    path = out / f"{name}.began"
    return path.read_text().splitlines() if path.exists() else []


def _note(job: Job, options: WorkerOptions) -> None:
    with Path(options.output, f"{job.name}.began").open("a") as file:
        file.write(f"{options.worker}\n")


def _do(job: Job) -> None:
    if "segfault" in job.name:
        ctypes.string_at(0)  # in this thread and at once: a signal that is sent may come after the result
    elif "exit" in job.name:
        os._exit(3)
    elif "hang" in job.name:
        ctypes.PyDLL(None).sleep(LONG_S)
    elif "stop" in job.name:
        os.kill(os.getpid(), signal.SIGSTOP)
    elif "slow" in job.name:
        time.sleep(1)

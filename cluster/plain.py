"""The plain loop: all cases in turn, in this process; what a shard of an array job runs."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from vesal.cluster.job import Job
from vesal.cluster.options import WorkerOptions
from vesal.cluster.record import Record
from vesal.cluster.worker import CaseWorker
from vesal.inference.runner.settings import Settings

if TYPE_CHECKING:
    from vesal.inference.api import Model


def run_plain(
    jobs: Sequence[Job],
    options: WorkerOptions,
    on_record: Callable[[Record], None],
    open_model: Callable[[Settings], Model] | None = None,
) -> None:
    """Run cases in the order given; ``on_record`` is called with each as it ends."""
    worker = CaseWorker(options, open_model)
    try:
        for number, job in enumerate(jobs):
            worker.fetch(job)
            for following in jobs[number + 1 : number + 2]:
                worker.fetch(following)
            on_record(worker.run(job))
    finally:
        worker.close()


def shard_of(jobs: Sequence[Job], number: int, shards: int) -> list[Job]:
    """The cases of one shard of several, 1 to ``shards``: by the name of a case alone, so that all tasks of
    an array job agree, also where scans were added meanwhile.
    """
    return [job for job in jobs if _key(job.name) % shards == number - 1]


def _key(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()[:8])

"""Many workers by Ray: each holds a model and has at most two cases; a worker that is lost costs no case."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from vesal import __version__
from vesal.cluster.job import Job
from vesal.cluster.options import WorkerOptions
from vesal.cluster.places import redacted, write_bytes
from vesal.cluster.ray_actor import Hello, MakeWorker, RayWorker
from vesal.cluster.ray_metrics import Metrics
from vesal.cluster.ray_start import connected, environment
from vesal.cluster.record import Record, record_place
from vesal.cluster.schedule import GivenUp, Limits, Schedule
from vesal.cluster.worker import CaseWorker, failed_record
from vesal.inference.data.errors import RuntimeChoiceError

log = logging.getLogger("vesal.batch")

LOOK_S = 0.5
"""Between two looks at workers that hang."""
FAILED_STARTS = 3
"""In a row, after which a worker is no longer started."""
PLACE_S = 60.0
"""After which it is told that workers have no place yet."""
CLOSE_S = 5.0
"""That workers have at the end for what they remove."""


def run_ray(
    jobs: Sequence[Job],
    options: WorkerOptions,
    workers: int,
    address: str | None,
    on_record: Callable[[Record], None],
    gpus: float = 0.0,
    limits: Limits | None = None,
    make: MakeWorker = CaseWorker,
) -> None:
    """Run cases; ``on_record`` is called with each as it ends, in whatever order.

    Args:
        jobs: the cases; names are unique.
        options: of all workers. ``settings.threads`` None: chosen so that all processors are used.
        workers: how many.
        address: of a cluster that runs; None: Ray is started on this machine alone.
        on_record: called in this thread.
        gpus: of a worker, as Ray counts them; 0.25: four workers share one.
        limits: attempts, and when a case is taken to hang.
        make: what runs the cases in a worker's process; it has to be importable there.

    Raises:
        RuntimeChoiceError: Ray or its workers do not start. What is done is done.
    """
    if not jobs:
        return
    with connected(address, min(workers, len(jobs)), options.settings.threads, gpus) as threads:
        run = _Run(jobs, options, on_record, limits, threads)
        try:
            run.start(_actor_class(threads, gpus), make, min(workers, len(jobs)))
            run.until_ended()
        finally:
            run.close()


@dataclass
class _Slot:
    """The place of a worker: when one is lost, the next takes it."""

    number: int
    actor: Any = None
    answer: Any = None
    """Of what it was asked last: hello, or a case."""
    ready: bool = False
    name: str = ""
    began: float = 0.0
    failed_starts: int = 0
    why: str = ""


class _Run:
    """The driver's loop. All that it knows and that must not be lost is in records."""

    def __init__(
        self,
        jobs: Sequence[Job],
        options: WorkerOptions,
        on_record: Callable[[Record], None],
        limits: Limits | None,
        threads: int,
    ) -> None:
        import ray

        self._ray = ray
        self._options, self._on_record, self._threads = options, on_record, threads
        self._schedule = Schedule(jobs, limits)
        self._metrics = Metrics(jobs)
        self._slots: list[_Slot] = []
        self._told_of_places = False

    def start(self, actor_class: Any, make: MakeWorker, workers: int) -> None:
        """Start the workers; they are used as they become ready."""
        self._new_actor = lambda: actor_class.remote(self._options, self._threads, make)
        self._slots = [_Slot(number) for number in range(workers)]
        for slot in self._slots:
            self._start(slot)

    def until_ended(self) -> None:
        """Until each case is done or given up."""
        while not self._schedule.ended:
            waiting = {slot.answer: slot for slot in self._slots if slot.answer is not None}
            if not waiting:
                raise RuntimeChoiceError(f"no worker starts: {self._slots[0].why}")
            with signals_as_sent():
                ready, _ = self._ray.wait(list(waiting), num_returns=1, timeout=LOOK_S)
            for answer in ready:
                self._take(waiting[answer], answer)
            self._look()

    def close(self) -> None:
        """End the workers."""
        ready = [slot for slot in self._slots if slot.ready and slot.answer is None]
        with suppress(Exception):
            self._ray.wait([s.actor.close.remote() for s in ready], num_returns=len(ready), timeout=CLOSE_S)
        for slot in self._slots:
            self._kill(slot)

    def _start(self, slot: _Slot) -> None:
        slot.ready, slot.began = False, time.monotonic()
        slot.actor = self._new_actor()
        slot.answer = slot.actor.hello.remote()

    def _take(self, slot: _Slot, answer: Any) -> None:
        slot.answer = None
        try:
            with signals_as_sent():
                told = self._ray.get(answer)
        except Exception as error:  # whatever happened to a worker, the others go on
            self._lost(slot, reason_of(error))
            return
        if isinstance(told, Hello):
            self._is_ready(slot, told)
        else:
            self._schedule.done(slot.number, told.seconds)
            self._record(told)
        # What is free, not this one alone: cases of a lost worker may wait for another one.
        for each in self._slots:
            self._give(each)

    def _is_ready(self, slot: _Slot, hello: Hello) -> None:
        if hello.version != __version__:
            raise RuntimeChoiceError(
                f"{hello.name} has vesal {hello.version}, and this is {__version__}; install the same one on "
                "all nodes."
            )
        slot.ready, slot.name, slot.failed_starts = True, hello.name, 0
        self._schedule.join(slot.number)
        self._metrics.workers(sum(each.ready for each in self._slots))

    def _give(self, slot: _Slot) -> None:
        """Give a worker what it is to run, and what it is to read ahead."""
        if not slot.ready:
            return
        start = self._schedule.next_for(slot.number)
        if start is not None:
            if start.taken_from is not None:
                self._slots[start.taken_from].actor.drop.remote(start.job)  # type: ignore[call-overload]
            slot.began = time.monotonic()
            slot.answer = slot.actor.run.remote(start.job, start.attempt)
        ahead = self._schedule.ahead_for(slot.number)
        if ahead is not None:
            slot.actor.fetch.remote(ahead)

    def _look(self) -> None:
        """End the workers whose case takes far too long, and tell of those that have no place."""
        now = time.monotonic()
        for slot in self._slots:
            job = self._schedule.running(slot.number)
            if job is not None and now - slot.began > (limit := self._schedule.limit_s(job)):
                self._lost(slot, f"it took more than {limit:.0f} s")
        without = sum(not slot.ready and now - slot.began > PLACE_S for slot in self._slots)
        if without and not self._told_of_places:
            self._told_of_places = True
            log.warning(
                "%d of %d workers have not started: the cluster may have no place for them",
                without,
                len(self._slots),
            )

    def _lost(self, slot: _Slot, reason: str) -> None:
        """A worker is gone, or is to go; another takes its place."""
        self._kill(slot)
        job = self._schedule.running(slot.number)
        slot.why, slot.answer = reason, None
        if not slot.ready:
            slot.failed_starts += 1
        log.warning(
            "%s was lost%s: %s", slot.name or "a worker", f" with {job.name}" if job else "", redacted(reason)
        )
        slot.ready = False
        self._metrics.lost()
        self._metrics.workers(sum(each.ready for each in self._slots))
        for given_up in self._schedule.lost(slot.number, reason):
            self._record(self._given_up(given_up, slot.name))
        if slot.failed_starts < FAILED_STARTS:
            self._start(slot)
        for each in self._slots:
            self._give(each)

    def _record(self, record: Record) -> None:
        self._metrics.add(record)
        self._on_record(record)

    def _given_up(self, given: GivenUp, worker: str) -> Record:
        """The record of a case that no worker could end; a rerun tries it again."""
        job = given.job
        reason = redacted(
            f"given up after {given.attempts} attempts, each the end of its worker: {given.reason}"
        )
        log.error("case %s failed: %s", job.name, reason)
        record = failed_record(job, worker, given.attempts, reason)
        try:
            write_bytes(record_place(self._options.output, job.name), record.to_json().encode())
        except Exception as error:  # a store that does not answer ends this case's record only
            log.error("case %s: its record cannot be written: %s", job.name, redacted(str(error)))
        return record

    def _kill(self, slot: _Slot) -> None:
        with suppress(Exception):
            self._ray.kill(slot.actor)


@contextmanager
def signals_as_sent() -> Iterator[None]:
    """Raise what a signal's handler raised: in Ray's compiled code it becomes the cause of a SystemError."""
    try:
        yield
    except SystemError as error:
        cause = error.__cause__
        if cause is not None and not isinstance(cause, Exception):
            raise cause from None
        raise


def reason_of(error: Exception) -> str:
    """Why a worker was lost, in words."""
    from ray import exceptions

    text = str(error)
    if isinstance(error, exceptions.OutOfMemoryError) or "OutOfMemory" in text or "memory pressure" in text:
        return "its node was out of memory"
    if isinstance(error, exceptions.RayTaskError):
        return f"{type(error.cause).__name__}: {error.cause}"
    if isinstance(error, exceptions.NodeDiedError) or "its node" in text:
        return "its node was lost"
    if isinstance(error, exceptions.RayActorError):
        return "its process was killed or crashed"
    return f"{type(error).__name__}: {text.splitlines()[0] if text else ''}"


def _actor_class(threads: int, gpus: float) -> Any:
    """Of the workers: `run` in one thread, and what is read ahead beside it in another."""
    import ray

    for method in (RayWorker.fetch, RayWorker.drop):
        ray.method(concurrency_group="ahead")(method)
    remote = ray.remote(
        num_cpus=threads,
        num_gpus=gpus,
        max_restarts=0,
        max_task_retries=0,
        concurrency_groups={"ahead": 1},
        scheduling_strategy="SPREAD",
        runtime_env={"env_vars": environment(threads)},
    )
    return remote(RayWorker)

"""Which case goes to which worker, and what becomes of the cases of a worker that is lost. Knows no cluster.

The case of the highest expected cost goes first, each to the worker that is free next: a long case is not
begun when all others have ended. A worker has at most two cases, the one it runs and the one it reads ahead.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field

from vesal.cluster.job import Job

Worker = Hashable
HANG_S = 1800.0
"""After which a case is taken to hang, where its cost does not let expect that it takes so long."""


@dataclass(frozen=True)
class Limits:
    """When to give up."""

    further_attempts: int = 2
    """After the first one of a case, each on another worker where there is one."""
    hang_s: float = HANG_S
    """How long a case may take, at least."""
    hang_factor: float = 20.0
    """How many times longer than expected by its cost and the cases before a case may take."""


@dataclass(frozen=True)
class Start:
    """A case that a worker is to run now."""

    job: Job
    attempt: int
    taken_from: Worker | None = None
    """The worker that was reading it ahead and is to let it go."""


@dataclass(frozen=True)
class GivenUp:
    """A case whose attempts are used up."""

    job: Job
    attempts: int
    reason: str


@dataclass
class _Held:
    """What a worker has."""

    running: Job | None = None
    ahead: Job | None = None


@dataclass
class _Trouble:
    """Of a case that was under way when a worker was lost."""

    losses: int = 0
    """In which it was the one that was run."""
    lost_on: set[Worker] = field(default_factory=set)


class Schedule:
    """Gives out each case once, again where its worker was lost, and counts attempts."""

    def __init__(self, jobs: Iterable[Job], limits: Limits | None = None) -> None:
        """Nothing is given out yet, and there is no worker."""
        self._limits = limits or Limits()
        # The costliest last, where it is taken cheaply, and of equal ones the first.
        self._waiting = sorted(jobs, key=lambda job: job.cost, reverse=True)[::-1]
        self._again: list[Job] = []
        self._trouble: dict[str, _Trouble] = {}
        self._workers: dict[Worker, _Held] = {}
        self._left = len(self._waiting)
        self._done_cost = self._done_s = 0.0

    @property
    def ended(self) -> bool:
        """Whether every case was done or given up."""
        return self._left == 0

    @property
    def left(self) -> int:
        """Cases that were neither done nor given up."""
        return self._left

    def join(self, worker: Worker) -> None:
        """A worker is there, or there again."""
        self._workers.setdefault(worker, _Held())

    def next_for(self, worker: Worker) -> Start | None:
        """The case that a free worker runs now; None: it has one, or there is none for it now."""
        held = self._workers[worker]
        if held.running is not None:
            return None
        taken_from = None
        job, held.ahead = held.ahead, None
        if job is None:
            job = self._take_again(worker) or self._take_waiting()
        if job is None:
            job, taken_from = self._take_from_another(worker)
        if job is None:
            return None
        held.running = job
        return Start(job, self._losses(job) + 1, taken_from)

    def ahead_for(self, worker: Worker) -> Job | None:
        """A case that a worker reads ahead while it runs another; None where it has one or should have none.

        Nothing is read beside a case that was under way when a worker was lost: should that happen again, it
        is known which case it was.
        """
        held = self._workers[worker]
        if held.running is None or held.ahead is not None or held.running.name in self._trouble:
            return None
        held.ahead = self._take_waiting()
        return held.ahead

    def done(self, worker: Worker, seconds: float | None = None) -> None:
        """The case that a worker ran has ended; ``seconds``: what it took, where that tells of others."""
        held = self._workers[worker]
        assert held.running is not None, f"{worker} runs nothing"
        if seconds is not None:
            self._done_cost += held.running.cost
            self._done_s += seconds
        self._trouble.pop(held.running.name, None)
        held.running = None
        self._left -= 1

    def lost(self, worker: Worker, reason: str) -> list[GivenUp]:
        """A worker is gone: its cases wait again, but for one whose attempts are used up."""
        held = self._workers.pop(worker, _Held())
        given_up = []
        for job in (held.running, held.ahead):
            if job is None:
                continue
            trouble = self._trouble.setdefault(job.name, _Trouble())
            if job is held.running:
                trouble.losses += 1
                trouble.lost_on.add(worker)
            if trouble.losses > self._limits.further_attempts:
                del self._trouble[job.name]
                self._left -= 1
                given_up.append(GivenUp(job, trouble.losses, reason))
            else:
                self._again.append(job)
        return given_up

    def running(self, worker: Worker) -> Job | None:
        """What a worker runs."""
        held = self._workers.get(worker)
        return None if held is None else held.running

    def limit_s(self, job: Job) -> float:
        """Seconds after which a case that runs is taken to hang."""
        if not self._done_cost:
            return self._limits.hang_s
        expected = job.cost * self._done_s / self._done_cost
        return max(self._limits.hang_s, self._limits.hang_factor * expected)

    def _take_waiting(self) -> Job | None:
        return self._waiting.pop() if self._waiting else None

    def _take_again(self, worker: Worker) -> Job | None:
        """The first case of a lost worker that was not lost on this one, where there are others."""
        for number, job in enumerate(self._again):
            lost_on = self._trouble[job.name].lost_on
            if worker not in lost_on or self._workers.keys() <= lost_on:
                return self._again.pop(number)
        return None

    def _take_from_another(self, worker: Worker) -> tuple[Job | None, Worker | None]:
        """At the end: the costliest case that is read ahead elsewhere, behind one that still runs."""
        others = [(who, held) for who, held in self._workers.items() if held.ahead is not None]
        if not others:
            return None, None
        who, held = max(others, key=lambda each: each[1].ahead.cost)  # type: ignore[union-attr]
        job, held.ahead = held.ahead, None
        return job, who

    def _losses(self, job: Job) -> int:
        trouble = self._trouble.get(job.name)
        return 0 if trouble is None else trouble.losses


def threads_of_worker(workers: int, processors: Sequence[int]) -> int:
    """The most threads a worker can have so that all workers fit on nodes with so many processors each.

    At least 1, also where there are more workers than processors.
    """
    most = max(processors, default=1)
    for threads in range(most, 1, -1):
        if sum(count // threads for count in processors) >= workers:
            return threads
    return 1

"""Work on arrays split over threads; numpy and zlib let go of the interpreter's lock while they compute."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from typing import TypeVar

from vesal.inference.runtime.machine import available_threads

T = TypeVar("T")
R = TypeVar("R")

_process_limit: int | None = None
_own_limit: ContextVar[int | None] = ContextVar("vesal_threads", default=None)


def limit_threads(threads: int | None) -> None:
    """Never use more than ``threads`` in this process from now on; None: all that the machine allows."""
    global _process_limit
    _process_limit = threads


@contextmanager
def thread_limit(threads: int | None) -> Iterator[None]:
    """Use at most ``threads`` for what is done inside, by this thread and by those that `in_parallel` starts.

    Other threads keep their own limits. None changes nothing; a limit within another one cannot exceed it.
    """
    before = _own_limit.set(_smaller(threads, _own_limit.get()))
    try:
        yield
    finally:
        _own_limit.reset(before)


def threads_allowed() -> int:
    """How many threads work at once, the caller's counted; at least 1."""
    return available_threads(_smaller(_process_limit, _own_limit.get()))


def in_parallel(work: Callable[[T], R], parts: Sequence[T]) -> list[R]:
    """``[work(part) for part in parts]``, on as many threads as are allowed.

    Which thread takes which part is not fixed, so ``work`` must not depend on it; results keep the order of
    ``parts``. The first error of any part is raised, after all threads have stopped; parts not begun by then
    are not run. ``work`` may call this again.
    """
    helpers = min(threads_allowed(), len(parts)) - 1
    if helpers < 1:
        return [work(part) for part in parts]
    results: list[R | None] = [None] * len(parts)
    waiting = deque(range(len(parts)))
    errors: list[Exception] = []

    def take() -> None:
        try:
            for number in _taken_from(waiting):
                results[number] = work(parts[number])
        except Exception as error:
            errors.append(error)
        finally:
            waiting.clear()

    # The caller takes parts as well, and a task is a thread and not a part: a submission for each part costs
    # five times as much where parts are small. Pools are not shared: nested calls would wait for one another.
    with ThreadPoolExecutor(helpers, "vesal") as pool:
        tasks = [pool.submit(copy_context().run, take) for _ in range(helpers)]
        take()
    for task in tasks:
        task.result()
    if errors:
        raise errors[0]
    return results  # type: ignore[return-value]


def in_slabs(length: int, thickness: int) -> list[slice]:
    """``length`` planes in slabs of at most ``thickness``, and at least 1, planes."""
    step = max(1, thickness)
    return [slice(first, min(first + step, length)) for first in range(0, length, step)]


def _taken_from(waiting: deque[int]) -> Iterator[int]:
    """The numbers that are left, each given to one thread only."""
    while True:
        try:
            number = waiting.popleft()
        except IndexError:
            return
        yield number


def _smaller(one: int | None, other: int | None) -> int | None:
    """The smaller of two limits; None is none."""
    return min((limit for limit in (one, other) if limit is not None), default=None)

"""Work on arrays split over threads; numpy and zlib let go of the interpreter's lock while they compute."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from vesal.inference.runtime.machine import available_threads

T = TypeVar("T")
R = TypeVar("R")

_limit: int | None = None


def limit_threads(threads: int | None) -> None:
    """Never use more than ``threads`` from now on; None goes back to what affinity and container allow."""
    global _limit
    _limit = threads


def threads_allowed() -> int:
    """How many threads work at once, the caller's counted; at least 1."""
    return available_threads(_limit)


def in_parallel(work: Callable[[T], R], parts: Sequence[T]) -> list[R]:
    """``[work(part) for part in parts]``, on as many threads as are allowed.

    Which thread takes which part is left to chance, so ``work`` must not depend on it; results keep the order
    of ``parts``. The first error of any part is raised, after all threads have stopped; the parts that nobody
    has begun by then are left out.
    """
    helpers = min(threads_allowed(), len(parts)) - 1
    if helpers < 1:
        return [work(part) for part in parts]
    results: list[R | None] = [None] * len(parts)
    waiting = _Shared(len(parts))
    errors: list[BaseException] = []

    def take() -> None:
        try:
            for number in waiting:
                results[number] = work(parts[number])
        except BaseException as error:
            errors.append(error)
            waiting.stop()

    threads = [threading.Thread(target=take, daemon=True) for _ in range(helpers)]
    for thread in threads:
        thread.start()
    try:
        take()
    finally:  # SIGTERM raises in this thread, wherever it is
        waiting.stop()
        for thread in threads:
            thread.join()
    if errors:
        raise errors[0]
    return results  # type: ignore[return-value]


def in_slabs(length: int, thickness: int) -> list[slice]:
    """``length`` planes in slabs of at most ``thickness``, and at least 1, planes."""
    step = max(1, thickness)
    return [slice(first, min(first + step, length)) for first in range(0, length, step)]


class _Shared:
    """Numbers from 0 to ``count``, each given out once to whichever thread asks."""

    def __init__(self, count: int) -> None:
        self._numbers = iter(range(count))
        self._lock = threading.Lock()
        self._stopped = False

    def __iter__(self) -> Iterator[int]:
        while True:
            with self._lock:
                number = None if self._stopped else next(self._numbers, None)
            if number is None:
                return
            yield number

    def stop(self) -> None:
        """Give out no more."""
        self._stopped = True


from contextlib import contextmanager  # noqa: E402


@contextmanager
def thread_limit(threads):  # stub until merged
    yield


@contextmanager
def one_blas_thread():
    yield

"""BLAS on one thread: arrays are split over our own threads, and each of them calls it."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

_SET_BY_IMPORT = "KMP_DUPLICATE_LIB_OK"
"""Variable that threadpoolctl leaves in the environment of whoever imports it."""


class _OneThread:
    """Counts users of the limit: the first one sets it, the last one restores the old number."""

    def __init__(self) -> None:
        """No user yet."""
        self._lock = threading.Lock()
        self._controller: Any = None
        self._limiter: Any = None
        self._users = 0

    def enter(self) -> None:
        """Add a user."""
        with self._lock:
            if not self._users:
                libraries = self._libraries()
                self._limiter = _in_a_thread(lambda: libraries.limit(limits=1, user_api="blas"))
            self._users += 1

    def leave(self) -> None:
        """Remove a user."""
        with self._lock:
            self._users -= 1
            if not self._users:
                _in_a_thread(self._limiter.restore_original_limits)

    def _libraries(self) -> Any:
        """The controller of the BLAS libraries loaded by now, numpy's among them."""
        if self._controller is None:
            before = os.environ.get(_SET_BY_IMPORT)
            from threadpoolctl import ThreadpoolController  # 5 ms, which a mere import of ours need not take

            if before is None:
                os.environ.pop(_SET_BY_IMPORT, None)
            self._controller = ThreadpoolController()
        return self._controller


def _in_a_thread(work: Callable[[], Any]) -> Any:
    """Run in a thread that ends at once.

    From 3.8 on threadpoolctl silently lets no other thread change OpenBLAS's number while the thread that set
    it lives. Here the last user may be another thread than the first.
    """
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(work).result()


_one_thread = _OneThread()


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Keep numpy's BLAS to one thread inside; it holds for the whole process until the last user has left.

    Two of our threads that multiplied (96,512) by (512,96) float32 took ten times as long on two processors
    where each of them called a BLAS of two threads. A limit that the program itself set with threadpoolctl
    stays.
    """
    _one_thread.enter()
    try:
        yield
    finally:
        _one_thread.leave()

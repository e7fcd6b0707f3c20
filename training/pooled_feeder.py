"""Views for a GPU: several threads prepare them, in the order in which they are asked for.

One thread, which is enough beside a network on the same core, would leave a GPU idle. The n-th view of a
stage has a seed of its own (``feeder.Feeder``), so it is the same however many threads there are.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any

from vesal.inference.runtime.threads import thread_limit
from vesal.training.feeder import Feeder, Probability
from vesal.training.views import Item


class PooledFeeder(Feeder):
    """As ``Feeder``, with threads that work side by side. Volumes must lie in memory: Blosc2 arrays are
    read by one thread at a time.
    """

    def __init__(self, loaders: int, *args: Any, **settings: Any) -> None:
        """``loaders``: threads; the rest as for ``Feeder``."""
        self._loaders = loaders
        super().__init__(*args, **settings)

    def _start(self) -> None:
        self._pool = ThreadPoolExecutor(self._loaders, "views")
        self._drawn: deque[Future[Item]] = deque()
        self._followed: deque[Future[Item]] = deque()
        self._fill()

    def coarse(self) -> Item:
        """The next view of a whole volume."""
        item = _result(self._drawn)
        self._fill()
        return item

    def give_back(self, item: Item, probability: Probability) -> None:
        """See ``Feeder.give_back``."""
        drawn = self._draws("fine")
        self._followed.append(self._submit(partial(self._fine_item, item, probability, drawn)))

    def fine(self) -> Item:
        """The next fine view, in the order of ``give_back``."""
        return _result(self._followed)

    def close(self) -> None:
        """End the threads; what they have not begun is not begun."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _fill(self) -> None:
        """Have twice as many coarse views drawn as there are threads: each has one to do and one to come."""
        while len(self._drawn) < 2 * self._loaders:
            self._drawn.append(self._submit(partial(self._coarse_item, self._draws("coarse"))))

    def _submit(self, make: Callable[[], Item]) -> Future[Item]:
        def made() -> Item:
            with thread_limit(1):  # the pool's threads are those of the machine
                return make()

        return self._pool.submit(made)


def _result(waiting: deque[Future[Item]]) -> Item:
    """The view that was asked for first, once it is there."""
    try:
        return waiting.popleft().result()
    except Exception as failure:
        raise RuntimeError("a thread that prepares views failed") from failure

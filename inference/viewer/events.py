"""What the page is told while it is open, and whether it still is."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

Event = dict[str, Any]
RELOAD_S = 4.0
"""How long after the last page was left another may come: a page that is loaded again leaves first."""


class Events:
    """Hands every event to all pages that listen; says so when the last of them has left."""

    def __init__(self, on_left: Callable[[], None], reload_s: float = RELOAD_S) -> None:
        """``on_left`` is called in a thread of its own, ``reload_s`` after the last page was left."""
        self._on_left, self._reload_s = on_left, reload_s
        self._lock = threading.Lock()
        self._queues: list[SimpleQueue[Event]] = []
        self._timer: threading.Timer | None = None

    def publish(self, event: Event) -> None:
        """Hand an event to all pages."""
        with self._lock:
            for queue in self._queues:
                queue.put(event)

    def join(self) -> SimpleQueue[Event]:
        """A page came: the queue of its events."""
        queue: SimpleQueue[Event] = SimpleQueue()
        with self._lock:
            self._queues.append(queue)
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
        return queue

    def leave(self, queue: SimpleQueue[Event]) -> None:
        """A page was left."""
        with self._lock:
            self._queues.remove(queue)
            if not self._queues:
                self._timer = threading.Timer(self._reload_s, self._end)
                self._timer.daemon = True
                self._timer.start()

    def _end(self) -> None:
        with self._lock:
            if self._queues:
                return
        self._on_left()

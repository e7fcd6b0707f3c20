"""SIGTERM while cases run, and while what they gave is told."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Terminated(BaseException):
    """SIGTERM came. Not an Exception, so that no handler takes it for an error of a case."""


@contextmanager
def terminable() -> Iterator[None]:
    """Turn the first SIGTERM into `Terminated` and ignore later ones, so that cleanup is not cut short.

    Afterwards signals are handled, or blocked, as before.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def terminate(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise Terminated

    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def block_signals() -> None:
    """Block signals while the report is written: all outputs are complete.

    Blocking SIGTERM in this thread is not enough: the system delivers it to any thread that does not block
    it, such as those of a network's library, and Python then calls the handler here all the same.
    """
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})

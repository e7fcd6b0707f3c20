"""Work in a thread of its own, so that the main thread can abandon it.

A window that stalls inside a network's library cannot be interrupted, and the thread that runs it hears no
signal. So a case is run by a thread of its own, while the main thread waits: it handles every signal at once,
and at the case's deadline it continues with what is on disk. An abandoned case may run on until the process
ends, but can write nothing any more (see ``output.case_output``).
"""

from __future__ import annotations

import ctypes
import threading
import time
from collections.abc import Callable

from vesal.inference.data.errors import CaseAbandoned

LISTEN_S = 0.1
"""Longest delay of a signal that the system delivers to another thread than the main one."""


def run_until(
    work: Callable[[], None], deadline: Callable[[], float], now: Callable[[], float] = time.monotonic
) -> bool:
    """Run ``work`` in a thread and wait for it.

    Args:
        work: raises what it likes; where it raises ``CaseAbandoned`` it has ended.
        deadline: moment of ``now`` up to which to wait; called repeatedly, as it may move.
        now: the clock.

    Returns:
        True where the work has ended, False where it was abandoned: then its thread gets a ``CaseAbandoned``
        as soon as it runs Python, so that it does not go on computing beside the next case.

    Raises:
        what ``work`` raised, or what a signal handler raises while waiting; then the work is abandoned too.
    """
    ended = threading.Event()
    errors: list[BaseException] = []

    def carry_out() -> None:
        try:
            work()
        except CaseAbandoned:
            pass
        except BaseException as error:
            errors.append(error)
        finally:
            ended.set()

    thread = threading.Thread(target=carry_out, name="case", daemon=True)
    thread.start()
    while not ended.wait(max(0.0, min(LISTEN_S, deadline() - now()))):
        if now() >= deadline() and not ended.is_set():
            _interrupt(thread)
            return False
    if errors:
        raise errors[0]
    return True


def _interrupt(thread: threading.Thread) -> None:
    """Raise ``CaseAbandoned`` in a thread before its next bytecode; what runs in a library is not reached."""
    if thread.ident is not None:
        ctypes.pythonapi.PyThreadState_SetAsyncExc(
            ctypes.c_ulong(thread.ident), ctypes.py_object(CaseAbandoned)
        )

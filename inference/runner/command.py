"""The command: `vesal [INPUTS OUTPUTS] [options]`, also `python -m vesal`; predict.sh runs it."""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Sequence

from vesal.inference.data.errors import ProfileError, PromptError, RuntimeChoiceError, UsageError
from vesal.inference.output import logs
from vesal.inference.runner.arguments import read_settings
from vesal.inference.runtime.threads import limit_threads, threads_allowed
from vesal.inference.timing.clock import process_start_monotonic

WRONG_USAGE, TERMINATED = 2, 143
POLL_S, DEAF_S = 0.1, 3.0
"""How often is looked for a SIGTERM before the cases are known, and how long it may then wait for that."""


def main(arguments: Sequence[str]) -> int:
    """Run the command line and return the exit code.

    0 all good, 1 some case fell back, 2 wrong usage, weights or runtime, with nothing written, 130 stopped
    from the keyboard, 143 by SIGTERM.
    """
    open_standard_streams()
    if arguments[:1] == ["view"]:
        from vesal.inference.viewer.command import view

        return view(arguments[1:])
    logs.set_up()
    # Blocked until `run` knows the cases, and so can write outputs for them.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    if os.environ.pop("VESAL_TERMINATED", ""):  # it came while predict.sh began
        os.kill(os.getpid(), signal.SIGTERM)
    listening = threading.Event()
    threading.Thread(target=_leave_where_nobody_listens, args=(listening,), daemon=True).start()
    try:
        settings = read_settings(arguments)
        logs.set_up(settings.verbosity)
        limit_threads(settings.threads)
        limit_libraries(threads_allowed())
        # Imported late: it loads numpy, which reads its limits of threads only then.
        from vesal.inference.runner.run import run

        return run(settings, started=process_start_monotonic(), listening=listening.set)
    except (UsageError, ProfileError, RuntimeChoiceError, PromptError) as error:
        logs.log.error("%s", error)
        return WRONG_USAGE
    finally:
        listening.set()


def _leave_where_nobody_listens(listening: threading.Event) -> None:
    """End the process at a SIGTERM that nobody hears for `DEAF_S`: settings or weights lie on a disk that
    hangs.
    """
    while not listening.wait(POLL_S):
        if signal.SIGTERM in signal.sigpending() and not listening.wait(DEAF_S):
            os._exit(TERMINATED)


def open_standard_streams() -> None:
    """Give the null device the place of standard streams that are closed.

    Else the next file that is opened, a label map or a volume, gets the number of one of them, and libraries
    write their messages into it.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free: this one
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "r" if name == "stdin" else "w"))  # noqa: SIM115


def limit_libraries(threads: int) -> None:
    """Limit every library to the threads of this process; by default they count the host's processors.

    OpenBLAS gets one: arrays are split over our own threads, and each of them calls it.
    """
    for library in ("OMP", "MKL", "RAYON"):
        os.environ[f"{library}_NUM_THREADS"] = str(threads)
    os.environ["OPENBLAS_NUM_THREADS"] = "1"


def leave(code: int) -> None:
    """End the process at once: an abandoned case may still hang in a network's library."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()
    os._exit(code)


def run_and_leave() -> None:
    """Run the command line of this process and end it with the exit code."""
    leave(main(sys.argv[1:]))

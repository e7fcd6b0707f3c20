"""The command: `vesal [INPUTS OUTPUTS] [options]`, also `python -m vesal`; predict.sh runs it."""

import contextlib
import os
import signal
import sys
from collections.abc import Sequence

from vesal.inference.data.errors import ProfileError, UsageError
from vesal.inference.output import logs
from vesal.inference.runner.arguments import read_settings
from vesal.inference.runtime.threads import limit_threads, threads_allowed
from vesal.inference.timing.clock import process_start_monotonic

WRONG_USAGE = 2


def main(arguments: Sequence[str]) -> int:
    """Run the command line and return the exit code.

    0 all good, 1 some case fell back, 2 wrong usage or wrong weights, 130 stopped from the keyboard, 143 by
    SIGTERM.
    """
    logs.set_up()
    # Blocked until `run` knows the cases, and so can write outputs for them.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        settings = read_settings(arguments)
        logs.set_up(settings.verbosity)
        limit_threads(settings.threads)
        _limit_libraries(threads_allowed())
        # Imported late: it loads numpy, which reads its limits of threads only then.
        from vesal.inference.runner.run import run

        return run(settings, started=process_start_monotonic())
    except (UsageError, ProfileError) as error:
        logs.log.error("%s", error)
        return WRONG_USAGE


def _limit_libraries(threads: int) -> None:
    """Limit every library to the threads of this process; by default they count the host's processors.

    OpenBLAS gets one: arrays are split over our own threads, and each of them calls it.
    """
    for library in ("OMP", "MKL", "RAYON"):
        os.environ[f"{library}_NUM_THREADS"] = str(threads)
    os.environ["OPENBLAS_NUM_THREADS"] = "1"


def _leave(code: int) -> None:
    """End the process at once: an abandoned case may still hang in a network's library."""
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def run_and_leave() -> None:
    """Run the command line of this process and end it with the exit code."""
    _leave(main(sys.argv[1:]))

"""How things are timed: side by side, the best of several goes, whole commands in processes of their own."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ALL_GOOD, FELL_BACK = 0, 1
"""Exit codes of the command; the second one also where the time did not do, and the report says so."""

ROOT = Path(__file__).resolve().parent.parent


_clock: Callable[[], float] = time.perf_counter


def count_processor_time() -> None:
    """From now on count seconds of processors instead of the clock's, on a machine that others use as well.

    What waits costs nothing then, and two threads count twice; ratios keep their meaning.
    """
    global _clock
    _clock = _processor_seconds


def _processor_seconds() -> float:
    own, children = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def now() -> float:
    """Seconds of the clock that is counted by."""
    return _clock()


def side_by_side(calls: Sequence[Callable[[], Any]], times: int) -> list[float]:
    """Milliseconds of each call, the best of ``times`` goes; they take turns and see the same machine."""
    best = [float("inf")] * len(calls)
    for _ in range(times):
        for number, call in enumerate(calls):
            started = now()
            call()
            best[number] = min(best[number], 1e3 * (now() - started))
    return best


@dataclass(frozen=True)
class Command:
    """A finished run of ``sh predict.sh``."""

    seconds: float
    report: dict[str, Any]

    @property
    def case(self) -> dict[str, Any]:
        """The report of its only case."""
        return self.report["cases"][0]


def predict(case: Path, folder: Path, *options: str) -> Command:
    """One case in a container's way: wall seconds of the whole command, and its report."""
    report = folder / "report.json"
    command = ["sh", str(ROOT / "predict.sh"), str(case), str(folder), "--quiet", "--report", str(report)]
    started = now()
    ended = subprocess.run(
        [*command, *options],
        check=False,
        env=os.environ | {"PYTHON": sys.executable},
        stderr=subprocess.DEVNULL,
    )
    if ended.returncode not in (ALL_GOOD, FELL_BACK):
        raise RuntimeError(f"{' '.join([*command, *options])} ended with {ended.returncode}")
    return Command(now() - started, json.loads(report.read_text(encoding="utf-8")))


def best_command(case: Path, folder: Path, times: int, *options: str) -> Command:
    """The quickest of several runs."""
    return min((predict(case, folder, *options) for _ in range(times)), key=lambda done: done.seconds)


def as_in_a_container(threads: int) -> None:
    """Limits of threads as the command sets them; to be called before numpy is imported."""
    from vesal.inference.runtime.threads import limit_threads

    limit_threads(threads)
    for library in ("OMP", "MKL", "RAYON"):
        os.environ[f"{library}_NUM_THREADS"] = str(threads)
    os.environ["OPENBLAS_NUM_THREADS"] = "1"

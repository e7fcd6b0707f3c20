"""The clock of a case, counted from where the organizers start counting."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

SECONDS_PER_PROMPT = 60.0
"""Limit of the challenge for one class; a case over its limit scores zero (docs/design.md, The contract)."""

SECONDS_PER_CLASS = 90.0
"""The same of the challenge's interactive track."""

OUTSIDE_S = 3.0
"""Taken off that limit: the organizers time the whole command, and our clock sees neither the container being
made before this process nor what comes after the last line (ending the process took up to 1.2 s on a busy
machine)."""

LEAST_BUDGET_S = 6.0
"""The smallest budget that is kept, whatever runs beside: with four busy loops on two cores the start of the
program
took 4.2 to 5.3 s."""

LEAVE_S = 0.25
"""Reserved at the end of a case, after its last file, for the report."""
LEAVE_SHARE = 0.02
"""... but at most this share of the budget."""

_LONGEST_START_S = 120.0
"""A process older than this was something else before (`exec` in an open shell): its age says nothing."""


@dataclass(frozen=True)
class Clock:
    """Time of one case: `budget_s` seconds from the moment `started` of the clock `now`.

    `write_s` is what writing the first file, zeros, took: the estimate for a result until one was written.
    """

    budget_s: float
    started: float
    now: Callable[[], float] = time.monotonic
    write_s: float = 0.0

    def spent_s(self) -> float:
        """Seconds since the start."""
        return self.now() - self.started

    def left_s(self) -> float:
        """Seconds that remain; negative once the time is up."""
        return self.budget_s - self.spent_s()

    def deadline(self) -> float:
        """Moment of `now` at which the case is ended with what is on disk, whatever still runs."""
        return self.started + self.budget_s - min(LEAVE_S, LEAVE_SHARE * self.budget_s)

    def usable_s(self) -> float:
        """Seconds until `deadline`; negative once it has passed."""
        return self.deadline() - self.now()


def case_budget_s(prompts: int, seconds: float | None = None, interactive: bool = False) -> float:
    """Seconds a case may take: `seconds` where set, else 60 a prompt (one at least) less `OUTSIDE_S`; 90 for
    each class of an `interactive` one.
    """
    each = SECONDS_PER_CLASS if interactive else SECONDS_PER_PROMPT
    return float(seconds) if seconds is not None else each * max(1, prompts) - OUTSIDE_S


def process_start_monotonic(stat: Path = Path("/proc/self/stat")) -> float:
    """Moment on `time.monotonic` at which the kernel started this process, so that imports are counted.

    `predict.sh` replaces itself by Python and keeps its process, so the container starts here. Where the
    kernel does not say, or says something that cannot be the start of this command, it is the present moment.
    """
    began = _began_boottime(stat)
    if began is None:
        return time.monotonic()
    # Side by side: whatever comes between them would be counted as the process's age.
    now, boottime = time.monotonic(), time.clock_gettime(time.CLOCK_BOOTTIME)
    age = boottime - began
    return now - age if 0.0 <= age <= _LONGEST_START_S else now


def _began_boottime(stat: Path) -> float | None:
    """Moment of the boot clock at which the process of a `/proc/PID/stat` began (proc(5), field 22).

    None where that cannot be read, or there is no such clock.
    """
    try:
        time.clock_gettime(time.CLOCK_BOOTTIME)
        # The second field is the command in brackets and may hold blanks, so counting starts behind the last
        # bracket.
        return int(stat.read_text().rpartition(")")[2].split()[19]) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError, AttributeError):
        return None

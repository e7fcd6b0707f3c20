"""The clock: counted from the right moment, and known to the second with a clock that a hand moves."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from vesal.inference.timing import clock
from vesal.inference.timing.clock import LEAVE_S, LEAVE_SHARE, Clock, case_budget_s, process_start_monotonic


def test_clock_counts_down_from_its_start() -> None:
    """A budget of 60 s begun at 100 has 13 s left at 147, and nothing at 160."""
    moment = 147.0
    minute = Clock(60.0, started=100.0, now=lambda: moment)
    assert (minute.spent_s(), minute.left_s()) == (47.0, 13.0)
    moment = 160.0
    assert minute.left_s() == 0.0
    moment = 161.5
    assert minute.left_s() == -1.5


def test_the_last_call_leaves_time_to_go_on_but_not_much_of_a_short_budget() -> None:
    """A quarter of a second of a minute, 2 % of two seconds."""
    assert Clock(60.0, 100.0, lambda: 110.0).deadline() == 160.0 - LEAVE_S
    assert Clock(2.0, 0.0, lambda: 0.5).usable_s() == pytest.approx(2.0 - 0.5 - 2.0 * LEAVE_SHARE)


def test_budget_is_60_s_a_prompt_less_what_the_container_takes_unless_set() -> None:
    """Fifteen prompts have 15 minutes less 3 s; a case without prompts has one prompt's to say so."""
    assert case_budget_s(15) == 897.0
    assert case_budget_s(0) == 57.0
    assert case_budget_s(15, seconds=7.5) == 7.5


def test_process_start_counts_what_came_before_the_import() -> None:
    """A child that was seen to run before it asks finds that it began earlier, and after it was asked for.

    Of many answers the latest counts: an answer is too early by what the machine did between its two clocks.
    """
    code = (
        "print('here', flush=True); input();"
        "from vesal.inference.timing.clock import process_start_monotonic as start;"
        "print(max(start() for _ in range(1000)))"
    )
    root = Path(__file__).resolve().parents[3]
    asked = time.monotonic()
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=root, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout.readline() == "here\n"
        seen = time.monotonic()
        started = float(child.communicate("\n")[0])
    tick = 0.02
    assert asked - tick <= started <= seen


class HandMovedTime:
    """Stands in for `time`: 1000 s after boot, of which the monotonic clock knows 500."""

    CLOCK_BOOTTIME = time.CLOCK_BOOTTIME

    @staticmethod
    def monotonic() -> float:
        """Suspended time is not counted."""
        return 500.0

    @staticmethod
    def clock_gettime(which: int) -> float:
        """Since boot."""
        assert which == time.CLOCK_BOOTTIME
        return 1000.0


@pytest.mark.parametrize(
    ("began_s", "start"),
    [(990.25, 490.25), (880.0, 380.0), (1000.0, 500.0), (879.0, 500.0), (0.0, 500.0), (1001.0, 500.0)],
)
def test_process_start_is_so_long_ago_as_the_process_is_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, began_s: float, start: float
) -> None:
    """To the tick; one that is older than two minutes, or not yet born, begins at the present moment."""
    monkeypatch.setattr(clock, "time", HandMovedTime)
    ticks = round(began_s * os.sysconf("SC_CLK_TCK"))
    stat = tmp_path / "stat"
    stat.write_text(f"1 (odd ) name) S {'0 ' * 18}{ticks} 0")
    assert process_start_monotonic(stat) == start


def test_process_start_survives_a_strange_proc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Absent or garbled: then the present moment counts."""
    monkeypatch.setattr(clock, "time", HandMovedTime)
    garbled = tmp_path / "garbled"
    garbled.write_text("nothing here")
    for stat in (tmp_path / "absent", garbled):
        assert process_start_monotonic(stat) == 500.0

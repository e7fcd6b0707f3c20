"""The clock: counted from the right moment, and known to the second with a clock that a hand moves."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from vesal.inference.timing.clock import LEAVE_S, LEAVE_SHARE, Clock, case_budget_s, process_start_monotonic


def test_clock_counts_down_from_its_start() -> None:
    """A budget of 60 s begun at 100 has 13 s left at 147, and nothing at 160."""
    moment = 147.0
    clock = Clock(60.0, started=100.0, now=lambda: moment)
    assert (clock.spent_s(), clock.left_s()) == (47.0, 13.0)
    moment = 160.0
    assert clock.left_s() == 0.0
    moment = 161.5
    assert clock.left_s() == -1.5


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
    """A child that sleeps before it asks finds its start that long ago, and after its parent's request."""
    code = (
        "import time; time.sleep(0.3);"
        "from vesal.inference.timing.clock import process_start_monotonic as f; print(f())"
    )
    asked = time.monotonic()
    root = Path(__file__).resolve().parents[3]
    start = float(
        subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, check=True).stdout
    )
    tick = 0.02
    assert asked - tick <= start <= time.monotonic() - 0.3


def test_process_start_survives_a_strange_proc(tmp_path: Path) -> None:
    """Absent, garbled or absurdly old: then the present moment counts."""
    garbled, old, future = tmp_path / "garbled", tmp_path / "old", tmp_path / "future"
    garbled.write_text("nothing here")
    old.write_text("1 (odd ) name) S " + "0 " * 18 + "0 0")
    future.write_text("1 (python) S " + "0 " * 18 + "9" * 15)
    for stat in (tmp_path / "absent", garbled, old, future):
        before = time.monotonic()
        assert before <= process_start_monotonic(stat) <= time.monotonic()

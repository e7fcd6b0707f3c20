"""Cases that do not end by themselves: at their last call, or at SIGTERM, what is on disk is their result."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.inference.fakes import CUBE, SHAPE, read_output, write_case
from tests.inference.runner.hanging import HANG_S, Hang
from vesal.inference.data.errors import CaseAbandoned
from vesal.inference.output.case_output import CaseOutput
from vesal.inference.runner.deadline import run_until
from vesal.inference.runner.run import run
from vesal.inference.runner.settings import Settings

ROOT = Path(__file__).resolve().parents[3]
FOUND = np.zeros(SHAPE, np.uint8)
FOUND[CUBE] = 1
PLACES = ["read 1", "open 1", "window 1", "half written 2", "window 2", "half written 3"]
"""Where the first case hangs. Its second file is the coarse result, its third the final one."""
COARSE = ("window 2", "half written 3")
"""Places of the first case behind which its coarse result is on disk."""


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Two cases, a and b, and a folder for their outputs that is not there yet."""
    (tmp_path / "in").mkdir()
    for name in "ab":
        write_case(tmp_path / "in" / f"{name}.npz")
    return tmp_path / "in", tmp_path / "out"


def case_reports(outputs: Path) -> list[dict[str, Any]]:
    """The cases of the report."""
    return json.loads((outputs.parent / "report.json").read_text())["cases"]


def start(place: str, *arguments: object, late: bool = False) -> subprocess.Popen[str]:
    """Start the command in a process of its own and wait until it hangs; ``late``: its time is over then."""
    how = [place, "late" if late else ""]
    command = [sys.executable, "-m", "tests.inference.runner.hanging", *how, *map(str, arguments)]
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "here\n", process.communicate()[1]
    return process


@pytest.mark.parametrize("place", ["half written 1", *PLACES])
def test_sigterm_at_any_moment_leaves_valid_outputs(folders: tuple[Path, Path], place: str) -> None:
    """The process ends while the network still hangs; the case that was not reached has its zeros."""
    inputs, outputs = folders
    process = start(place, inputs, outputs)
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 143, process.communicate()[1]
    np.testing.assert_array_equal(read_output(outputs / "a.npz"), FOUND if place in COARSE else 0 * FOUND)
    np.testing.assert_array_equal(read_output(outputs / "b.npz"), 0 * FOUND)
    assert [case["state"] for case in case_reports(outputs)] == ["fell back", "not run"]
    process.communicate()


def test_sigterm_while_the_report_is_written_changes_nothing(folders: tuple[Path, Path]) -> None:
    """All results are on disk by then: the run ends as it would have, here killed in its long sleep."""
    inputs, outputs = folders
    process = start("report 1", inputs, outputs)
    process.send_signal(signal.SIGTERM)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.5)
    process.kill()
    process.communicate()
    for name in "ab":
        np.testing.assert_array_equal(read_output(outputs / f"{name}.npz"), FOUND)


def test_sigterm_before_python_has_begun_is_not_the_end(tmp_path: Path) -> None:
    """The script would die of it without an output; it ignores the signal until Python listens."""
    (tmp_path / "in").mkdir()
    write_case(tmp_path / "in" / "a.npz")
    early = tmp_path / "early"
    early.write_text(f'#!/bin/sh\nkill -TERM $$\nexec "{sys.executable}" "$@"\n')
    early.chmod(0o755)
    command = [shutil.which("dash") or "sh", str(ROOT / "predict.sh"), "in", "out", "--weights", "no/where"]
    environment = {"PATH": os.environ["PATH"], "PYTHON": str(early)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, check=False)
    assert done.returncode == 1, done.stderr
    np.testing.assert_array_equal(read_output(tmp_path / "out" / "a.npz"), np.zeros(SHAPE))


def test_a_hanging_network_does_not_keep_the_process(folders: tuple[Path, Path]) -> None:
    """In a process of its own, with the exit that the container has: it ends before the network does."""
    inputs, outputs = folders
    process = start("window 2", inputs, outputs, late=True)
    assert process.wait(HANG_S - 5.0) == 1, process.communicate()[1]
    assert "case a was left behind: time was up in the step 'segment'" in process.communicate()[1]
    for name in "ab":
        np.testing.assert_array_equal(read_output(outputs / f"{name}.npz"), FOUND)


@pytest.mark.parametrize("place", PLACES)
def test_the_last_call_ends_a_case_and_not_the_next(
    folders: tuple[Path, Path], place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A case that hangs keeps its best result on disk, and the next one is run by an engine of its own."""
    inputs, outputs = folders
    hang = Hang(place)
    hang.put_in(monkeypatch.setattr)
    hang.end_the_time(monkeypatch.setattr)
    assert run(Settings(inputs, outputs)) == 1
    hang.released.set()
    first, second = case_reports(outputs)
    assert (first["state"], second["state"]) == ("fell back", "ok")
    written = "a coarse result" if place in COARSE else "zeros"
    assert first["error"].startswith("time was up in the step ") and written in first["error"]
    assert first["written"] == written
    np.testing.assert_array_equal(read_output(outputs / "a.npz"), FOUND if place in COARSE else 0 * FOUND)
    np.testing.assert_array_equal(read_output(outputs / "b.npz"), FOUND)
    ran = [stage["name"] for stage in first["stages"]]
    assert ("coarse" in ran) == (place in (*COARSE, "half written 2"))


def test_what_was_left_behind_writes_nothing_later(
    folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The network comes back after its case was given up: its result is not wanted any more."""
    inputs, outputs = folders
    hang = Hang("window 2")
    hang.put_in(monkeypatch.setattr)
    hang.end_the_time(monkeypatch.setattr)
    run(Settings(inputs, outputs))
    before = (outputs / "a.npz").stat()
    hang.released.set()
    for thread in threading.enumerate():
        if thread.name == "case":
            thread.join(10)
            assert not thread.is_alive()
    assert (outputs / "a.npz").stat() == before
    assert case_reports(outputs)[0]["written"] == "a coarse result"


def test_a_closed_output_takes_no_more(tmp_path: Path) -> None:
    output = CaseOutput(tmp_path / "a.npz")
    output.write_zeros(SHAPE)
    output.close(0.0)
    for write in (output.write_coarse, output.write_labels):
        with pytest.raises(CaseAbandoned):
            write(FOUND)
    with pytest.raises(CaseAbandoned):
        output.write_zeros(SHAPE)
    assert output.written == "zeros"
    np.testing.assert_array_equal(read_output(tmp_path / "a.npz"), 0 * FOUND)


def test_closing_waits_for_a_file_that_is_being_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The result that is nearly there counts."""
    begun = threading.Event()

    def slow(path: Path, labels: np.ndarray, header: object) -> None:
        begun.set()
        time.sleep(0.2)
        path.write_bytes(b"written")

    monkeypatch.setattr("vesal.inference.output.case_output.write_label_map", slow)
    output = CaseOutput(tmp_path / "a.npz")
    writer = threading.Thread(target=output.write_labels, args=(FOUND,))
    writer.start()
    begun.wait(10)
    output.close(10.0)
    assert output.written == "the labels" and (tmp_path / "a.npz").read_bytes() == b"written"
    writer.join()


def test_run_until_tells_whether_the_work_has_ended() -> None:
    stop = threading.Event()
    assert run_until(lambda: None, lambda: time.monotonic() + 10)
    assert not run_until(lambda: stop.wait(10), lambda: 0.0)
    stop.set()


def test_run_until_hands_errors_on_and_ends_quietly_when_overtaken() -> None:
    def stopped() -> None:
        raise KeyboardInterrupt

    def overtaken() -> None:
        raise CaseAbandoned

    with pytest.raises(KeyboardInterrupt):
        run_until(stopped, lambda: time.monotonic() + 10)
    assert run_until(overtaken, lambda: time.monotonic() + 10)


def test_the_last_call_may_be_moved_while_it_is_waited_for() -> None:
    """The prompts of a case are known only when it was read: its budget grows then."""
    started, asked = time.monotonic(), []

    def deadline() -> float:
        asked.append(1)
        return started + (0.0 if len(asked) < 2 else 60.0)

    def work() -> None:
        time.sleep(0.3)

    assert run_until(work, deadline)

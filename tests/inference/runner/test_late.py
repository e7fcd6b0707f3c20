"""Cases that do not end by themselves: at their deadline, or at SIGTERM, what is on disk is their result."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.inference.fakes import CUBE, SAFETY_S, SHAPE, read_output, write_case
from tests.inference.runner.hanging import ROOT, Hang, hanging_command
from vesal.inference.data.errors import CaseAbandoned
from vesal.inference.output.case_output import CaseOutput
from vesal.inference.runner.deadline import run_until
from vesal.inference.runner.run import run
from vesal.inference.runner.settings import Settings

FOUND = np.zeros(SHAPE, np.uint8)
FOUND[CUBE] = 1
PLACES = ["read 1", "open 1", "window 1", "half written 3", "window 2", "half written 4"]
"""Where the first case hangs. The first two files are zeros, the third is its coarse result, then the final
one.
"""
COARSE = ("window 2", "half written 4")
"""Places of the first case behind which its coarse result is on disk."""


def case_reports(outputs: Path) -> list[dict[str, Any]]:
    """The cases of the report."""
    return json.loads((outputs.parent / "report.json").read_text())["cases"]


def end_case_threads() -> None:
    """Wait for the abandoned case."""
    for thread in threading.enumerate():
        if thread.name == "case":
            thread.join(SAFETY_S)
            assert not thread.is_alive()


@pytest.fixture
def make_hang(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Hang]]:
    """Makes what hangs at a place with the time over; it is released at the end, before its modules are."""
    hangs: list[Hang] = []

    def make(place: str) -> Hang:
        hangs.append(Hang(place, late=True))
        hangs[-1].put_in(monkeypatch.setattr)
        return hangs[-1]

    yield make
    for hang in hangs:
        hang.released.set()
    end_case_threads()


@pytest.mark.parametrize("place", ["half written 1", *PLACES])
def test_sigterm_at_any_moment_leaves_valid_outputs(folders: tuple[Path, Path], place: str) -> None:
    """The process ends while the network still hangs; the case that was not reached has its zeros."""
    inputs, outputs = folders
    with hanging_command(place, inputs, outputs) as process:
        process.send_signal(signal.SIGTERM)
        assert process.wait() == 143, process.communicate()[1]
    np.testing.assert_array_equal(read_output(outputs / "a.npz"), FOUND if place in COARSE else 0 * FOUND)
    np.testing.assert_array_equal(read_output(outputs / "b.npz"), 0 * FOUND)
    begun = place != "half written 1"  # the zeros of all cases come first
    assert [case["state"] for case in case_reports(outputs)] == [
        "fell back" if begun else "not run",
        "not run",
    ]


def test_sigterm_while_the_report_is_written_changes_nothing(folders: tuple[Path, Path]) -> None:
    """All results are on disk by then: the run ends as it would have, and says so."""
    inputs, outputs = folders
    with hanging_command("report 1", inputs, outputs) as process:
        process.send_signal(signal.SIGTERM)
        process.stdin.close()
        assert process.wait() == 0, process.stderr.read()
    for name in "ab":
        np.testing.assert_array_equal(read_output(outputs / f"{name}.npz"), FOUND)
    report = json.loads((outputs.parent / "report.json").read_text())
    assert (report["ended"], report["exit_code"]) == ("all cases done", 0)


def test_sigterm_before_python_has_begun_is_not_the_end(tmp_path: Path) -> None:
    """The script would die of it without an output; it keeps the signal until Python listens."""
    (tmp_path / "in").mkdir()
    write_case(tmp_path / "in" / "a.npz")
    early = tmp_path / "early"
    early.write_text(f'#!/bin/sh\nkill -TERM $$\nexec "{sys.executable}" "$@"\n')
    early.chmod(0o755)
    command = [shutil.which("dash") or "sh", str(ROOT / "predict.sh"), "in", "out"]
    environment = {"PATH": os.environ["PATH"], "PYTHON": str(early)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, check=False)
    assert done.returncode == 143, done.stderr
    np.testing.assert_array_equal(read_output(tmp_path / "out" / "a.npz"), np.zeros(SHAPE))
    assert json.loads((tmp_path / "report.json").read_text())["ended"] == "SIGTERM"


def test_a_hanging_network_does_not_keep_the_process(folders: tuple[Path, Path]) -> None:
    """In a process of its own, with the exit that the container has: it ends and the network does not."""
    inputs, outputs = folders
    with hanging_command("window 2", inputs, outputs, late=True) as process:
        code, said = process.wait(), process.stderr.read()
    assert code == 1, said
    assert "case a was abandoned: time was up in the step 'segment'" in said
    for name in "ab":
        np.testing.assert_array_equal(read_output(outputs / f"{name}.npz"), FOUND)


@pytest.mark.parametrize("place", PLACES)
def test_the_last_call_ends_a_case_and_not_the_next(
    folders: tuple[Path, Path], place: str, make_hang: Callable[[str], Hang]
) -> None:
    """A case that hangs keeps its best result on disk, and the next one is run by an engine of its own.

    It still hangs when the files are looked at: released, it would end the file that it is writing.
    """
    inputs, outputs = folders
    assert run(Settings(inputs, outputs), now=make_hang(place).now) == 1
    first, second = case_reports(outputs)
    assert (first["state"], second["state"]) == ("fell back", "ok")
    written = "a coarse result" if place in COARSE else "zeros"
    assert first["error"].startswith("time was up in the step ") and written in first["error"]
    assert first["written"] == written
    np.testing.assert_array_equal(read_output(outputs / "a.npz"), FOUND if place in COARSE else 0 * FOUND)
    np.testing.assert_array_equal(read_output(outputs / "b.npz"), FOUND)
    ran = [stage["name"] for stage in first["stages"]]
    assert ("coarse" in ran) == (place in (*COARSE, "half written 3"))


def test_what_was_left_behind_writes_nothing_later(
    folders: tuple[Path, Path], make_hang: Callable[[str], Hang]
) -> None:
    """The network comes back after its case was given up: its result is not wanted any more."""
    inputs, outputs = folders
    hang = make_hang("window 2")
    run(Settings(inputs, outputs), now=hang.now)
    before = (outputs / "a.npz").stat()
    hang.released.set()
    end_case_threads()
    assert (outputs / "a.npz").stat() == before
    assert case_reports(outputs)[0]["written"] == "a coarse result"


def test_a_closed_output_takes_no_more(tmp_path: Path) -> None:
    output = CaseOutput(tmp_path / "a.npz")
    output.write_zeros(SHAPE)
    output.close(0.0)
    for write in (output.write_so_far, output.write_labels):
        with pytest.raises(CaseAbandoned):
            write(FOUND)
    with pytest.raises(CaseAbandoned):
        output.write_zeros(SHAPE)
    assert output.written == "zeros"
    np.testing.assert_array_equal(read_output(tmp_path / "a.npz"), 0 * FOUND)


class WatchedLock:
    """A lock that calls ``meanwhile`` when somebody begins to wait for it for a limited time."""

    def __init__(self, meanwhile: Callable[[], None]) -> None:
        self.lock, self.meanwhile = threading.Lock(), meanwhile

    def __enter__(self) -> None:
        self.lock.acquire()

    def __exit__(self, *_: object) -> None:
        self.lock.release()

    def acquire(self, timeout: float) -> bool:
        """Take it, by then or never."""
        if timeout > 0:
            self.meanwhile()
        return self.lock.acquire(timeout=timeout)

    def release(self) -> None:
        """Give it back."""
        self.lock.release()


@pytest.mark.parametrize(("wait_s", "written"), [(SAFETY_S, "the labels"), (0.0, "nothing")])
def test_closing_waits_for_a_file_that_is_being_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wait_s: float, written: str
) -> None:
    """The result that is nearly there counts, where there is time to wait for it."""
    begun, go_on = threading.Event(), threading.Event()

    def slow(path: Path, labels: np.ndarray, header: object) -> None:
        begun.set()
        assert go_on.wait(SAFETY_S)
        path.write_bytes(b"written")

    monkeypatch.setattr("vesal.inference.output.case_output.write_label_map", slow)
    output = CaseOutput(tmp_path / "a.npz")
    writer = threading.Thread(target=output.write_labels, args=(FOUND,))

    def end_the_file() -> None:
        go_on.set()
        writer.join(SAFETY_S)

    output._writing = WatchedLock(end_the_file)
    writer.start()
    assert begun.wait(SAFETY_S)
    output.close(wait_s)
    assert (output.written, (tmp_path / "a.npz").exists()) == (written, written != "nothing")
    end_the_file()


def test_run_until_tells_whether_the_work_has_ended() -> None:
    stop = threading.Event()
    assert run_until(lambda: None, lambda: 1.0, lambda: 0.0)
    assert not run_until(lambda: stop.wait(SAFETY_S), lambda: 1.0, lambda: 1.0)
    stop.set()


def test_run_until_hands_errors_on_and_ends_quietly_when_overtaken() -> None:
    def stopped() -> None:
        raise KeyboardInterrupt

    def overtaken() -> None:
        raise CaseAbandoned

    with pytest.raises(KeyboardInterrupt):
        run_until(stopped, lambda: 1.0, lambda: 0.0)
    assert run_until(overtaken, lambda: 1.0, lambda: 0.0)


def test_the_last_call_may_be_moved_while_it_is_waited_for() -> None:
    """The prompts of a case are known only when it was read: its budget grows then."""
    asked, moved = [], threading.Event()

    def deadline() -> float:
        asked.append(1)
        if len(asked) < 2:
            return 0.0
        moved.set()
        return 60.0

    assert run_until(lambda: moved.wait(SAFETY_S), deadline, lambda: 0.0)
    assert moved.is_set()

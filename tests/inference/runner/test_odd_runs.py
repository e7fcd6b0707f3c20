"""Runs under other conditions than ours: killed, closed streams, odd names, files that are none, wrong
settings.
"""

import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.inference.fakes import CUBE, SAFETY_S, SHAPE, Opener, read_output, write_case
from tests.inference.runner.hanging import ROOT, hanging_command
from vesal.inference.data.errors import CaseAbandoned
from vesal.inference.io.label_writer import write_label_map
from vesal.inference.io.npz import NpzReader
from vesal.inference.output.logs import one_line
from vesal.inference.output.report import MAX_TEXT, report_places
from vesal.inference.runner.case_paths import find_cases
from vesal.inference.runner.case_record import CaseRecord
from vesal.inference.runner.deadline import run_until
from vesal.inference.runner.run import run
from vesal.inference.runner.settings import Settings
from vesal.inference.timing.clock import OUTSIDE_S

FOUND = np.zeros(SHAPE, np.uint8)
FOUND[CUBE] = 1


def report_of(outputs: Path) -> dict[str, Any]:
    return json.loads((outputs.parent / "report.json").read_text(encoding="utf-8"))


def command(*arguments: object, shell: str = "", cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """The command with a network that finds bright cubes; `shell` is put behind it in a line of sh."""
    line = f'exec "$0" -m tests.inference.runner.hanging nowhere "" "$@" {shell}'
    return subprocess.run(
        ["sh", "-c", line, sys.executable, *map(str, arguments)],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )


def test_killed_at_once_no_case_is_without_an_output(folders: tuple[Path, Path]) -> None:
    """SIGKILL, or the kernel where memory runs out, while the first volume is read."""
    inputs, outputs = folders
    with hanging_command("read 1", inputs, outputs) as process:
        process.kill()
        process.wait()
    for name in "ab":
        np.testing.assert_array_equal(read_output(outputs / f"{name}.npz"), 0 * FOUND)


def test_zeros_never_take_the_place_of_a_result(folders: tuple[Path, Path]) -> None:
    inputs, outputs = folders
    assert run(Settings(inputs, outputs), Opener(), now=lambda: 0.0) == 0
    for name in "ab":
        np.testing.assert_array_equal(read_output(outputs / f"{name}.npz"), FOUND)
    assert all("zeros" in case["seconds_of"] for case in report_of(outputs)["cases"])


def test_a_vanished_folder_is_made_again(tmp_path: Path) -> None:
    path = tmp_path / "out" / "deeper" / "a.npz"
    write_label_map(path, FOUND)
    shutil.rmtree(tmp_path / "out")
    write_label_map(path, FOUND)
    np.testing.assert_array_equal(read_output(path), FOUND)


def test_what_killed_runs_left_is_swept_and_nothing_else(folders: tuple[Path, Path]) -> None:
    inputs, outputs = folders
    outputs.mkdir()
    left, used, other = (outputs / f".vesal-{letter * 16}.tmp" for letter in "ab0")
    other = outputs / ".vesal-notes.tmp"
    for path in (left, used, other):
        path.write_bytes(b"half a file")
    with used.open("rb") as file:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX)
        assert run(Settings(inputs, outputs), Opener(), now=lambda: 0.0) == 0
    assert {path.name for path in outputs.iterdir()} == {"a.npz", "b.npz", used.name, other.name}


def test_the_clock_is_set_by_the_number_of_prompts_before_the_volume_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts = {str(i): "liver in CT" for i in range(1, 121)} | {"instance_label": 0}
    write_case(tmp_path / "in.npz", prompts=prompts)
    deadlines: list[float] = []
    read, expect = NpzReader.read, CaseRecord.expect

    def expected(record: CaseRecord, count: int | None) -> None:
        expect(record, count)
        records.append(record)

    def slow(reader: NpzReader, *arguments: Any) -> Any:
        deadlines.append(records[-1].deadline())
        return read(reader, *arguments)

    records: list[CaseRecord] = []
    monkeypatch.setattr(CaseRecord, "expect", expected)
    monkeypatch.setattr(NpzReader, "read", slow)
    run(Settings(tmp_path / "in.npz", tmp_path / "out"), Opener(), now=lambda: 0.0)
    assert deadlines == [120 * 60 - OUTSIDE_S - 0.25]


def test_work_that_is_abandoned_stops() -> None:
    """A loop in Python ends, so that it does not slow down the next case."""
    ended, begun = threading.Event(), threading.Event()

    def spin() -> None:
        try:
            while True:
                begun.set()
        except CaseAbandoned:
            ended.set()
            raise

    assert not run_until(spin, lambda: 0.0, lambda: float(begun.is_set()) - 0.5)
    assert ended.wait(SAFETY_S)


def test_a_case_that_was_abandoned_stops_at_its_next_window(tmp_path: Path) -> None:
    """Its progress is answered with no, and the model is told."""
    from tests.inference.fakes import FakeModel

    answers: list[bool | None] = []
    write_case(tmp_path / "a.npz")
    clock, released = [0.0], threading.Event()

    class Slow(FakeModel):
        def segment_case(self, *arguments: Any, progress: Any = None, **options: Any) -> Any:
            answers.append(progress(None))
            clock[0] = 1e6
            assert self.released.wait(SAFETY_S)  # `cancel` lets it go
            answers.append(progress(None))
            released.set()
            raise RuntimeError("cancelled")

    opener = Opener()
    opener.model = Slow()
    assert run(Settings(tmp_path / "a.npz", tmp_path / "out"), opener, now=lambda: clock[0]) == 1
    assert "time was up" in report_of(tmp_path / "out")["cases"][0]["error"]
    for thread in threading.enumerate():
        if thread.name == "case":
            thread.join(SAFETY_S)
    assert answers[0] is True and (len(answers) == 1 or answers[1] is False)


@pytest.mark.parametrize("closed", ["2>&-", ">&-", "<&- >&- 2>&-"])
def test_closed_streams_cost_nothing(folders: tuple[Path, Path], closed: str) -> None:
    inputs, outputs = folders
    done = command(inputs, outputs, shell=closed)
    assert done.returncode == 0, done.stderr
    for name in "ab":
        np.testing.assert_array_equal(read_output(outputs / f"{name}.npz"), FOUND)
    assert report_of(outputs)["exit_code"] == 0


def test_odd_names_get_outputs_and_a_report(tmp_path: Path) -> None:
    """No UTF-8, as long as the system takes, with line breaks; a JSON beside with half a character."""
    inputs, outputs = tmp_path / "in", tmp_path / "out"
    inputs.mkdir()
    forged = "a\n08:00:00 INFO    all cases done: 9 of 9 good"
    names = ["b\udcff", "c" * 251, forged, "d"]
    for name in names:
        write_case(inputs / f"{name}.npz")
    (inputs / "d.json").write_text('{"\\ud800": {"1": ["Liver"]}}')
    done = command(inputs, outputs)
    assert done.returncode in (0, 1)
    for name in names:
        assert read_output(outputs / f"{name}.npz").shape == SHAPE
    assert {case["name"] for case in report_of(outputs)["cases"]} == set(names)
    assert not any(line.startswith("08:00:00") for line in done.stderr.splitlines())


def test_a_report_stays_small(tmp_path: Path) -> None:
    write_case(tmp_path / "a.npz", prompts={"1": "liver " * 300_000, "instance_label": 0})
    run(Settings(tmp_path / "a.npz", tmp_path / "out"), Opener(), now=lambda: 0.0)
    assert (tmp_path / "report.json").stat().st_size < 10 * MAX_TEXT


def test_a_log_line_is_one_line() -> None:
    assert one_line("a\nb\x1b[31m\u2028 Größe") == "a\\nb\\x1b[31m\\u2028 Größe"


def test_the_report_lies_in_outputs_that_are_mounted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What lies beside a mounted folder is gone with the container."""
    assert report_places(tmp_path / "out", None)[0] == tmp_path / "report.json"
    monkeypatch.setattr(os.path, "ismount", lambda path: Path(path) == tmp_path / "out")
    assert report_places(tmp_path / "out", None)[0] == tmp_path / "out" / "report.json"


def test_what_is_no_file_is_told_and_skipped(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_case(tmp_path / "a.npz")
    os.mkfifo(tmp_path / "fifo.npz")
    (tmp_path / "to_fifo.npz").symlink_to("fifo.npz")
    (tmp_path / "device.npz").symlink_to("/dev/zero")
    (tmp_path / "folder.npz").mkdir()
    (tmp_path / "loop.npz").symlink_to("loop.npz")
    with socket.socket(socket.AF_UNIX) as endpoint:
        endpoint.bind(str(tmp_path / "socket.npz"))
        found = [pair.name for pair in find_cases(tmp_path, tmp_path / "out")]
    assert found == ["a", "loop"], "a link that leads nowhere is a case without a volume"
    said = caplog.text
    kinds = {"fifo": "FIFO", "to_fifo": "FIFO", "device": "device", "folder": "folder", "socket": "socket"}
    for name, kind in kinds.items():
        assert f"{name}.npz is a {kind} and no case" in said
    assert run(Settings(tmp_path, tmp_path / "out"), Opener(), now=lambda: 0.0) == 1
    np.testing.assert_array_equal(read_output(tmp_path / "out" / "a.npz"), FOUND)
    assert read_output(tmp_path / "out" / "loop.npz").shape == (1, 1, 1)


@pytest.mark.parametrize("beside", ["a.prompt.nii", "a.prompt.nii.gz", "a.prompt.npz", "a.json"])
def test_a_fifo_beside_a_case_is_not_waited_for(tmp_path: Path, beside: str) -> None:
    write_case(tmp_path / "a.npz")
    os.mkfifo(tmp_path / beside)
    run(Settings(tmp_path / "a.npz", tmp_path / "out"), Opener(), now=lambda: 0.0)
    np.testing.assert_array_equal(read_output(tmp_path / "out" / "a.npz"), FOUND)
    (case,) = report_of(tmp_path / "out")["cases"]
    assert "FIFO" in " ".join([*case["fallbacks"], *case["notes"]])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--weights", "nanoo"), "'nanoo'"),
        (("--weights", "nanoo"), "Known are: nano"),
        (("--runtime", "cuda"), "cuda"),
        (("--prompts", "promts.json"), "promts.json"),
        (("--prompts", "broken.json"), "broken JSON"),
        (("--prompts", "keyed.json", "--dataset", "CT_Nothing"), "no dataset 'CT_Nothing'"),
        (("--prompts", "keyed.json"), "no dataset whose key the case name 'a' starts with"),
        (("--prompts", "empty.json"), "empty.json"),
        (("--prompts", "five.json"), "five.json"),
        (("--weights", "./fifo"), "a FIFO"),
    ],
)
def test_mistakes_of_the_whole_run_touch_nothing(
    folders: tuple[Path, Path], arguments: tuple[str, ...], said: str
) -> None:
    inputs, outputs = folders
    outputs.mkdir()
    (outputs / "a.npz").write_bytes(b"an earlier result")
    (inputs.parent / "broken.json").write_text("{")
    (inputs.parent / "keyed.json").write_text('{"CT_AMOS": {"1": ["Liver"]}, "MR_Heart": {"1": ["Heart"]}}')
    (inputs.parent / "empty.json").write_text("{}")
    (inputs.parent / "five.json").write_text("5")
    (inputs.parent / "fifo").mkdir()
    os.mkfifo(inputs.parent / "fifo" / "manifest.json")
    line = [sys.executable, "-m", "vesal", str(inputs), str(outputs), *arguments]
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        line, cwd=inputs.parent, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2 and said in done.stderr and "Traceback" not in done.stderr, done.stderr
    assert (outputs / "a.npz").read_bytes() == b"an earlier result"
    assert [path.name for path in outputs.iterdir()] == ["a.npz"]
    assert not (outputs.parent / "report.json").exists()


def test_outputs_that_cannot_be_written_are_found_first(folders: tuple[Path, Path]) -> None:
    done = command(folders[0], "/proc/self")
    assert done.returncode == 2 and "no file can be written in the output folder /proc/self" in done.stderr


def test_a_signal_that_is_sent_while_nobody_listens_waits() -> None:
    """What `predict.sh` counts on."""
    code = "import signal; print(signal.SIGTERM in signal.sigpending())"
    held = f'kill -TERM $$; exec "$0" -c "{code}"'
    line = f"trap '' TERM; exec env --block-signal=TERM sh -c '{held}' \"$0\""
    done = subprocess.run(["sh", "-c", line, sys.executable], capture_output=True, text=True, check=False)
    assert done.stdout == "True\n", done.stderr
    assert signal.SIGTERM not in signal.sigpending()


@pytest.mark.parametrize(("seconds", "told"), [(1.0, True), (60.0, False)])
def test_a_budget_that_may_not_be_kept_is_told(
    folders: tuple[Path, Path], seconds: float, told: bool, caplog: pytest.LogCaptureFixture
) -> None:
    run(Settings(*folders, seconds=seconds), Opener(), now=lambda: 0.0)
    assert ("the start alone may take longer" in caplog.text) is told


def test_a_signal_is_heard_where_the_settings_hang(tmp_path: Path) -> None:
    """Before the cases are known, on a disk that does not answer."""
    code = (
        "import os, signal, threading; from vesal.inference.runner import command as program\n"
        "program.DEAF_S = 0.0\n"
        "def hang(arguments): os.kill(os.getpid(), signal.SIGTERM); threading.Event().wait()\n"
        "program.read_settings = hang; program.main([])"
    )
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=False)
    assert done.returncode == 143, done.stderr


def test_a_signal_that_came_while_the_script_began_ends_the_run(folders: tuple[Path, Path]) -> None:
    line = [sys.executable, "-m", "vesal", *map(str, folders)]
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "VESAL_TERMINATED": "1"}
    done = subprocess.run(line, env=environment, capture_output=True, check=False)
    assert done.returncode == 143, done.stderr
    for name in "ab":
        np.testing.assert_array_equal(read_output(folders[1] / f"{name}.npz"), 0 * FOUND)

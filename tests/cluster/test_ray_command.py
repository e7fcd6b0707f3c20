"""`vesal batch --workers N` as a whole: Ray of its own, the default weights, the bytes of the plain loop."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cluster.made import SUFFIXES, needs, records, rows, run_batch, write_scan
from tests.inference.fakes import SAFETY_S
from tests.inference.runner.own_scans import volume
from vesal.cluster import ray_start
from vesal.cluster.ray_start import is_loopback
from vesal.inference.data.errors import RuntimeChoiceError

ROOT = Path(__file__).resolve().parents[2]


def command(*arguments: object) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own."""
    line = [sys.executable, "-m", "vesal", "batch", *map(str, arguments)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    return subprocess.run(
        line, cwd=ROOT, env=environment, timeout=SAFETY_S, capture_output=True, text=True, check=False
    )


def test_bytes_and_table_are_those_of_the_plain_loop(tmp_path: Path) -> None:
    needs("ray")
    for number in range(4):
        write_scan(tmp_path / "in" / f"s{number}.nii.gz", volume() + number)
    (tmp_path / "in" / "broken.nii.gz").write_bytes(b"no scan")
    arguments = ("-i", tmp_path / "in", "-p", "liver", "spleen")
    done = command(*arguments, "-o", tmp_path / "two", "--workers", 2)
    assert done.returncode == 1, done.stderr
    assert "4 of 5 cases good, 1 failed" in done.stderr
    assert "(raylet)" not in done.stdout + done.stderr
    assert command(*arguments, "-o", tmp_path / "plain", "--threads", 1).returncode == 1
    for number in range(4):
        for suffix in SUFFIXES:
            name = f"s{number}_seg{suffix}"
            assert (tmp_path / "two" / name).read_bytes() == (tmp_path / "plain" / name).read_bytes()
    workers = {record.worker for record in records(tmp_path / "two").values()}
    assert all(worker.startswith("ray-") for worker in workers)
    timed = ("seconds", "worker", "output")
    tables = [
        [{k: v for k, v in row.items() if k not in timed} for row in rows(tmp_path / out)]
        for out in ("two", "plain")
    ]
    assert tables[0] == tables[1]


def test_terminated_it_ends_with_143(tmp_path: Path) -> None:
    """Ray's compiled code turns what the signal's handler raises into an error of another kind."""
    needs("ray")
    for number in range(40):
        write_scan(tmp_path / "in" / f"s{number}.nii.gz", volume() + number)
    line = [
        sys.executable,
        "-m",
        "vesal",
        "batch",
        "-i",
        str(tmp_path / "in"),
        "-p",
        "liver",
        "--workers",
        "1",
    ]
    line += ["-o", str(tmp_path / "out")]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    with subprocess.Popen(line, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True) as process:
        until = time.monotonic() + SAFETY_S
        while not (tmp_path / "out").exists() or not records(tmp_path / "out"):
            assert process.poll() is None and time.monotonic() < until
            time.sleep(0.05)
        process.terminate()
        told = process.communicate(timeout=SAFETY_S)[1]
    assert process.returncode == 143, told
    assert "started again, it goes on there" in told


def test_an_address_where_nothing_is_says_so(tmp_path: Path) -> None:
    needs("ray")
    write_scan(tmp_path / "in" / "a.nii.gz")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_NUM_REDIS_GET_RETRIES", "1")
        done = command("-i", tmp_path / "in", "-o", tmp_path / "out", "-p", "liver", "--ray", "nowhere")
    assert done.returncode == 2
    assert "cluster of Ray at nowhere cannot be reached" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("address", ["127.0.0.1:{}", "ray://[127.0.0.1]:{}"])
def test_where_nothing_answers_ray_is_not_asked(address: str) -> None:
    """It would try for minutes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))  # and not listened at
        port = free.getsockname()[1]
        with pytest.raises(RuntimeChoiceError, match="nothing answers at"):
            ray_start._connect(None, address.format(port))


@pytest.mark.parametrize("digits", ["", "9" * 30])
def test_a_port_that_none_can_have_is_not_another_one(digits: str) -> None:
    """A port of 65,536 more is the same to the system, and something may listen there."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = digits or other.getsockname()[1] + 65_536
        with pytest.raises(RuntimeChoiceError, match="nothing answers at .*ports end at 65535"):
            ray_start._connect(None, f"127.0.0.1:{port}")


def test_seconds_after_which_a_worker_hangs_are_positive(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert run_batch("-i", tmp_path, "-o", tmp_path / "out", "--workers", 1, "--hang-after", 0) == 2
    assert "--hang-after is 0.0" in caplog.text


@pytest.mark.parametrize(
    ("address", "here"),
    [
        ("127.0.0.1:6379", True),
        ("localhost:6379", True),
        ("127.0.0.1", True),
        ("ray://127.0.0.1:10001", True),
        ("[::1]:6379", True),
        ("10.0.0.5:6379", False),
        ("auto", False),
        ("head.example:6379", False),
    ],
)
def test_which_addresses_are_of_this_machine(address: str, here: bool) -> None:
    assert is_loopback(address) == here

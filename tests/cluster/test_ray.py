"""Workers by Ray on several nodes: the bytes of the plain loop, whatever happens to workers and nodes."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from benchmarks.cluster_nodes import Nodes
from tests.cluster.made import PROMPTS, BoxOpener, records, result, write_scan
from tests.cluster.ray_workers import attempts_of, fails_to_start, troubled_worker
from tests.inference.fakes import SAFETY_S
from tests.inference.runner.own_scans import volume
from vesal.cluster.job import Job
from vesal.cluster.options import WorkerOptions
from vesal.cluster.plain import run_plain
from vesal.cluster.ray_run import run_ray
from vesal.cluster.record import Record
from vesal.cluster.schedule import Limits
from vesal.inference.data.errors import RuntimeChoiceError

ROOT = Path(__file__).resolve().parents[2]
LISTENS = "0A"
ONLY_LOOPBACK = {"0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000"}
"""127.0.0.1, the same in IPv6, and ::1, as /proc/net/tcp has them."""
GAUGES = ("cases_left", "cases_per_minute", "seconds_left", "workers")
LIMITS = Limits(hang_s=2.0)


def jobs_of(folder: Path, out: str, *names: str) -> list[Job]:
    """Scans, no two alike; the first costs most, so that they are begun in this order."""
    jobs = []
    for number, name in enumerate(names):
        source = folder / "in" / f"{name}.nii.gz"
        if not source.exists():
            write_scan(source, volume() + number % 3)
        output = folder / out / f"{name}_seg.nii.gz"
        jobs.append(Job(name, str(source), str(output), PROMPTS, None, 1000.0 - number))
    return jobs


def run_on(
    nodes: Nodes,
    tmp_path: Path,
    *names: str,
    workers: int = 2,
    seen: Callable[[Record], None] | None = None,
    out: str = "out",
) -> dict[str, Record]:
    """Run cases on the nodes; the records by name, of which each case has one."""
    (tmp_path / out).mkdir(exist_ok=True)
    told: list[Record] = []

    def note(record: Record) -> None:
        told.append(record)
        if seen is not None:
            seen(record)

    run_ray(
        jobs_of(tmp_path, out, *names),
        WorkerOptions(str(tmp_path / out)),
        workers,
        nodes.address,
        note,
        limits=LIMITS,
        make=troubled_worker,
    )
    assert sorted(record.name for record in told) == sorted(names), "each is told of once"
    return {record.name: record for record in told}


def assert_bytes_of_plain_loop(tmp_path: Path, *names: str) -> None:
    plain = tmp_path / "plain"
    run_plain(jobs_of(tmp_path, "plain", *names), WorkerOptions(str(plain)), lambda _: None, BoxOpener())
    for name in names:
        assert result(tmp_path / "out", name) == result(plain, name)


def pid_of(record: Record) -> int:
    return int(record.worker.rpartition("-")[2])


def test_bytes_are_those_of_the_plain_loop_and_a_rerun_runs_nothing(nodes: Nodes, tmp_path: Path) -> None:
    names = [f"c{number}" for number in range(12)]
    told = run_on(nodes, tmp_path, *names, workers=3)
    assert {record.state for record in told.values()} == {"ok"}
    assert records(tmp_path / "out") == told
    assert_bytes_of_plain_loop(tmp_path, *names)
    before = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*_seg*")}
    again = run_on(nodes, tmp_path, *names)
    assert {record.state for record in again.values()} == {"skipped"}
    assert {path: path.read_bytes() for path in before} == before


def test_killed_workers_cost_no_case(nodes: Nodes, tmp_path: Path) -> None:
    """Every third case, whoever has just ended one is killed, whatever it runs or reads by then."""
    names = [f"c{number}" for number in range(12)]
    killed = []

    def kill(record: Record) -> None:
        if int(record.name[1:]) % 3 == 0:
            os.kill(pid_of(record), signal.SIGKILL)
            killed.append(record.worker)

    told = run_on(nodes, tmp_path, *names, seen=kill)
    assert len(set(killed)) >= 3
    assert {record.state for record in told.values()} <= {"ok", "skipped"}
    assert records(tmp_path / "out").keys() == set(names)
    assert_bytes_of_plain_loop(tmp_path, *names)


@pytest.mark.parametrize("trouble", ["segfault", "ahead-exit"])
def test_a_case_that_ends_its_worker_is_given_up_and_no_other(
    nodes: Nodes, tmp_path: Path, trouble: str
) -> None:
    told = run_on(nodes, tmp_path, "a", trouble, "b", "c")
    assert {name: record.state for name, record in told.items()} == dict.fromkeys("abc", "ok") | {
        trouble: "failed"
    }
    assert told[trouble].attempts == 3
    assert "killed or crashed" in str(told[trouble].reason)
    assert records(tmp_path / "out")[trouble] == told[trouble]
    assert len(set(attempts_of(tmp_path / "out", trouble))) == (3 if trouble == "segfault" else 0)
    assert_bytes_of_plain_loop(tmp_path, *"abc")


@pytest.mark.parametrize("trouble", ["once-hang", "once-stop"])
def test_a_case_that_hangs_is_run_elsewhere_and_its_process_ended(
    nodes: Nodes, tmp_path: Path, trouble: str
) -> None:
    told = run_on(nodes, tmp_path, trouble, "a")
    assert (told[trouble].state, told[trouble].attempts) == ("ok", 2)
    first, second = attempts_of(tmp_path / "out", trouble)
    assert first != second
    assert_gone(int(first.rpartition("-")[2]))
    assert_bytes_of_plain_loop(tmp_path, trouble, "a")


def assert_gone(pid: int) -> None:
    until = time.monotonic() + SAFETY_S
    while Path(f"/proc/{pid}").exists() and "Z" not in state_of(pid):
        assert time.monotonic() < until, f"{pid} still runs"
        time.sleep(0.1)


def state_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return "Z"


def test_a_lost_node_costs_no_case(nodes: Nodes, tmp_path: Path) -> None:
    nodes.add()
    names = [f"slow{number}" for number in range(8)]
    lost = threading.Event()

    def lose(record: Record) -> None:
        if not lost.is_set():
            lost.set()
            nodes.lose()

    told = run_on(nodes, tmp_path, *names, workers=6, seen=lose)
    assert lost.is_set()
    assert {record.state for record in told.values()} <= {"ok", "skipped"}
    assert_bytes_of_plain_loop(tmp_path, *names)


def test_a_worker_that_cannot_be_made_ends_the_run_with_its_reason(nodes: Nodes, tmp_path: Path) -> None:
    told: list[Record] = []
    options = WorkerOptions(str(tmp_path / "out"))
    with pytest.raises(RuntimeChoiceError, match="no such weights: nano"):
        run_ray(jobs_of(tmp_path, "out", "a"), options, 1, nodes.address, told.append, make=fails_to_start)
    assert told == []


def test_a_driver_that_is_killed_leaves_nothing_and_goes_on(nodes: Nodes, tmp_path: Path) -> None:
    """With Ray on this machine alone, where it is also looked at what listens; then on the nodes."""
    names = [f"slow{number}" for number in range(6)]
    jobs_of(tmp_path, "out", *names)
    assert killed_after(3, tmp_path, names) == -signal.SIGKILL
    done = records(tmp_path / "out")
    assert 3 <= len(done) < len(names)
    listens = (tmp_path / "listens").read_text().split()
    assert len(listens) >= 5
    assert {address.partition(":")[0] for address in listens} <= ONLY_LOOPBACK
    found = re.findall(r"^ray_(vesal_\w+)\{.*\} ([0-9.]+)$", (tmp_path / "metrics").read_text(), re.M)
    assert 1 <= float(dict(found)["vesal_cases_total"]) <= 3
    assert dict(found).keys() >= {f"vesal_{name}" for name in GAUGES}
    for pid in (tmp_path / "pids").read_text().split():
        assert_gone(int(pid))
    done = records(tmp_path / "out")
    told = run_on(nodes, tmp_path, *names)
    states = {name: record.state for name, record in told.items()}
    assert states == {name: "skipped" if name in done else "ok" for name in names}
    assert_bytes_of_plain_loop(tmp_path, *names)


def killed_after(cases: int, tmp_path: Path, names: list[str]) -> int:
    """`local_run` in a process of its own; its exit code."""
    program = f"""
import sys
from pathlib import Path
sys.path.insert(0, {str(ROOT)!r})
from tests.cluster import test_ray
test_ray.local_run(Path({str(tmp_path)!r}), {names!r}, {cases})
"""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment["RAY_metrics_report_interval_ms"] = "500"
    command = [sys.executable, "-c", program]
    return subprocess.run(command, cwd=tmp_path, timeout=SAFETY_S, env=environment).returncode


def local_run(tmp_path: Path, names: list[str], kill_after: int) -> None:
    """A run that notes what listens, and is killed after so many cases."""
    told: list[Record] = []

    def seen(record: Record) -> None:
        told.append(record)
        if len(told) == kill_after:
            pids = descendants(os.getpid())
            # Two helpers of Ray each end by themselves after a minute in which they reach no other.
            lasting = [pid for pid in pids if "Agent" not in command_of(pid)]
            (tmp_path / "pids").write_text(" ".join(map(str, lasting)))
            (tmp_path / "metrics").write_text(metrics())
            (tmp_path / "listens").write_text("\n".join(listening(pids)))
            os.kill(os.getpid(), signal.SIGKILL)

    (tmp_path / "out").mkdir(exist_ok=True)
    options = WorkerOptions(str(tmp_path / "out"))
    run_ray(jobs_of(tmp_path, "out", *names), options, 2, None, seen, make=troubled_worker)


def descendants(pid: int) -> list[int]:
    """All processes below one."""
    pids = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdecimal()]
    parents = {each: parent_of(each) for each in pids}
    found = {pid}
    while more := {each for each, parent in parents.items() if parent in found} - found:
        found |= more
    return sorted(found - {pid})


def command_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""


def metrics() -> str:
    """What Ray gives to its dashboard and to Prometheus, as soon as that has a case in it."""
    import ray

    address = f"http://127.0.0.1:{ray.nodes()[0]['MetricsExportPort']}/metrics"
    until = time.monotonic() + SAFETY_S
    while True:
        with suppress(OSError), urllib.request.urlopen(address, timeout=5) as answer:
            text = answer.read().decode()
            if all(f"vesal_{name}{{" in text for name in ("cases_total", *GAUGES)):
                return str(text)
        assert time.monotonic() < until, "Ray tells nothing of the cases"
        time.sleep(0.3)


def parent_of(pid: int) -> int | None:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except (OSError, ValueError, IndexError):
        return None


def listening(pids: list[int]) -> list[str]:
    """Hexadecimal addresses, with ports, at which these processes listen over TCP."""
    sockets = set()
    for pid in pids:
        for link in Path(f"/proc/{pid}/fd").glob("*"):
            with suppress(OSError):
                sockets.add(os.readlink(link))
    rows = [row.split() for kind in ("tcp", "tcp6") for row in _lines(f"/proc/net/{kind}")]
    return [row[1] for row in rows if row[3] == LISTENS and f"socket:[{row[9]}]" in sockets]


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines()[1:]

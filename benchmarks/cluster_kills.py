"""Workers killed and nodes lost: `python -m benchmarks.cluster_kills [--cases 1000] [--every 20]`.

The worker, engine and files as they are; the network finds balls and costs nothing, and a case sleeps
`--seconds` before. Every `--every` seconds a worker gets SIGKILL, and twice, after a third and two thirds of
the cases, a node is lost and another one added. Then each case must have one record and one label map, with
the bytes of the plain loop. The exit code is 1 where one has not.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

from benchmarks.cluster_nodes import Nodes, nodes_here
from benchmarks.cluster_workers import SECONDS, fake_network, fake_worker, load_text, write_cases
from vesal.cluster.job import Job
from vesal.cluster.options import WorkerOptions
from vesal.cluster.plain import run_plain
from vesal.cluster.ray_run import run_ray
from vesal.cluster.record import Record
from vesal.cluster.schedule import Limits

PROMPTS = ("Liver in abdominal CT", "Spleen in abdominal CT")


class Killer:
    """Kills a worker every some seconds until it is ended."""

    def __init__(self, every_s: float) -> None:
        self._every_s, self._ended = every_s, threading.Event()
        self._workers: list[str] = []
        self.killed: list[str] = []
        self._thread = threading.Thread(target=self._kill, daemon=True)

    def saw(self, record: Record) -> None:
        """A worker that ended a case."""
        if record.worker and record.worker not in (*self.killed, *self._workers):
            self._workers.append(record.worker)

    def begin(self) -> None:
        self._thread.start()

    def end(self) -> None:
        self._ended.set()
        self._thread.join()

    def _kill(self) -> None:
        while not self._ended.wait(self._every_s):
            while self._workers:
                worker = self._workers.pop(random.randrange(len(self._workers)))
                with suppress(ProcessLookupError):  # it went with its node
                    os.kill(int(worker.rpartition("-")[2]), signal.SIGKILL)
                    self.killed.append(worker)
                    break


def run(jobs: list[Job], out: Path, nodes: Nodes, workers: int, every_s: float) -> tuple[list[Record], int]:
    """Run with kills; the records in the order that they were told, and how many workers were killed."""
    told: list[Record] = []
    killer = Killer(every_s)
    losses = [len(jobs) // 3, 2 * len(jobs) // 3]

    def note(record: Record) -> None:
        told.append(record)
        killer.saw(record)
        if len(told) in losses:
            nodes.lose()
            nodes.add()

    killer.begin()
    try:
        options = WorkerOptions(str(out))
        run_ray(jobs, options, workers, nodes.address, note, limits=Limits(hang_s=120.0), make=fake_worker)
    finally:
        killer.end()
    return told, len(killer.killed)


def check(jobs: list[Job], told: list[Record], out: Path, plain: Path) -> Counter[str]:
    """Count cases that are lost, told of or written twice, or invalid."""
    counts: Counter[str] = Counter(lost=0, double=0, invalid=0)
    names = Counter(record.name for record in told)
    maps = Counter(path.name for path in out.rglob("*_seg.npz"))
    for job in jobs:
        record_file, label_map = out / "batch" / "cases" / f"{job.name}.json", Path(job.output)
        there = record_file.exists() and label_map.exists()
        counts["lost"] += not names[job.name] or not there
        counts["double"] += names[job.name] > 1 or maps[label_map.name] > 1
        if there:
            record = Record.from_json(record_file.read_bytes())
            content = label_map.read_bytes()
            wanted = (plain / label_map.name).read_bytes()
            good = record.has_result and record.sha256 == hashlib.sha256(content).hexdigest()
            counts["invalid"] += not good or content != wanted
    return counts


def main() -> int:
    """Run, check, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cases", type=int, default=1000)
    parser.add_argument("--every", type=float, default=20.0, help="seconds between two kills")
    parser.add_argument("--nodes", type=int, default=3)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=0.5, help="that a case sleeps")
    parser.add_argument("--side", type=int, default=24, help="voxels of a scan's side")
    given = parser.parse_args()
    print(load_text())
    os.environ[SECONDS] = str(given.seconds)
    with tempfile.TemporaryDirectory() as folder_name:
        folder = Path(folder_name)
        jobs = write_cases(folder, given.cases, given.side, PROMPTS, "out")
        with nodes_here(given.nodes) as nodes:
            started = time.monotonic()
            told, kills = run(jobs, folder / "out", nodes, given.workers, given.every)
            seconds = time.monotonic() - started
        plain = write_cases(folder, given.cases, given.side, PROMPTS, "plain")
        run_plain(plain, WorkerOptions(str(folder / "plain")), lambda _: None, fake_network)
        counts = check(jobs, told, folder / "out", folder / "plain")
        left = sum(path.name.startswith(".") for path in (folder / "out").rglob("*") if path.is_file())
    again = sum(record.attempts > 1 for record in told)
    states = Counter(record.state for record in told)
    print(f"{given.cases} cases in {seconds:.0f} s, {kills} workers killed, 2 nodes lost, {again} run again")
    print(f"told: {dict(states)}; found: {dict(counts)}; temporary files left by those killed: {left}")
    return int(any(counts.values()) or states["failed"] > 0)


if __name__ == "__main__":
    sys.exit(main())

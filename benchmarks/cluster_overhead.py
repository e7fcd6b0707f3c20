"""What Ray takes of a case: `python -m benchmarks.cluster_overhead [--cases 500] [--rounds 3]`.

A worker that sleeps `--seconds` and writes a small file and the record, as one worker by Ray and in a plain
loop, in turn; ms a case from the first record to the last one. The difference is the way of a case through
schedule, driver and Ray. Medians of the rounds.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.cluster_nodes import nodes_here
from benchmarks.cluster_workers import SleepWorker, load_text
from vesal.cluster.job import Job
from vesal.cluster.options import WorkerOptions
from vesal.cluster.ray_run import run_ray
from vesal.cluster.record import Record

WANTED_MS = 15.0
RunCases = Callable[[list[Job], WorkerOptions, Callable[[Record], None]], None]


def case_ms(run: RunCases, count: int, seconds: float) -> float:
    """Milliseconds a case, between the first record and the last one."""
    ends: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        jobs = [Job(f"c{n}", "none", str(Path(folder, f"c{n}_seg")), (), None, seconds) for n in range(count)]
        run(jobs, WorkerOptions(folder), lambda record: ends.append(time.monotonic()))
    return 1e3 * (ends[-1] - ends[0]) / (count - 1)


def plain(jobs: list[Job], options: WorkerOptions, on_record: Callable[[Record], None]) -> None:
    """The plain loop."""
    worker = SleepWorker(options)
    for job in jobs:
        worker.fetch(job)
        on_record(worker.run(job))


def main() -> None:
    """Run both in turn."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cases", type=int, default=500)
    parser.add_argument("--seconds", type=float, default=0.02, help="that a case sleeps")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    print(load_text())
    taken: dict[str, list[float]] = {"plain loop": [], "by Ray": []}
    with nodes_here(1) as nodes:

        def by_ray(jobs: list[Job], options: WorkerOptions, on_record: Callable[[Record], None]) -> None:
            run_ray(jobs, options, 1, nodes.address, on_record, make=SleepWorker)

        for _ in range(given.rounds):
            for name, run in {"plain loop": plain, "by Ray": by_ray}.items():
                taken[name].append(case_ms(run, given.cases, given.seconds))
    found = {name: statistics.median(each) for name, each in taken.items()}
    for name, each in taken.items():
        print(f"{name}: {found[name]:.2f} ms a case ({', '.join(f'{value:.2f}' for value in each)})")
    print(f"Ray takes {found['by Ray'] - found['plain loop']:.2f} ms of a case (wanted <= {WANTED_MS:g})")


if __name__ == "__main__":
    main()

"""Memory of a worker over many cases: `python -m benchmarks.cluster_memory [--cases 2000] [--fake]`.

One worker by Ray with the default weights (`--fake`: a network that costs nothing) on small scans of three
sizes and three thicknesses of slices; its resident memory is read after each case. Wanted: at no time more
than 5 % above the highest value of the first 50 cases.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

from benchmarks.cluster_nodes import nodes_here
from benchmarks.cluster_workers import fake_worker, load_text, write_cases
from vesal.cluster.options import WorkerOptions
from vesal.cluster.ray_run import run_ray
from vesal.cluster.record import Record
from vesal.cluster.worker import CaseWorker

PROMPTS = ("Liver in abdominal CT", "Spleen in abdominal CT")
FIRST, WANTED_PERCENT = 50, 5
PAGE_MB = os.sysconf("SC_PAGE_SIZE") / 2**20


def resident_mb(worker: str) -> float:
    """Memory of the process of a worker of this machine."""
    return int(Path(f"/proc/{worker.rpartition('-')[2]}/statm").read_text().split()[1]) * PAGE_MB


def main() -> None:
    """Run, and print the course."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cases", type=int, default=2000)
    parser.add_argument("--side", type=int, default=48, help="voxels of a scan's side")
    parser.add_argument("--fake", action="store_true")
    given = parser.parse_args()
    print(load_text())
    memory: list[float] = []
    workers: set[str] = set()

    def note(record: Record) -> None:
        if not record.has_result:
            raise RuntimeError(f"{record.name}: {record.reason}")
        workers.add(record.worker)
        memory.append(resident_mb(record.worker))

    with tempfile.TemporaryDirectory() as name, nodes_here(1) as nodes:
        jobs = write_cases(Path(name), given.cases, given.side, PROMPTS, "out")
        make = fake_worker if given.fake else CaseWorker
        run_ray(jobs, WorkerOptions(str(Path(name, "out"))), 1, nodes.address, note, make=make)
    assert len(workers) == 1, "it was lost on the way"
    first, later = max(memory[:FIRST]), max(memory[FIRST:])
    for case in sorted({1, FIRST, *(len(memory) * part // 8 for part in range(1, 9))}):
        print(f"  after case {case}: {memory[case - 1]:.1f} MB")
    growth = 100 * (later / first - 1)
    print(f"first {FIRST} cases: at most {first:.1f} MB; later: at most {later:.1f} MB")
    print(f"growth {growth:+.1f} % (wanted <= {WANTED_PERCENT})")


if __name__ == "__main__":
    main()

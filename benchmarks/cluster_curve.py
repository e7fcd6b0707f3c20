"""How a run scales: `python -m benchmarks.cluster_curve [--cases 10 100 1000 10000] [--nodes 1 2 4 8]`.

Nodes of one worker each on this machine; a case sleeps, from a half to one and a half times `--seconds`, and
goes through the schedule and the workers of `vesal batch`. Efficiency is the sum of all sleeps over nodes x
seconds, counted from when the first case ends a worker's start. Writes a table, and a plot with `--plot`.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from benchmarks.cluster_nodes import nodes_here
from benchmarks.cluster_workers import SleepWorker, load_text
from vesal.cluster.job import Job
from vesal.cluster.options import WorkerOptions
from vesal.cluster.ray_run import run_ray
from vesal.cluster.record import Record

WANTED = 0.9


@dataclass(frozen=True)
class Point:
    """One run."""

    cases: int
    nodes: int
    sum_s: float
    """Of what the cases sleep."""
    whole_s: float
    """From the call to its end, start of the workers included."""
    run_s: float
    """From the start of the first case on."""

    @property
    def efficiency(self) -> float:
        """Of the workers that run."""
        return self.sum_s / (self.nodes * self.run_s)

    @property
    def with_start(self) -> float:
        """The same, with the start of Ray's workers."""
        return self.sum_s / (self.nodes * self.whole_s)


def measure(address: str, nodes: int, costs: Sequence[float]) -> Point:
    """One run on a cluster that is there."""
    with tempfile.TemporaryDirectory() as folder:
        jobs = [Job(f"c{n}", "none", f"{folder}/c{n}_seg", (), None, cost) for n, cost in enumerate(costs)]
        begins: list[float] = []

        def note(record: Record) -> None:
            if record.seconds is None:
                raise RuntimeError(f"{record.name}: {record.reason}")
            begins.append(time.monotonic() - record.seconds)

        started = time.monotonic()
        run_ray(jobs, WorkerOptions(folder), nodes, address, note, make=SleepWorker)
        ended = time.monotonic()
    return Point(len(costs), nodes, sum(costs), ended - started, ended - min(begins))


def table(points: Sequence[Point]) -> str:
    """As Markdown."""
    lines = [
        "| cases | nodes | seconds | cases a minute | efficiency | with start |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {p.cases} | {p.nodes} | {p.run_s:.1f} | {60 * p.cases / p.run_s:.0f} | {p.efficiency:.3f} "
        f"| {p.with_start:.3f} |"
        for p in points
    ]
    return "\n".join(lines)


def plot(points: Sequence[Point], path: Path) -> None:
    """Seconds and efficiency over nodes, a line for each number of cases."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    for count in sorted({p.cases for p in points}):
        mine = sorted((p for p in points if p.cases == count), key=lambda p: p.nodes)
        nodes = [p.nodes for p in mine]
        left.plot(nodes, [p.run_s for p in mine], "o-", label=f"{count:,} cases")
        right.plot(nodes, [p.efficiency for p in mine], "o-", label=f"{count:,} cases")
    right.axhline(WANTED, color="grey", linestyle=":")
    every = sorted({p.nodes for p in points})
    for axes in (left, right):
        axes.set_xscale("log")
        axes.set_xticks(every, [str(n) for n in every])
        axes.set_xticks([], minor=True)
    left.set_yscale("log")
    left.set(xlabel="nodes", ylabel="seconds", title="time of a run")
    right.set(xlabel="nodes", ylabel="efficiency", ylim=(0, 1.05), title="sum of costs / (nodes x seconds)")
    left.legend(fontsize=7, ncols=2)
    figure.savefig(path, dpi=110, metadata={"Software": None})


def main() -> None:
    """Run what is asked for, and print it as it comes."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cases", type=int, nargs="+", default=[10, 100, 1000, 10000])
    parser.add_argument("--nodes", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--seconds", type=float, default=0.25, help="of a case, on average")
    parser.add_argument("--longest", type=float, help="leave out what takes more seconds than this")
    parser.add_argument("--points", type=Path, help="JSON of all runs; those in it are not run again")
    parser.add_argument("--plot", type=Path, metavar="PNG")
    given = parser.parse_args()
    known = given.points is not None and given.points.exists()
    points = [Point(**each) for each in json.loads(given.points.read_text())] if known else []
    print(load_text())
    for nodes in given.nodes:
        with nodes_here(nodes, processors=1) as cluster:
            for count in given.cases:
                there = any((p.cases, p.nodes) == (count, nodes) for p in points)
                too_long = given.longest and count * given.seconds / nodes > given.longest
                if there or too_long:
                    continue
                costs = np.random.default_rng(count).uniform(0.5, 1.5, count) * given.seconds
                points.append(measure(cluster.address, nodes, costs.tolist()))
                print(table(points[-1:]).splitlines()[-1], flush=True)
                if given.points is not None:
                    given.points.write_text(json.dumps([asdict(p) for p in points], indent=1))
    points.sort(key=lambda p: (p.cases, p.nodes))
    print(table(points))
    if given.plot is not None:
        plot(points, given.plot)


if __name__ == "__main__":
    main()

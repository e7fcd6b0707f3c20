"""Coarse only against two stages, target by target, and the seconds that a case takes.

``better`` counts the cases in which the second stage raised the Dice. Wall time is the engine's alone,
without reading, writing and the start of the program; processor time is summed over all threads. A graph is
compiled when a shape first comes, so a set's first case takes longer.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import isnan
from pathlib import Path
from typing import Any

import numpy as np

from vesal.evaluation.metrics import mean_of
from vesal.inference.api import load
from vesal.training.measure.results import Report, about, markdown_table
from vesal.training.measure.runs import Run, add_case_arguments, read_cases
from vesal.training.scores import Row, score_case


@dataclass(frozen=True)
class Timing:
    """Seconds of one case."""

    dataset: str
    case: str
    voxels: int
    prompts: int
    wall_s: float
    cpu_s: float
    coarse_s: float
    """Wall time within the coarse stage, resampling included"""
    fine_s: float
    fine_views: int


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of this measurement."""
    add_case_arguments(parser)
    parser.add_argument("--real", type=Path, help="further cases: folder with imgs/ and gts/")
    parser.add_argument("--threads", type=int, help="threads of the runtime; all available if left out")


def measure(args: argparse.Namespace) -> Report:
    """Run every case once; coarse and final result come from the same run."""
    model = load(str(args.weights.resolve()), threads=args.threads)
    rows: list[Row] = []
    timings: list[Timing] = []
    short: dict[str, str] = {}
    for labelled in read_cases(args.data, args.most, args.real):
        found, run = score_case(model, labelled)
        rows += [row for row in found if row.covered]
        timings.append(timing(labelled.dataset, labelled.case.name, run))
        if run.short:
            short[labelled.case.name] = run.short
    parts = [target_table(rows), "Seconds a case:", time_table(timings)]
    if short:
        parts.append(f"Not run as planned: {', '.join(short)}.")
    text = "\n\n".join(parts)
    content = {
        "most": args.most,
        "short": short,
        "rows": [asdict(r) for r in rows],
        "timings": [asdict(t) for t in timings],
    }
    return Report(text, {**about(model), **content})


def timing(dataset: str, case: str, run: Run) -> Timing:
    """What the report of a run says of its time."""
    stages = run.result.stages
    coarse = [s.seconds for s in stages if s.name.startswith("coarse")]
    fine = [s.seconds for s in stages if s.name.startswith("fine")]
    size, prompts = run.labels.size, len(run.result.prompts)
    return Timing(dataset, case, size, prompts, run.seconds, run.cpu_s, sum(coarse), sum(fine), len(fine))


def target_table(rows: Sequence[Row]) -> str:
    """Markdown: Dice of both stages per set and target, and over all targets."""
    by: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in rows:
        by[row.dataset, row.target].append(row)
    lines: list[tuple[Any, ...]] = [(*key, *_stages(group)) for key, group in sorted(by.items())]
    both = {key: [r for r in group if not isnan(r.coarse)] for key, group in by.items()}
    both = {key: group for key, group in both.items() if group}
    if both:
        means = [
            mean_of([mean_of([getattr(r, of) for r in g]) for g in both.values()])
            for of in ("coarse", "final")
        ]
        compared = [r for group in both.values() for r in group]
        told = f"{sum(r.final > r.coarse for r in compared)} of {len(compared)}"
        gain = f"{means[1] - means[0]:+.3f}"
        lines.append(("**all with both**", "mean of the targets", len(compared), *means, gain, told))
    return markdown_table(("set", "target", "cases", "coarse only", "two stages", "gain", "better"), lines)


def _stages(rows: Sequence[Row]) -> tuple[int, float, float, str, str]:
    coarse, final = (mean_of([getattr(r, of) for r in rows]) for of in ("coarse", "final"))
    if isnan(coarse):
        return len(rows), coarse, final, "", "one stage"
    better = sum(r.final > r.coarse for r in rows)
    return len(rows), coarse, final, f"{final - coarse:+.3f}", f"{better} of {len(rows)}"


def time_table(timings: Sequence[Timing]) -> str:
    """Markdown: mean seconds per set and over all cases, and the slowest case."""
    by: dict[str, list[Timing]] = defaultdict(list)
    for t in timings:
        by[t.dataset].append(t)
    lines = [(name, *_seconds(group)) for name, group in sorted(by.items())]
    lines.append(("**all**", *_seconds(timings)))
    header = ("set", "cases", "wall", "slowest", "processor time", "coarse stage", "fine stage", "fine views")
    return markdown_table(header, lines)


def _seconds(timings: Sequence[Timing]) -> tuple[int | str, ...]:
    means = [
        float(np.mean([getattr(t, of) for t in timings])) for of in ("wall_s", "cpu_s", "coarse_s", "fine_s")
    ]
    slowest = max(t.wall_s for t in timings)
    views = float(np.mean([t.fine_views for t in timings]))
    shown = [means[0], slowest, *means[1:]]
    return (len(timings), *(f"{s:.2f}" for s in shown), f"{views:.1f}")

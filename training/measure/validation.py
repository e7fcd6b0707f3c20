"""Dice per target, coarse and final, beside what the weights must reach: `training.validate` unwritten."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from inference.engine import Engine
from inference.settings import Settings
from training.coverage import known_targets
from training.floors import floors_table
from training.measure.results import Report, about
from training.measure.runs import covering, key_of, read_cases
from training.scores import Row, not_covered_table, score_case, set_table, table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of this measurement."""
    parser.add_argument("--data", type=Path, required=True, help="folder with DATASET/*.npz and labels")
    parser.add_argument("--weights", type=Path, required=True, help="folder with a manifest.json")
    parser.add_argument("--most", type=int, default=0, help="at most this many cases of a set; 0: all")
    parser.add_argument("--real", type=Path, help="further cases: folder with imgs/ and gts/")
    parser.add_argument("--all", action="store_true", help="ask for targets that are not covered, too")


def measure(args: argparse.Namespace) -> Report:
    """Score every case."""
    engine = Engine.open(Settings(weights=str(args.weights.resolve())))
    if args.all:
        engine = covering(engine, known_targets(args.weights))
    rows, seconds = validate(engine, args.data, args.most, args.real, args.all)
    text = report(rows, seconds, f"{engine.runtime.name} {engine.runtime.precision}")
    content: dict[str, Any] = {"cases": len(seconds), "seconds": float(np.mean(seconds)), "most": args.most}
    return Report(text, {**about(engine), **content, "rows": [asdict(row) for row in rows]})


def validate(
    engine: Engine, data: Path, most: int = 0, real: Path | None = None, everything: bool = False
) -> tuple[list[Row], list[float]]:
    """Rows of all labelled targets, and the seconds of each case.

    ``everything``: ask for what the profile does not cover too, as far as there is a text vector of it.
    """
    rows: list[Row] = []
    seconds: list[float] = []
    for labelled in read_cases(data, most, real):
        asked = [key for key in map(key_of, labelled.prompts) if key]
        found, run = score_case(covering(engine, asked) if everything else engine, labelled)
        rows += found
        seconds.append(run.seconds)
    return rows, seconds


def report(rows: list[Row], seconds: list[float], ran: str) -> str:
    """Markdown: per target, per set, floors, what is not covered, and the time."""
    parts = [table(rows), "## Sets", set_table(rows), "## Floors", floors_table(rows)]
    if any(not row.covered for row in rows):
        parts += ["## Labelled, but not covered by these weights", not_covered_table(rows)]
    parts.append(f"{len(seconds)} cases, {np.mean(seconds):.2f} s a case, {ran}")
    return "\n\n".join(parts)

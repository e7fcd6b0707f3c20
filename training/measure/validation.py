"""Dice per target, coarse and final, beside what the weights must reach: `training.validate` unwritten."""

from __future__ import annotations

import argparse
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vesal.inference.api import Model, load
from vesal.training.coverage import known_targets
from vesal.training.floors import floors_table
from vesal.training.measure.results import Report, about
from vesal.training.measure.runs import add_case_arguments, covering, key_of, read_cases
from vesal.training.scores import Row, not_covered_table, score_case, set_table, table


@dataclass(frozen=True)
class Look:
    """What came of one look at labelled cases."""

    rows: list[Row]
    """All labelled targets."""
    seconds: list[float]
    """Of each case."""
    short: dict[str, str]
    """Cases that did not run as planned, to what was left out."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of this measurement."""
    add_case_arguments(parser)
    parser.add_argument("--real", type=Path, help="further cases: folder with imgs/ and gts/")
    parser.add_argument(
        "--seconds", type=float, help="time of a case; the challenge's 60 a prompt if left out"
    )
    parser.add_argument("--all", action="store_true", help="ask for targets that are not covered, too")


def measure(args: argparse.Namespace) -> Report:
    """Score every case."""
    model = load(str(args.weights.resolve()))
    if args.all:
        model = covering(model, known_targets(args.weights))
    looked = validate(model, args.data, args.most, args.real, args.all, args.seconds)
    text = report(looked, f"{model.runtime.name} {model.runtime.precision}")
    content: dict[str, Any] = {"cases": len(looked.seconds), "seconds": float(np.mean(looked.seconds))}
    content |= {"most": args.most, "short": looked.short, "rows": [asdict(row) for row in looked.rows]}
    return Report(text, {**about(model), **content})


def validate(
    model: Model,
    data: Path,
    most: int = 0,
    real: Path | None = None,
    everything: bool = False,
    budget_s: float | None = None,
) -> Look:
    """Score every labelled case.

    ``everything``: ask for what the profile does not cover too, as far as there is a text vector of it.
    """
    look = Look([], [], {})
    for labelled in read_cases(data, most, real):
        asked = [key for key in map(key_of, labelled.prompts) if key]
        used = covering(model, asked) if everything else model
        found, run = score_case(used, labelled, budget_s)
        look.rows.extend(found)
        look.seconds.append(run.seconds)
        if run.short:
            look.short[labelled.case.name] = run.short
    return look


def report(look: Look, ran: str) -> str:
    """Markdown: per target, per set, floors, what is not covered, time, and what time did not allow."""
    rows, seconds = look.rows, look.seconds
    parts = [table(rows), "## Sets", set_table(rows), "## Floors", floors_table(rows)]
    if any(not row.covered for row in rows):
        parts += ["## Labelled, but not covered by these weights", not_covered_table(rows)]
    parts.append(f"{len(seconds)} cases, {np.mean(seconds):.2f} s a case, {ran}")
    if look.short:
        parts.append("Not run as planned, so these scores are not what the weights can do:")
        parts.append("\n".join(f"- {case}: {why}" for case, why in look.short.items()))
    return "\n\n".join(parts)

"""Put two sets of predictions side by side: `python -m vesal.evaluation.compare A B`.

A and B are folders with a results.json of `python -m vesal.evaluation`, or folders of predictions, which are
then scored against --images and --groundtruth. B is the new one: a loss is a score that fell from A to B.

Exit code 0: compared; 2: wrong usage.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vesal.evaluation.errors import EvaluationError
from vesal.evaluation.files import find_cases
from vesal.evaluation.report import JSON_FILE, as_text, read_results
from vesal.evaluation.scoring import SCORES, CaseResult, same_score, score_files
from vesal.evaluation.statistics import signed_rank, summarize
from vesal.evaluation.tables import NAMES, measurements

WORST = 5
HEADLINE = ("DSC", "F1")
"""Scores in which losses are listed: one a target, so that a class does not come up twice."""


@dataclass(frozen=True)
class Comparison:
    """One score over the cases that both sets have."""

    score: str
    cases: int
    mean_a: float
    mean_b: float
    better: int
    worse: int
    low: float
    """Lower end of the 95 % bootstrap interval of the mean of B - A; NaN with fewer than two cases."""
    high: float
    p: float
    """Two-sided p of Wilcoxon's signed-rank test, paired per case."""


@dataclass(frozen=True)
class Loss:
    """One target of one case whose score fell."""

    case: str
    target: str
    score: str
    a: float
    b: float


def compare(a: Sequence[CaseResult], b: Sequence[CaseResult], official: bool = False) -> list[Comparison]:
    """Compare the scores of whole cases that both sets have; a score that no case has is left out."""
    mode = "official" if official else "plain"
    first, second = ({r.name: getattr(r, mode) for r in results} for results in (a, b))
    rows = []
    for name in SCORES:
        pairs = [(getattr(first[c], name), getattr(second[c], name)) for c in first if c in second]
        known = np.array([p for p in pairs if not np.isnan(p).any()], dtype=float).reshape(-1, 2)
        if len(known):
            rows.append(_compared(NAMES[name], known[:, 0], known[:, 1]))
    return rows


def worst_losses(
    a: Sequence[CaseResult], b: Sequence[CaseResult], official: bool = False, count: int = WORST
) -> list[Loss]:
    """Return the targets that lost most from A to B, worst first; equal losses by case and target."""
    before = {(m.case, m.target, m.score): m.value for m in measurements(a, official)}
    losses = [
        Loss(m.case, m.target, m.score, before[m.case, m.target, m.score], m.value)
        for m in measurements(b, official)
        if m.score in HEADLINE and (m.case, m.target, m.score) in before
    ]
    fallen = [loss for loss in losses if loss.b < loss.a and not same_score(loss.a, loss.b)]
    return sorted(fallen, key=lambda loss: (loss.b - loss.a, loss.case, loss.target))[:count]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    options = _parser().parse_args(arguments)
    try:
        a, b = (_results(path, options.images, options.groundtruth) for path in (options.a, options.b))
        common = {r.name for r in a} & {r.name for r in b}
        if not common:
            raise EvaluationError(f"{options.a} and {options.b} have no case in common; nothing to compare")
    except EvaluationError as error:
        print(f"evaluation.compare: {error}", file=sys.stderr)
        return 2
    print(_text(a, b, common, options.as_official))
    return 0


def _compared(name: str, a: np.ndarray, b: np.ndarray) -> Comparison:
    difference = np.where(np.abs(b - a) <= 1e-6, 0.0, b - a)
    interval = summarize(list(difference))
    better, worse = int((difference > 0).sum()), int((difference < 0).sum())
    p = signed_rank([0.0] * len(difference), list(difference))
    means = float(a.mean()), float(b.mean())
    return Comparison(name, len(a), *means, better, worse, interval.low, interval.high, p)


def _results(path: Path, images: Path | None, truths: Path | None) -> list[CaseResult]:
    if path.is_file():
        return read_results(path)
    if (path / JSON_FILE).is_file():
        return read_results(path / JSON_FILE)
    if images is None or truths is None:
        raise EvaluationError(
            f"{path} has no {JSON_FILE}; score it first with `python -m vesal.evaluation`, "
            "or give --images and --groundtruth to score it now"
        )
    from tqdm import tqdm

    cases = find_cases(images, path, truths)
    return [score_files(case) for case in tqdm(cases, desc=f"scoring {path.name}", unit="case", disable=None)]


def _text(a: Sequence[CaseResult], b: Sequence[CaseResult], common: set[str], official: bool) -> str:
    rows = [_row(c) for c in compare(a, b, official)]
    losses = worst_losses(a, b, official)
    alone = [
        f"{r.name} is only in {where}" for where, s in (("A", a), ("B", b)) for r in s if r.name not in common
    ]
    parts = [f"{len(common)} cases in both", as_text(rows) or "no score in common"]
    if losses:
        parts += [f"Worst losses from A to B ({len(losses)}):", as_text([_loss_row(loss) for loss in losses])]
    else:
        parts.append("No target lost.")
    bad = [f"{r.name} in {where}: {r.reason}" for where, s in (("A", a), ("B", b)) for r in s if r.reason]
    return "\n".join(parts + alone + bad)


def _row(c: Comparison) -> dict[str, str]:
    interval = "" if np.isnan(c.low) else f"{c.low:+.4f} to {c.high:+.4f}"
    numbers = {"A": f"{c.mean_a:.4f}", "B": f"{c.mean_b:.4f}", "B-A": f"{c.mean_b - c.mean_a:+.4f}"}
    counts = {"Better": str(c.better), "Worse": str(c.worse)}
    return {"Score": c.score, "Cases": str(c.cases), **numbers, "95%": interval, **counts, "p": f"{c.p:.3g}"}


def _loss_row(loss: Loss) -> dict[str, str]:
    numbers = {"A": f"{loss.a:.4f}", "B": f"{loss.b:.4f}", "B-A": f"{loss.b - loss.a:+.4f}"}
    return {"Case": loss.case, "Target": loss.target, "Score": loss.score, **numbers}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m vesal.evaluation.compare", description="Compare two sets of predictions."
    )
    parser.add_argument("a", type=Path, metavar="A", help="results of the old predictions, or their folder")
    parser.add_argument("b", type=Path, metavar="B", help="results of the new predictions, or their folder")
    parser.add_argument("--images", type=Path, help="folder of input volumes, where A or B is not scored yet")
    parser.add_argument(
        "--groundtruth", type=Path, help="folder of label maps, where A or B is not scored yet"
    )
    parser.add_argument("--as-official", action="store_true", help="compare the official script's scores")
    return parser


if __name__ == "__main__":
    sys.exit(main())

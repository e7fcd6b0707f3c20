"""Score a folder of predictions: `python -m vesal.evaluation IMAGES PREDICTIONS GROUNDTRUTH -o results`.

Exit code 0: every case was scored; 1: some have a reason instead; 2: wrong usage.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from vesal.evaluation.errors import EvaluationError
from vesal.evaluation.files import find_cases
from vesal.evaluation.report import as_text, summary_row, write_report
from vesal.evaluation.scoring import SCORES, CaseResult, same_score, score_files
from vesal.evaluation.tables import NAMES, lost_officially, measurements, per_modality, per_target


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    options = _parser().parse_args(arguments)
    try:
        cases = find_cases(options.images, options.predictions, options.groundtruth)
        seconds = _running_times(options.times) if options.times else None
    except EvaluationError as error:
        print(f"evaluation: {error}", file=sys.stderr)
        return 2
    results = [score_files(case) for case in _with_bar(cases)]
    write_report(options.output, results, options.as_official, seconds)
    if not options.no_plots:
        _plot(options.output, results, options.as_official)
    print(_summary(results, options.as_official, options.output))
    return 1 if any(result.reason for result in results) else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m vesal.evaluation", description="Score predictions against ground truth."
    )
    parser.add_argument("images", type=Path, help="folder of volumes NAME.npz, or one file")
    parser.add_argument("predictions", type=Path, help="folder of predictions NAME.npz with `segs`")
    parser.add_argument("groundtruth", type=Path, help="folder of label maps NAME.npz with `gts`")
    parser.add_argument("-o", "--output", type=Path, default=Path("results"), help="folder for the results")
    parser.add_argument(
        "--as-official", action="store_true", help="the official script's scores come first, with its quirks"
    )
    parser.add_argument("--times", type=Path, help="timing.json of evaluation.timing: RunningTime")
    parser.add_argument("--no-plots", action="store_true", help="write tables only")
    return parser


def _running_times(path: Path) -> dict[str, float]:
    """Return seconds by case name from a timing.json; raises `EvaluationError`."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return {row["case"]: float(row["seconds"]) for row in content["cases"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise EvaluationError(f"{path} is no timing.json of evaluation.timing: {error!r}") from error


def _with_bar(cases: list) -> list:
    """Return the cases behind a progress bar, which shows on a terminal only."""
    from tqdm import tqdm

    return tqdm(cases, desc="scoring", unit="case", disable=None)


def _plot(folder: Path, results: Sequence[CaseResult], official: bool) -> None:
    from vesal.evaluation.plots import TARGETS_PLOT, VOLUME_PLOT, plot_targets, plot_volumes

    measured = measurements(results, official)
    plot_targets(folder / TARGETS_PLOT, measured)
    plot_volumes(folder / VOLUME_PLOT, measured)


def _summary(results: Sequence[CaseResult], official: bool, folder: Path) -> str:
    """Return what the terminal shows at the end."""
    rows = per_target(measurements(results, official)) + per_modality(results, official)
    parts = [as_text([summary_row(row) for row in rows])]
    parts += [f"{r.name}: {r.reason}" for r in results if r.reason]
    differing = [r for r in results if r.differs]
    if differing:
        parts.append("The official script says something else about:")
        parts += [f"  {r.name}: {_both(r)}" for r in differing]
    lost = lost_officially(results)
    if lost:
        parts.append(f"It would record nothing for {len(lost)} of {len(results)} cases, from {lost[0]} on.")
    parts.append(f"Tables, results.json and plots are in {folder}.")
    return "\n".join(part for part in parts if part)


def _both(result: CaseResult) -> str:
    """Return the scores of both modes, those that differ."""
    pairs = ((NAMES[s], getattr(result.plain, s), getattr(result.official, s)) for s in SCORES)
    if result.official_reason:
        return f"it records nothing ({result.official_reason})"
    differing = [(name, ours, theirs) for name, ours, theirs in pairs if not same_score(ours, theirs)]
    texts = [f"{name} {ours:.4f}, officially {theirs:.4f}" for name, ours, theirs in differing]
    return "; ".join([*texts, *filter(None, [result.official_note])])


if __name__ == "__main__":
    sys.exit(main())

"""Write the results of an evaluation: CSV tables, one JSON, and a table for the terminal."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import asdict
from math import isnan, nan
from pathlib import Path
from typing import Any

from vesal.evaluation.errors import EvaluationError
from vesal.evaluation.metrics import CaseScore, ClassScore
from vesal.evaluation.scoring import SCORES, CaseResult
from vesal.evaluation.tables import Row, case_rows, lost_officially, measurements, per_modality, per_target

CASES_FILE = "cases.csv"
TARGETS_FILE = "targets.csv"
MODALITIES_FILE = "modalities.csv"
JSON_FILE = "results.json"


def write_report(
    folder: Path, results: Sequence[CaseResult], official: bool, seconds: dict[str, float] | None = None
) -> None:
    """Write cases.csv, targets.csv, modalities.csv and results.json into `folder`, which is made if need be.

    Args:
        folder: where to write; files of these names are replaced.
        results: one per case, in the order of scoring.
        official: whether the main columns are the official script's scores (`--as-official`).
        seconds: running time by case name, from the timing check.
    """
    folder.mkdir(parents=True, exist_ok=True)
    targets, modalities = per_target(measurements(results, official)), per_modality(results, official)
    _write_csv(folder / CASES_FILE, case_rows(results, official, seconds))
    _write_csv(folder / TARGETS_FILE, [summary_row(row) for row in targets])
    _write_csv(folder / MODALITIES_FILE, [summary_row(row) for row in modalities])
    content = {
        "mode": "official" if official else "plain",
        "cases": [asdict(result) for result in results],
        "targets": [asdict(row) for row in targets],
        "modalities": [asdict(row) for row in modalities],
        "modes_differ_on": [result.name for result in results if result.differs],
        "lost_by_official_script": lost_officially(results),
    }
    text = json.dumps(_without_nan(content), indent=1, allow_nan=False)
    (folder / JSON_FILE).write_text(text + "\n", encoding="utf-8")


def read_results(path: Path) -> list[CaseResult]:
    """Return the cases of a results.json as they were written.

    Raises:
        EvaluationError: the file is not there or is no results.json.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return [_case_result(row) for row in content["cases"]]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise EvaluationError(f"{path} is no results.json of `vesal.evaluation` ({error!r})") from error


def summary_row(row: Row) -> dict[str, str]:
    """Return one row of a summary table as text; absent numbers are empty."""
    numbers = {"Mean": row.summary.mean, "Median": row.summary.median}
    numbers |= {"Low95": row.summary.low, "High95": row.summary.high}
    names = {"Modality": row.modality, "Target": row.target, "Score": row.score}
    names["Cases"] = str(row.summary.count)
    return names | {name: "" if isnan(value) else f"{value:.4f}" for name, value in numbers.items()}


def as_text(rows: Sequence[dict[str, str]]) -> str:
    """Return rows of text as a table with aligned columns; no rows give no text."""
    if not rows:
        return ""
    table = [list(rows[0]), *(list(row.values()) for row in rows)]
    widths = [max(len(line[i]) for line in table) for i in range(len(table[0]))]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in table)
    return "\n".join(line.rstrip() for line in lines)


def _write_csv(path: Path, rows: Sequence[dict[str, str]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        if rows:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)


def _case_result(row: dict) -> CaseResult:
    scores = {mode: _case_score(row[mode]) for mode in ("plain", "official")}
    targets = {int(class_id): target for class_id, target in row["targets"].items()}
    voxel_ml = nan if row["voxel_ml"] is None else row["voxel_ml"]
    return CaseResult(**{**row, **scores, "targets": targets, "voxel_ml": voxel_ml})


def _case_score(row: dict) -> CaseScore:
    values = {name: nan if row[name] is None else row[name] for name in SCORES}
    classes = {int(class_id): _class_score(of_class) for class_id, of_class in row["classes"].items()}
    return CaseScore(**{**row, **values, "classes": classes})


def _class_score(row: dict) -> ClassScore:
    values: dict[str, Any] = {name: nan if value is None else value for name, value in row.items()}
    return ClassScore(**values)


def _without_nan(value: object) -> object:
    """Return nested dicts and lists with NaN as None, which JSON knows."""
    if isinstance(value, dict):
        return {str(key): _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and isnan(value) else value

"""The report of a run: what was decided, why, and what came of it; dataclasses that become one JSON file."""

import dataclasses
import json
import logging
import math
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

log = logging.getLogger("vesal")

NAME = "report.json"
OK, FELL_BACK, NOT_RUN = "ok", "fell back", "not run"


@dataclass(frozen=True)
class StageReport:
    """One pass over a region at one spacing.

    `grid` is the (D, H, W) that was sampled, `windows` the windows the network saw, `skipped` those it could
    be spared, `peak_mb` the process's largest resident memory by then, `why` the reason for spacing and
    window.
    """

    name: str
    spacing_dhw_mm: tuple[float, float, float] | None
    grid: tuple[int, int, int] | None
    windows: int
    skipped: int
    seconds: float
    peak_mb: float
    why: str


@dataclass(frozen=True)
class LadderStep:
    """Something of the plan that was given up because time ran short.

    `why` tells the time left and what it was needed for, `at_s` the second of the case at which it was.
    """

    step: str
    why: str
    at_s: float


@dataclass(frozen=True)
class PromptOutcome:
    """What became of one prompt.

    `covered` says whether the weights know the target, `objects` counts instances where they were asked for.
    None stands for what was never found out because the case fell back before.
    """

    id: int
    text: str
    target: str | None
    modality: str | None
    found_by: str
    why: str
    covered: bool | None
    voxels: int | None
    volume_ml: float | None
    mean_probability: float | None
    stages: tuple[str, ...] = ()
    objects: int | None = None


@dataclass(frozen=True)
class CaseReport:
    """One case: where it came from, how it was understood, what ran, and how long it took.

    `state` is `ok`, `fell back` or `not run`; `written` says in words what the output file holds;
    `seconds_of` holds the steps of the case beside the stages (read, prompts, engine, ...), `ladder` what was
    given up to stay within the budget.
    """

    name: str
    input: str
    output: str
    state: str
    written: str
    shape: tuple[int, ...] | None = None
    spacing_dhw_mm: tuple[float, float, float] | None = None
    instance: bool | None = None
    dataset: str | None = None
    modality: str | None = None
    modality_source: str | None = None
    modality_why: str | None = None
    notes: tuple[str, ...] = ()
    prompts: tuple[PromptOutcome, ...] = ()
    stages: tuple[StageReport, ...] = ()
    ladder: tuple[LadderStep, ...] = ()
    fallbacks: tuple[str, ...] = ()
    error: str | None = None
    budget_s: float | None = None
    seconds: float = 0.0
    seconds_of: Mapping[str, float] = field(default_factory=dict)
    peak_mb: float = 0.0


@dataclass(frozen=True)
class RunReport:
    """One run of the container."""

    version: str
    weights: str
    runtime: Mapping[str, Any]
    processor: Any
    settings: Any
    started: str
    seconds: float
    peak_mb: float
    exit_code: int
    ended: str
    cases: tuple[CaseReport, ...] = ()


def to_json(report: Any) -> Any:
    """Turn dataclasses, paths and numpy values into what JSON can hold; NaN and infinity become None."""
    if dataclasses.is_dataclass(report) and not isinstance(report, type):
        return {item.name: to_json(getattr(report, item.name)) for item in dataclasses.fields(report)}
    if isinstance(report, Mapping):
        return {str(key): to_json(value) for key, value in report.items()}
    if isinstance(report, (list, tuple, set, frozenset)):
        return [to_json(value) for value in report]
    if report is None or isinstance(report, (str, bool, int)):
        return report
    if hasattr(report, "tolist"):
        return to_json(report.tolist())
    if isinstance(report, float):
        return round(report, 6) if math.isfinite(report) else None
    return str(report)


def report_places(outputs: Path, wanted: Path | None) -> tuple[Path, ...]:
    """Where the report may go, best first.

    The file that was asked for; else `report.json` beside the outputs, where the scorer does not look; else
    (a read-only container) the folder for temporary files.
    """
    spare = tuple(
        Path(folder) / f"vesal-{NAME}"
        for folder in dict.fromkeys((os.environ.get("TMPDIR"), "/tmp"))
        if folder
    )
    if wanted is not None:
        return (wanted, *spare)
    beside = outputs.resolve().parent / NAME
    # A case `report.npz` there takes its prompts from report.json, which must not be overwritten.
    return spare if beside.with_suffix(".npz").exists() else (beside, *spare)


def write_report(report: RunReport, outputs: Path, wanted: Path | None = None) -> Path | None:
    """Write the report to the first place that takes it; return that, or None with a warning."""
    text = json.dumps(to_json(report), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    refused = []
    for place in report_places(outputs, wanted):
        try:
            _write(place, text)
        except OSError as error:
            refused.append(f"{place}: {error.strerror or error}")
            continue
        log.log(logging.WARNING if wanted and refused else logging.INFO, "report: %s", place)
        return place
    log.warning("no report: nothing could be written (%s); give a file with --report", "; ".join(refused))
    return None


def _write(place: Path, text: str) -> None:
    """Write in one step: whoever looks sees the old file or the whole new one."""
    place.parent.mkdir(parents=True, exist_ok=True)
    temporary = place.parent / f".vesal-{secrets.token_hex(8)}.tmp"
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(place)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise

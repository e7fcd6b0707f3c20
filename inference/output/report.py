"""The report of a run: decisions, reasons and results; dataclasses written as one JSON file."""

import dataclasses
import json
import logging
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vesal.inference.data.results import RunReport
from vesal.inference.io.formats import has_case
from vesal.inference.io.temporary import replacing

log = logging.getLogger("vesal")

FILE_NAME = "report.json"
MAX_TEXT = 2000
"""Characters of a text in the report: names and sentences come from outside, and may have megabytes."""


def to_json(report: Any) -> Any:
    """Turn dataclasses, paths and numpy values into what JSON can hold; NaN and infinity become None."""
    if dataclasses.is_dataclass(report) and not isinstance(report, type):
        return {item.name: to_json(getattr(report, item.name)) for item in dataclasses.fields(report)}
    if isinstance(report, Mapping):
        return {shortened(str(key)): to_json(value) for key, value in report.items()}
    if isinstance(report, (list, tuple, set, frozenset)):
        return [to_json(value) for value in report]
    if isinstance(report, str):
        return shortened(report)
    if report is None or isinstance(report, (bool, int)):
        return report
    if hasattr(report, "tolist"):
        return to_json(report.tolist())
    if isinstance(report, float):
        return shown_number(report) if math.isfinite(report) else None
    return shortened(str(report))


def shown_number(value: float) -> float:
    """Six decimals; of a small number, such as the volume of a nucleus in ml, six digits that count."""
    return round(value, 6) if abs(value) >= 0.001 else float(f"{value:.6g}")


def shortened(text: str) -> str:
    """A text of at most `MAX_TEXT` characters; of a longer one its beginning and its length."""
    return text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]}... ({len(text)} characters)"


def report_places(outputs: Path, wanted: Path | None) -> tuple[Path, ...]:
    """Where the report may go, best first.

    The requested file; else `report.json` beside the outputs, where the scorer does not read, or in them
    where they are mounted (what lies beside is gone with the container); else the folder for temporary files.
    """
    spare = tuple(
        Path(folder) / f"vesal-{FILE_NAME}"
        for folder in dict.fromkeys((os.environ.get("TMPDIR"), "/tmp"))
        if folder
    )
    if wanted is not None:
        return (wanted, *spare)
    outputs = Path(os.path.realpath(outputs))
    beside = (outputs if os.path.ismount(outputs) else outputs.parent) / FILE_NAME
    # A case `report` there takes its prompts from report.json, which must not be overwritten.
    return spare if has_case(beside.parent, beside.stem) else (beside, *spare)


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
    log.warning("no report: nothing could be written (%s); name another file for it", "; ".join(refused))
    return None


def _write(place: Path, text: str) -> None:
    """Write atomically: a reader sees the old file or the complete new one.

    Names of files may hold bytes that are no UTF-8, and JSON halves of characters: both are written as JSON's
    own escapes.
    """
    with replacing(place) as file:
        file.write(text.encode("utf-8", "backslashreplace"))

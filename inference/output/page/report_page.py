"""The page of a run, filled case by case; what goes wrong here costs the page, never a case."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np

from vesal.inference.data.case import Case
from vesal.inference.data.results import CaseReport, RunReport
from vesal.inference.io.temporary import replacing
from vesal.inference.output.page.document import page_of
from vesal.inference.output.page.pictures import CasePictures, pictures_of

log = logging.getLogger("vesal")

T = TypeVar("T")

MAX_BYTES = 20_000_000
"""Of all cases of a run together."""
CASE_BYTES = (30_000, 138_000)
"""Of one case, at least and at most; with the page's own style it then has about 150 kB at most."""


class ReportPage:
    """Keeps small pictures of each case, and writes the page at the end."""

    def __init__(self, cases: int = 1) -> None:
        """``cases``: how many are expected; of many, each has smaller pictures."""
        self._max_bytes = min(max(MAX_BYTES // max(1, cases), CASE_BYTES[0]), CASE_BYTES[1])
        self._pictures: dict[tuple[str, str], CasePictures] = {}
        self._reasons: dict[tuple[str, str], str] = {}

    def add(
        self,
        case: Case | None,
        labels: np.ndarray | None,
        report: CaseReport,
        presence: Mapping[int, np.ndarray] | None = None,
    ) -> None:
        """Keep the pictures of a case that has ended; nothing of the arrays is kept.

        Never raises an error: it is logged with its traceback, and the page says why there is no picture.

        Args:
            case: None where it was not read.
            labels: (D, H, W) whole numbers as ``case.image`` lies; None where there is no result.
            report: of the case.
            presence: (D,) 0..1 or NaN by prompt id, where the network tells it.
        """
        key = _key(report)
        if case is None or labels is None:
            self._reasons[key] = "There is no picture, as the case has no result."
            return
        try:
            ids = [prompt.id for prompt in report.prompts]
            pictures = pictures_of(case, labels.reshape(case.image.shape), ids, self._max_bytes)
            self._pictures[key] = replace(pictures, presence=dict(presence or {}))
        except Exception as error:
            log.exception("case %s: no pictures for the report", report.name)
            self._reasons[key] = f"Its pictures could not be made: {type(error).__name__}: {error}"

    def write(self, path: Path, report: RunReport) -> Path | None:
        """Write the page atomically; return its path, or None with the error in the log.

        It links to the JSON file of the same name where that is there.
        """
        try:
            beside = path.with_suffix(".json")
            text = page_of(
                report,
                _by_number(self._pictures, report),
                _by_number(self._reasons, report),
                beside.name if beside.is_file() else None,
            )
            with replacing(path) as file:
                file.write(text.encode("utf-8", "backslashreplace"))
        except Exception:
            log.exception("no report page: %s could not be written", path)
            return None
        log.info("report page: %s", path)
        return path


def _by_number(of_key: Mapping[tuple[str, str], T], report: RunReport) -> dict[int, T]:
    keys = enumerate(map(_key, report.cases))
    return {number: of_key[key] for number, key in keys if key in of_key}


def _key(report: CaseReport) -> tuple[str, str]:
    """What tells the cases of a run apart."""
    return report.input, report.output

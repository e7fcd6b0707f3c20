"""The cases of a run, whichever way they are named, their records and where the report goes.

What own scans need is imported for them alone: the contract's start is counted in milliseconds.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vesal.inference.data.errors import MissingPackageError, UsageError
from vesal.inference.io.formats import side_files
from vesal.inference.output.report import FILE_NAME
from vesal.inference.runner.asked import with_asked
from vesal.inference.runner.case_paths import CasePaths, find_cases, make_folder
from vesal.inference.runner.case_record import CaseRecord
from vesal.inference.runner.settings import Settings

if TYPE_CHECKING:
    from vesal.inference.api import Model
    from vesal.inference.output.page.report_page import ReportPage
    from vesal.inference.stages.segmentation import Segmentation

NO_LIMIT = float("inf")
REPORT_FOLDER = "report"


def find_all(settings: Settings) -> tuple[CasePaths, ...]:
    """The cases with their outputs; folders are made unless it is a dry run. Raises UsageError."""
    if not settings.is_own:
        found = find_cases(settings.inputs, settings.outputs, make=False)
        _check_report(found, settings)
        if not settings.dry_run:
            make_folder(found[0].output.parent)
        return tuple(with_asked(pair, settings) for pair in found)
    from vesal.inference.runner.own_cases import check_asked, find_own_cases, make_folders
    from vesal.inference.runner.own_proof import side_outputs

    pairs = find_own_cases(settings)
    _check_report(pairs, settings, [path for pair in pairs for path in side_outputs(pair.output)])
    if settings.dicom_seg:
        _check_dicom_seg()
    check_asked(pairs, settings)
    if not settings.dry_run:
        make_folders(pairs)
    return pairs


def _check_report(pairs: Sequence[CasePaths], settings: Settings, others: Sequence[Path] = ()) -> None:
    """Raise UsageError where `--report` is a folder, or report or page would replace what is read or made.

    ``others`` are files that are written beside the label maps.
    """
    report = settings.report
    if report is None:
        return
    if report.is_dir():
        raise UsageError(f"--report {report} is a folder; give a file, such as {report / FILE_NAME}.")
    kept = [path for pair in pairs for path in (pair.input, pair.output, *side_files(pair.input))]
    if settings.prompts is not None:
        kept.append(settings.prompts)
    by_path = {os.path.realpath(path): path for path in (*kept, *others)}
    for written in (report, report.with_suffix(".html")):
        if (path := by_path.get(os.path.realpath(written))) is not None:
            raise UsageError(f"--report {report}: it would replace {path}; give another file.")


def _check_dicom_seg() -> None:
    """Raise UsageError where what writes a DICOM-SEG is not installed."""
    from vesal.inference.io.dicom_seg import check_dicom_seg

    try:
        check_dicom_seg()
    except MissingPackageError as error:
        raise UsageError(str(error)) from error


def new_record(pair: CasePaths, settings: Settings, now: Callable[[], float]) -> CaseRecord:
    """The record of a case; one whose label map is there already, and may stay, is skipped."""
    if not pair.is_own:
        return CaseRecord(pair, now)
    from vesal.inference.runner.own_output import OwnOutput, may_stay

    record = CaseRecord(pair, now, OwnOutput(pair, settings))
    record.skipped = may_stay(pair, settings)
    return record


def budget_of(pair: CasePaths, settings: Settings) -> float | None:
    """Seconds of a case; None: by its number of prompts. Own scans take as long as they take."""
    return NO_LIMIT if pair.is_own and settings.seconds is None else settings.seconds


def write_result(record: CaseRecord, result: Segmentation, model: Model) -> None:
    """Write what a case gave: the label map of the contract, or all files of an own scan."""
    if not record.paths.is_own:
        record.output.write_labels(result.labels)
        return
    from vesal.inference.runner.own_result import write_own_result

    write_own_result(record, result, model)


def open_page(records: Sequence[CaseRecord], settings: Settings) -> ReportPage | None:
    """The page of a run, where one is wanted: of own scans, and where it is asked for."""
    if not (settings.is_own or settings.page):
        return None
    from vesal.inference.output.page.report_page import ReportPage

    return ReportPage(len(records))


def report_file(records: Sequence[CaseRecord], settings: Settings) -> Path | None:
    """The report's file: the one that is wanted; for own scans in `report/` beside the first label map; None:
    as the contract has it.
    """
    if settings.report is not None or not settings.is_own:
        return settings.report
    return records[0].paths.output.parent / REPORT_FOLDER / FILE_NAME

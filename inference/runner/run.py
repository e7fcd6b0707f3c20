"""Run all cases in turn (`one_case`): every one gets a valid output and an entry in the report."""

import logging
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from vesal.inference.data.results import GOOD, NOT_RUN, SKIPPED
from vesal.inference.io.formats import open_case
from vesal.inference.io.npz_labels import holds_npz_labels
from vesal.inference.io.prompt_files import check_prompts_file
from vesal.inference.io.temporary import sweep
from vesal.inference.output.logs import bar
from vesal.inference.output.report import write_report
from vesal.inference.runner.case_list import (
    budget_of,
    find_all,
    new_record,
    open_page,
    report_file,
)
from vesal.inference.runner.case_record import CaseRecord
from vesal.inference.runner.deadline import run_until
from vesal.inference.runner.lazy_model import LazyModel, check_settings
from vesal.inference.runner.lazy_model import load_model as _open_model
from vesal.inference.runner.one_case import SHAPE_S, run_case, write_missing_zeros, zeros_of
from vesal.inference.runner.run_report import run_report
from vesal.inference.runner.settings import Settings
from vesal.inference.runner.signals import Terminated, block_signals, terminable
from vesal.inference.timing.clock import LEAST_BUDGET_S

if TYPE_CHECKING:
    from vesal.inference.api import Model
    from vesal.inference.output.page.report_page import ReportPage

log = logging.getLogger("vesal")

ALL_DONE = "all cases done"
WRITE_GRACE_S = 2.0
"""How long SIGTERM waits for a file that is being written; `docker stop` kills after 10 s."""

ALL_GOOD, FELL_BACK, STOPPED, TERMINATED = 0, 1, 130, 143
"""Exit codes; the last two are the shell's for SIGINT and SIGTERM. Wrong usage, 2, by `command`."""


def run(
    settings: Settings,
    open_model: Callable[[Settings], "Model"] | None = None,
    started: float | None = None,
    now: Callable[[], float] = time.monotonic,
    listening: Callable[[], None] = lambda: None,
) -> int:
    """Segment every case of `settings.inputs` in turn, write the report and return the exit code.

    `open_model` (by default `api.load`) is called when the first case needs it, and once more after each
    abandoned case. `started` is the moment of the clock `now` from which the first case's time counts, by
    default the present one; `listening` is called when SIGTERM is handled here. Every case has a valid output
    afterwards, also when SIGTERM came; from before the first case is read on they are zeros, so that a run
    which is killed leaves none out. Raises UsageError where the paths cannot be used, PromptError where the
    file of prompts serves none of the cases, and what `check_settings` raises, with nothing written.
    """
    started = now() if started is None else started
    if settings.seconds is not None and settings.seconds < LEAST_BUDGET_S:
        log.warning(
            "%g s a case: on a busy machine the start alone may take longer; %g s and more are kept",
            *(settings.seconds, LEAST_BUDGET_S),
        )
    if open_model is None:
        check_settings(settings)
    pairs = find_all(settings)
    if settings.prompts is not None and not settings.has_table:
        check_prompts_file(settings.prompts, settings.dataset, [pair.name for pair in pairs])
    if settings.dry_run:
        from vesal.inference.runner.dry_run import dry_run

        return dry_run(pairs, settings, open_model or _open_model)
    records = [new_record(pair, settings, now) for pair in pairs]
    sweep(records[0].paths.output.parent)
    model = LazyModel(settings, open_model or _open_model)
    page = open_page(records, settings)
    with terminable():
        try:
            # Blocked by `command` until the cases are known, so that the earliest SIGTERM leaves outputs.
            listening()
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
            _run_all(records, settings, model, started + _write_all_zeros(records), page)
            all_good = all(record.close().state in GOOD for record in records)
            code, ended = (ALL_GOOD, ALL_DONE) if all_good else (FELL_BACK, _ending(records))
            block_signals()
        except Terminated:
            code, ended = TERMINATED, "SIGTERM"
            _stop_writing(records)
            for record in records:
                write_missing_zeros(record)
        except KeyboardInterrupt:
            block_signals()
            code, ended = STOPPED, "stopped from the keyboard"
            _stop_writing(records)
        report = run_report(
            settings, model, [record.close() for record in records], now() - started, ended, code
        )
        place = write_report(report, settings.outputs, report_file(records, settings))
        # Where all were skipped there is nothing to see, and a page of the run before stays.
        if page is not None and place is not None and any(case.state != SKIPPED for case in report.cases):
            page.write(place.with_suffix(".html"), report)
    good = sum(case.state in GOOD for case in report.cases)
    log.info("%s: %d of %d good, %.2f s, %.0f MB", ended, good, len(records), report.seconds, report.peak_mb)
    return code


def _ending(records: Sequence[CaseRecord]) -> str:
    """How a run ended in which not all is good."""
    left_out = any(record.close().state == NOT_RUN for record in records)
    return "stopped at the first error" if left_out else ALL_DONE


def _write_all_zeros(records: Sequence[CaseRecord]) -> float:
    """Write zeros for every case where there are several; return the seconds that this took.

    A label map of an earlier run stays until the case's turn, if it has the right shape.

    They are on nobody's account: a case's limit leaves `clock.OUTSIDE_S` to what surrounds it. A file that is
    not read in `SHAPE_S` gets its zeros when its turn comes.
    """
    if len(records) == 1 or records[0].paths.is_own:
        return 0.0
    began = records[0].now()
    for record in records:
        start = record.now()
        with suppress(Exception):  # told when the case is run
            run_until(partial(_write_zeros, record), lambda start=start: start + SHAPE_S, record.now)  # type: ignore[misc]
    return records[0].now() - began


def _write_zeros(record: CaseRecord) -> None:
    with open_case(record.paths.input) as reader:
        if not holds_npz_labels(record.paths.output, reader.shape):
            zeros_of(record, reader)


def _run_all(
    records: Sequence[CaseRecord],
    settings: Settings,
    model: LazyModel,
    started: float,
    page: "ReportPage | None",
) -> None:
    """Run the cases in turn; the first one's time counts from `started`. What the page takes is on nobody's
    account.
    """
    with bar(len(records), "cases", "case") as progress_bar:
        for number, record in enumerate(records):
            if record.skipped:
                progress_bar.update()
                continue
            record.for_page = page is not None
            record.begin(started if number == 0 else record.now(), budget_of(record.paths, settings))
            run_case(record, settings, model)
            if page is not None:
                case, labels, presence = record.shown or (None, None, {})
                page.add(case, labels, record.close(), presence)
                record.shown = None
            progress_bar.update()
            if settings.stop_at_error and record.error is not None:
                return


def _stop_writing(records: Sequence[CaseRecord]) -> None:
    """Close every output; the case under way may finish the file that it is writing."""
    for record in records:
        if record.started is not None and not record.closed:
            record.output.close(WRITE_GRACE_S)
            record.note_progress()
        record.output.close(0.0)

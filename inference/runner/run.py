"""Run all cases: every one gets a valid output and an entry in the report, whatever happens.

A case that has not ended at its deadline is abandoned with what is on disk, and the next one begins with a
new model: a network that hangs in one case costs no other.
"""

import logging
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from vesal.inference.data.case import Case
from vesal.inference.data.errors import CaseError
from vesal.inference.data.results import GOOD, NOT_RUN, SKIPPED, CaseReport
from vesal.inference.data.terms import OFF
from vesal.inference.io.formats import CaseReader, CountsPrompts, open_case, read_shape, unused_choices
from vesal.inference.io.npz_labels import holds_npz_labels
from vesal.inference.io.prompt_files import check_prompts_file
from vesal.inference.io.temporary import sweep
from vesal.inference.output.case_output import NOTHING
from vesal.inference.output.logs import bar, window_bar
from vesal.inference.output.prompt_warnings import prompt_warning
from vesal.inference.output.report import write_report
from vesal.inference.prompts.case_meaning import settle
from vesal.inference.prompts.parser import parse_case
from vesal.inference.runner.asked import prompts_of
from vesal.inference.runner.case_list import (
    NO_LIMIT,
    budget_of,
    find_all,
    new_record,
    open_page,
    report_file,
    write_result,
)
from vesal.inference.runner.case_record import CaseRecord
from vesal.inference.runner.deadline import run_until
from vesal.inference.runner.lazy_model import LazyModel, check_settings, takes_stored_numbers
from vesal.inference.runner.lazy_model import load_model as _open_model
from vesal.inference.runner.run_report import run_report
from vesal.inference.runner.settings import Settings
from vesal.inference.runner.signals import Terminated, block_signals, terminable
from vesal.inference.runner.spatial_options import give_marks
from vesal.inference.timing.clock import LEAST_BUDGET_S, Clock, case_budget_s

if TYPE_CHECKING:
    from vesal.inference.api import Model
    from vesal.inference.output.page.report_page import ReportPage

log = logging.getLogger("vesal")

ALL_DONE = "all cases done"
WRITE_GRACE_S = 2.0
"""How long SIGTERM waits for a file that is being written; `docker stop` kills after 10 s."""
SHAPE_S = 1.0
"""How long reading the shape of an unread case may take, when its zeros are written."""

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
                _write_missing_zeros(record)
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
            _zeros_of(record, reader)


def _zeros_of(record: CaseRecord, reader: CaseReader) -> None:
    """Write the zeros of a case that is open, unless they are there."""
    if record.output.written == NOTHING:
        with record.step("zeros"):
            record.output.write_zeros(reader.shape, reader.header)


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
            if not run_until(partial(_run_case, record, settings, model), record.deadline, record.now):
                _abandon(record, model)
            if page is not None:
                case, labels, presence = record.shown or (None, None, {})
                page.add(case, labels, record.close(), presence)
                record.shown = None
            progress_bar.update()
            if settings.stop_at_error and record.error is not None:
                return


def _run_case(record: CaseRecord, settings: Settings, model: LazyModel) -> None:
    """Run one case: write zeros at once, then its result. An error ends this case only."""
    try:
        with open_case(record.paths.input, settings.reading) as reader:
            _zeros_of(record, reader)
            # The prompts first: their number decides how long the volume may take.
            give_marks(reader, settings.marks, record)
            if isinstance(reader, CountsPrompts):
                count = reader.count_prompts(prompts_of(record.paths, settings), settings.dataset)
                record.interactive = getattr(reader, "interactive", False)
                record.expect(count)
            with record.step("read"):
                _read(record, reader, settings)
        _segment(record, settings, model)
    except Exception as error:
        if record.closed:
            return  # it was abandoned, which the main thread has told; what it computed was cancelled
        record.error = f"{type(error).__name__}: {error}"
        told = record.paths.name, record.output.written, record.error
        # What is wrong with a case is told by the error; of all others it matters where they were raised.
        log.error(
            "case %s fell back, its output holds %s: %s", *told, exc_info=not isinstance(error, CaseError)
        )
    _log_end(record, record.close())


def _abandon(record: CaseRecord, model: LazyModel) -> None:
    """End a case that has not ended by its deadline: the best result on disk is its result."""
    step = record.step_now
    record.output.close(record.left_s())
    record.note_progress()
    model.abandon()
    _write_missing_zeros(record)
    record.error = f"time was up in the step {step!r}; the output holds {record.output.written}"
    log.error("case %s was abandoned: %s", record.paths.name, record.error)
    _log_end(record, record.close())


def _stop_writing(records: Sequence[CaseRecord]) -> None:
    """Close every output; the case under way may finish the file that it is writing."""
    for record in records:
        if record.started is not None and not record.closed:
            record.output.close(WRITE_GRACE_S)
            record.note_progress()
        record.output.close(0.0)


def _read(record: CaseRecord, reader: CaseReader, settings: Settings) -> None:
    """Read the case, with what the user gave beside the text, unless that is not wanted."""
    case = reader.read(prompts_of(record.paths, settings), settings.dataset)
    unused = unused_choices(record.paths.input, settings.reading)
    record.case = replace(case, notes=(*case.notes, *unused)) if unused else case
    if settings.hybrid != OFF:
        record.case = _with_user_prompts(record.case, record, reader)


def _segment(record: CaseRecord, settings: Settings, model: LazyModel) -> None:
    """Parse, segment and write the case that was read, noting each step."""
    assert record.case is not None
    with record.step("prompts"):
        record.prompts, record.modality = parse_case(
            record.case, lambda: model().text_encoder, record.paths.modality
        )
        # The numbers as they are stored are let go here, so nothing else holds the case meanwhile.
        keep = record.case.stored is not None and takes_stored_numbers(settings.weights)
        case = record.case = settle(record.case, record.prompts, record.modality, keep)
    assert record.started is not None
    clock = record.clock = Clock(
        case_budget_s(len(record.prompts), budget_of(record.paths, settings), record.case.interactive),
        record.started,
        record.now,
        write_s=record.seconds_of("zeros"),
    )
    size = "x".join(map(str, case.image.shape))
    limit = "no limit" if clock.budget_s == NO_LIMIT else f"{clock.budget_s:.0f} s"
    log.info("case %s: %s voxels, %d prompts, %s", case.name, size, len(record.prompts), limit)
    for note in case.notes:
        log.warning("  %s", note)
    with record.step("open"):
        opened = model()
    more = {"keep_probabilities": True, "smaller_wins": True} if record.paths.is_own else {}
    with record.step("segment"), window_bar() as show:
        result = opened.segment_case(
            case,
            record.prompts,
            clock,
            record.output.write_so_far,
            watch=record.watch,
            progress=lambda done: not record.closed and show(done),
            **more,
        )
    record.stages, record.ladder = tuple(result.stages), tuple(result.ladder)
    record.fallbacks += result.fallbacks
    for note in result.notes:
        log.warning("  %s", note)
    record.case = replace(case, notes=(*case.notes, *result.notes))
    with record.step("write"):
        write_result(record, result, opened)
    if record.for_page:
        record.shown = record.case, result.labels, result.presence_along_d()
    # Only now: what they count must be what the file holds.
    record.prompt_results = result.prompts
    record.finished = True


def _with_user_prompts(case: Case, record: CaseRecord, reader: CaseReader) -> Case:
    """The case with the user's mask, boxes and points; what is invalid is reported and ignored."""
    found = reader.read_user_prompts(case.sentences, case.image.shape, case.instance)
    record.fallbacks += found.fallbacks
    return replace(case, user=found.user, notes=(*case.notes, *found.notes))


def _log_end(record: CaseRecord, report: CaseReport) -> None:
    """Log how a case ended: empty prompts and fallbacks, then one line with seconds and MB."""
    for outcome in report.prompts:
        told = prompt_warning(outcome)
        if told is not None:
            log.warning("  %s", told)
    for fallback in report.fallbacks:
        log.warning("  fallback: %s", fallback)
    log.info("  %s, %.2f s, %.0f MB -> %s", report.state, report.seconds, report.peak_mb, record.paths.output)


def _write_missing_zeros(record: CaseRecord) -> None:
    """Write zeros for a case without an output, so that none is missing."""
    if record.output.written != NOTHING or record.paths.is_own:
        return
    shapes: list[tuple[int, ...] | None] = []
    began = record.now()
    # The disk of the case may be the reason that it hangs.
    run_until(lambda: shapes.append(read_shape(record.paths.input)), lambda: began + SHAPE_S, record.now)
    record.output.write_missing_zeros(shapes[0] if shapes else None)

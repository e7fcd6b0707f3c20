"""One case, from its file to its result and report: an error, or its deadline, ends this case only.

A case that has not ended at its deadline is abandoned with what is on disk, and the next one begins with a
new model: a network that hangs in one case costs no other.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from vesal.inference.data.case import Case
from vesal.inference.data.errors import CaseError
from vesal.inference.data.results import CaseReport
from vesal.inference.data.terms import OFF
from vesal.inference.geometry.views import sides_text
from vesal.inference.io.formats import CaseReader, CountsPrompts, open_case, read_shape, unused_choices
from vesal.inference.output.case_output import NOTHING
from vesal.inference.output.logs import window_bar
from vesal.inference.output.prompt_warnings import prompt_warning
from vesal.inference.prompts.case_meaning import settle
from vesal.inference.prompts.parser import parse_case
from vesal.inference.runner.asked import prompts_of
from vesal.inference.runner.case_list import NO_LIMIT, budget_of, new_record, write_result
from vesal.inference.runner.case_paths import CasePaths
from vesal.inference.runner.case_record import CaseRecord
from vesal.inference.runner.deadline import run_until
from vesal.inference.runner.lazy_model import LazyModel, load_model, takes_stored_numbers
from vesal.inference.runner.settings import Settings
from vesal.inference.runner.spatial_options import give_marks
from vesal.inference.timing.clock import Clock, case_budget_s

if TYPE_CHECKING:
    from vesal.inference.api import Model

log = logging.getLogger("vesal")

SHAPE_S = 1.0
"""How long reading the shape of an unread case may take, when its zeros are written."""


class CaseRunner:
    """Cases one by one, with a model that stays loaded: what a worker of many cases holds."""

    def __init__(
        self,
        settings: Settings,
        open_model: "Callable[[Settings], Model] | None" = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """``open_model`` (by default `api.load`) is called when the first case needs it, and once more after
        each abandoned case.
        """
        self._settings, self._now = settings, now
        self._model = LazyModel(settings, open_model or load_model)

    def run(self, pair: CasePaths) -> CaseReport:
        """Run one case and return its report; raises nothing but what the system sends (SystemExit, ...)."""
        record = new_record(pair, self._settings, self._now)
        if not record.skipped:
            record.begin(self._now(), budget_of(pair, self._settings))
            run_case(record, self._settings, self._model)
        return record.close()


def run_case(record: CaseRecord, settings: Settings, model: LazyModel) -> None:
    """Run a case that has begun, to its end or to its deadline."""
    if not run_until(partial(_run, record, settings, model), record.deadline, record.now):
        _abandon(record, model)


def _run(record: CaseRecord, settings: Settings, model: LazyModel) -> None:
    """Run one case: write zeros at once, then its result. An error ends this case only."""
    try:
        with open_case(record.paths.input, settings.reading) as reader:
            zeros_of(record, reader)
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
        written = record.output.written
        what = "failed" if written == NOTHING else f"fell back, its output holds {written}"
        # What is wrong with a case is told by the error; of all others it matters where they were raised.
        told = record.paths.name, what, record.error
        log.error("case %s %s: %s", *told, exc_info=not isinstance(error, CaseError))
    _log_end(record, record.close())


def zeros_of(record: CaseRecord, reader: CaseReader) -> None:
    """Write the zeros of a case that is open, unless they are there."""
    if record.output.written == NOTHING:
        with record.step("zeros"):
            record.output.write_zeros(reader.shape, reader.header)


def _abandon(record: CaseRecord, model: LazyModel) -> None:
    """End a case that has not ended by its deadline: the best result on disk is its result."""
    step = record.step_now
    record.output.close(record.left_s())
    record.note_progress()
    model.abandon()
    write_missing_zeros(record)
    record.error = f"time was up in the step {step!r}; the output holds {record.output.written}"
    log.error("case %s was abandoned: %s", record.paths.name, record.error)
    _log_end(record, record.close())


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
    size = sides_text(case.image.shape)
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


def write_missing_zeros(record: CaseRecord) -> None:
    """Write zeros for a case without an output, so that none is missing."""
    if record.output.written != NOTHING or record.paths.is_own:
        return
    shapes: list[tuple[int, ...] | None] = []
    began = record.now()
    # The disk of the case may be the reason that it hangs.
    run_until(lambda: shapes.append(read_shape(record.paths.input)), lambda: began + SHAPE_S, record.now)
    record.output.write_missing_zeros(shapes[0] if shapes else None)

"""Run all cases: every one gets a valid output and an entry in the report, whatever happens.

A case that has not ended at its deadline is abandoned with what is on disk, and the next one begins with a
new model: a network that hangs in one case costs no other.
"""

import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from types import FrameType
from typing import TYPE_CHECKING, Any

from vesal import __version__
from vesal.inference.data.case import Case
from vesal.inference.data.errors import VesalError
from vesal.inference.data.results import OK, CaseReport, RunReport
from vesal.inference.data.terms import OFF
from vesal.inference.io.formats import CaseReader, CountsPrompts, open_case, read_shape
from vesal.inference.io.npz_labels import holds_npz_labels
from vesal.inference.io.prompt_files import check_prompts_file
from vesal.inference.io.temporary import sweep
from vesal.inference.output.case_output import NOTHING
from vesal.inference.output.logs import bar
from vesal.inference.output.report import write_report
from vesal.inference.prompts.case_meaning import settle
from vesal.inference.prompts.parser import parse_case
from vesal.inference.runner.case_paths import find_cases
from vesal.inference.runner.case_record import CaseRecord
from vesal.inference.runner.deadline import run_until
from vesal.inference.runner.settings import Settings
from vesal.inference.runner.spatial_options import give_marks
from vesal.inference.runtime.choice import check_runtime
from vesal.inference.runtime.machine import peak_mb, processor
from vesal.inference.timing.clock import LEAST_BUDGET_S, Clock, case_budget_s

if TYPE_CHECKING:
    from vesal.inference.api import Model

log = logging.getLogger("vesal")

WRITE_GRACE_S = 2.0
"""How long SIGTERM waits for a file that is being written; `docker stop` kills after 10 s."""
SHAPE_S = 1.0
"""How long reading the shape of an unread case may take, when its zeros are written."""

ALL_GOOD, FELL_BACK, STOPPED, TERMINATED = 0, 1, 130, 143
"""Exit codes; the last two are the shell's for SIGINT and SIGTERM. Wrong usage, 2, by `command`."""


class Terminated(BaseException):
    """SIGTERM came. Not an Exception, so that no handler takes it for an error of a case."""


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
    records = [CaseRecord(paths, now) for paths in find_cases(settings.inputs, settings.outputs)]
    if settings.prompts is not None:
        check_prompts_file(settings.prompts, settings.dataset, [record.paths.name for record in records])
    sweep(records[0].paths.output.parent)
    model = LazyModel(settings, open_model or _open_model)
    with _terminable():
        try:
            # Blocked by `command` until the cases are known, so that the earliest SIGTERM leaves outputs.
            listening()
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
            _run_all(records, settings, model, started + _write_all_zeros(records))
            code = ALL_GOOD if all(record.close().state == OK for record in records) else FELL_BACK
            ended = "all cases done"
            _block_signals()
        except Terminated:
            code, ended = TERMINATED, "SIGTERM"
            _stop_writing(records)
            for record in records:
                _write_missing_zeros(record)
        except KeyboardInterrupt:
            _block_signals()
            code, ended = STOPPED, "stopped from the keyboard"
            _stop_writing(records)
        report = _run_report(
            settings, model, [record.close() for record in records], now() - started, ended, code
        )
        write_report(report, settings.outputs, settings.report)
    good = sum(case.state == OK for case in report.cases)
    log.info("%s: %d of %d good, %.2f s, %.0f MB", ended, good, len(records), report.seconds, report.peak_mb)
    return code


class LazyModel:
    """The model, opened at first use; if that fails, it is not tried again.

    `model` is the one opened last.
    """

    def __init__(self, settings: Settings, open_model: Callable[[Settings], "Model"]) -> None:
        """Keep what is needed to open it."""
        self._settings = settings
        self._open = open_model
        self._failure: str | None = None
        self._in_use = False
        self.model: Model | None = None

    def __call__(self) -> "Model":
        """Return the model. Raises what opening it raised, and later a VesalError that repeats it."""
        if self._failure is not None:
            raise VesalError(f"The weights could not be opened before: {self._failure}")
        if self.model is None or self._in_use:
            try:
                self.model, self._in_use = self._open(self._settings), False
            except Exception as error:
                self._failure = f"{type(error).__name__}: {error}"
                raise
        return self.model

    def abandon(self) -> None:
        """Stop what this one computes for an abandoned case; the next case opens another one."""
        if self.model is not None and not self._in_use:
            self.model.cancel()
        self._in_use = True


def check_settings(settings: Settings) -> None:
    """Find the mistakes that would cost every case before anything is written.

    Raises:
        ProfileError: there are no such weights, or files are missing. Damaged ones cost each case its result,
        as
            hashing gigabytes has to wait until outputs are there.
        RuntimeChoiceError: the runtime that is wanted does not start here, or none is installed.
    """
    from vesal.inference.engine import TEXT_WEIGHTS
    from vesal.inference.families.registry import check_profile
    from vesal.inference.planning.profile import read_profile
    from vesal.inference.planning.weights_folder import weights_folder
    from vesal.inference.prompts.sentence_encoder import check_text_weights

    capabilities = check_profile(read_profile(weights_folder(settings.weights), check_digests=False))
    if not capabilities.open_vocabulary:
        check_text_weights(TEXT_WEIGHTS)
    check_runtime(settings.runtime, settings.threads)


def _open_model(settings: Settings) -> "Model":
    """Load the model; imported here so that a wrong command line fails fast."""
    from vesal.inference.api import load

    return load(
        settings.weights, threads=settings.threads, runtime=settings.runtime, mask_stage=settings.hybrid
    )


def _write_all_zeros(records: Sequence[CaseRecord]) -> float:
    """Write zeros for every case where there are several; return the seconds that this took.

    A label map of an earlier run stays until the case's turn, if it has the right shape.

    They are on nobody's account: a case's limit leaves `clock.OUTSIDE_S` to what surrounds it. A file that is
    not read in `SHAPE_S` gets its zeros when its turn comes.
    """
    if len(records) == 1:
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


def _run_all(records: Sequence[CaseRecord], settings: Settings, model: LazyModel, started: float) -> None:
    """Run the cases in turn; the first one's time counts from `started`."""
    with bar(len(records), "cases", "case") as progress_bar:
        for number, record in enumerate(records):
            record.begin(started if number == 0 else record.now(), settings.seconds)
            if not run_until(partial(_run_case, record, settings, model), record.deadline, record.now):
                _abandon(record, model)
            progress_bar.update()


def _run_case(record: CaseRecord, settings: Settings, model: LazyModel) -> None:
    """Run one case: write zeros at once, then its result. An error ends this case only."""
    try:
        with open_case(record.paths.input) as reader:
            _zeros_of(record, reader)
            # The prompts first: their number decides how long the volume may take.
            give_marks(reader, settings.marks, record)
            if isinstance(reader, CountsPrompts):
                count = reader.count_prompts(settings.prompts, settings.dataset)
                record.expect(count, getattr(reader, "interactive", False))
            with record.step("read"):
                _read(record, reader, settings)
        _segment(record, settings, model)
    except Exception as error:
        if record.closed:
            return  # it was abandoned, which the main thread has told; what it computed was cancelled
        log.exception("case %s fell back, its output holds %s", record.paths.name, record.output.written)
        record.error = f"{type(error).__name__}: {error}"
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
    record.case = reader.read(settings.prompts, settings.dataset)
    if settings.hybrid != OFF:
        record.case = _with_user_prompts(record.case, record, reader)


def _segment(record: CaseRecord, settings: Settings, model: LazyModel) -> None:
    """Parse, segment and write the case that was read, noting each step."""
    assert record.case is not None
    with record.step("prompts"):
        record.prompts, record.modality = parse_case(record.case, lambda: model().text_encoder)
        # The numbers as they are stored are let go here, so nothing else holds the case meanwhile.
        case = record.case = settle(record.case, record.prompts, record.modality)
    assert record.started is not None
    clock = record.clock = Clock(
        case_budget_s(len(record.prompts), settings.seconds, record.case.interactive),
        record.started,
        record.now,
        write_s=record.seconds_of("zeros"),
    )
    size = "x".join(map(str, case.image.shape))
    log.info("case %s: %s voxels, %d prompts, %.0f s", case.name, size, len(record.prompts), clock.budget_s)
    for note in case.notes:
        log.warning("  %s", note)
    with record.step("open"):
        opened = model()
    with record.step("segment"):
        result = opened.segment_case(
            case,
            record.prompts,
            clock,
            record.output.write_so_far,
            watch=record.watch,
            progress=lambda done: not record.closed,
        )
    record.stages, record.ladder = tuple(result.stages), tuple(result.ladder)
    record.fallbacks += result.fallbacks
    for note in result.notes:
        log.warning("  %s", note)
    record.case = replace(case, notes=(*case.notes, *result.notes))
    with record.step("write"):
        record.output.write_labels(result.labels)
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
        if outcome.covered is False:
            log.warning("  prompt %d is empty: %s", outcome.id, outcome.why)
    for fallback in report.fallbacks:
        log.warning("  fallback: %s", fallback)
    log.info("  %s, %.2f s, %.0f MB -> %s", report.state, report.seconds, report.peak_mb, record.paths.output)


def _write_missing_zeros(record: CaseRecord) -> None:
    """Write zeros for a case without an output, so that none is missing."""
    if record.output.written != NOTHING:
        return
    shapes: list[tuple[int, ...] | None] = []
    began = record.now()
    # The disk of the case may be the reason that it hangs.
    run_until(lambda: shapes.append(read_shape(record.paths.input)), lambda: began + SHAPE_S, record.now)
    record.output.write_missing_zeros(shapes[0] if shapes else None)


@contextmanager
def _terminable() -> Iterator[None]:
    """Turn the first SIGTERM into `Terminated` and ignore later ones, so that cleanup is not cut short.

    Afterwards signals are handled, or blocked, as before.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def terminate(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise Terminated

    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _block_signals() -> None:
    """Block signals while the report is written: all outputs are complete.

    Blocking SIGTERM in this thread is not enough: the system delivers it to any thread that does not block
    it, such as those of a network's library, and Python then calls the handler here all the same.
    """
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})


def _run_report(
    settings: Settings, model: LazyModel, cases: Sequence[CaseReport], seconds: float, ended: str, code: int
) -> RunReport:
    return RunReport(
        version=__version__,
        weights=model.model.name if model.model else settings.weights,
        runtime=_runtime(model.model),
        processor=processor(),
        settings=settings,
        started=(datetime.now(UTC) - timedelta(seconds=seconds)).isoformat(timespec="seconds"),
        seconds=seconds,
        peak_mb=peak_mb(),
        exit_code=code,
        ended=ended,
        cases=tuple(cases),
        provenance=model.model.provenance if model.model else {},
    )


def _runtime(model: "Model | None") -> dict[str, Any]:
    """The runtime's entry in the report."""
    if model is None:
        return {"name": None, "reason": "the weights were never opened"}
    return model.runtime_report()

"""A worker: a model that stays loaded, and cases one after the other; the next one is brought meanwhile.

It knows nothing of other workers, and nothing that is wrong with a case ends it: it is in the case's record.
"""

from __future__ import annotations

import ctypes
import gc
import logging
import os
import traceback
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from vesal.cluster.brought import Brought, bring, put_result
from vesal.cluster.job import Job
from vesal.cluster.options import WorkerOptions
from vesal.cluster.places import redacted, shown, write_bytes
from vesal.cluster.record import FAILED, Record, TargetRow, record_place
from vesal.cluster.scratch import Scratch
from vesal.inference.data.results import OK, SKIPPED, CaseReport, PromptResult
from vesal.inference.runner.one_case import CaseRunner
from vesal.inference.runner.own_proof import proof_of
from vesal.inference.runner.settings import Settings

if TYPE_CHECKING:
    from vesal.inference.api import Model

log = logging.getLogger("vesal")

RENEWED_EVERY = 50
"""Cases after which a model is opened anew. The runtime keeps a little for each shape of view that it met,
a fifth of the worker's memory after 2,000 small scans; opening takes half a second.
"""


class CaseWorker:
    """Runs cases in turn. `fetch` and `run` are called from one thread."""

    def __init__(self, options: WorkerOptions, open_model: Callable[[Settings], Model] | None = None) -> None:
        """``open_model`` (by default `api.load`) is called at the first case that has to be run."""
        self._options = options
        self._open_model = open_model
        self._runner, self._run_cases = CaseRunner(options.settings, open_model), 0
        self._scratch = Scratch(options.scratch)
        # One thread: two scans at most are here, the one that is run and the next one.
        self._reader = ThreadPoolExecutor(1, "bring")
        self._coming: dict[str, Future[Brought]] = {}

    def fetch(self, job: Job) -> None:
        """Begin to bring a case here, and return at once."""
        if job.name not in self._coming:
            self._coming[job.name] = self._reader.submit(bring, job, self._options, self._scratch)

    def run(self, job: Job, attempt: int = 1) -> Record:
        """Run one case, or find it done; its record is written, and returned with the state of this run.

        Never raises for what is wrong with a case, its scan, its output or a store. What the process is sent
        (KeyboardInterrupt, SystemExit, ...) is raised.
        """
        self.fetch(job)
        coming = self._coming.pop(job.name)
        try:
            case = coming.result()
        except Exception as error:
            return self._failed(job, attempt, error)
        try:
            return self._found(case) if case.done else self._run(case, attempt)
        except Exception as error:
            log.debug("%s", redacted(traceback.format_exc()))
            return self._failed(job, attempt, error)
        finally:
            case.leave()

    def drop(self, job: Job) -> None:
        """Let go of a case that was to be brought and is run elsewhere."""
        coming = self._coming.pop(job.name, None)
        if coming is not None and not coming.cancel():
            with suppress(Exception):
                coming.result().leave()

    def close(self) -> None:
        """Remove what was brought."""
        self._reader.shutdown(wait=False, cancel_futures=True)
        self._scratch.close()

    def _run(self, case: Brought, attempt: int) -> Record:
        if self._run_cases == RENEWED_EVERY:
            self._renew()
        self._run_cases += 1
        report = self._runner.run(case.pair)
        record = self._record(case.job, report, attempt)
        if record.has_result:
            proof = proof_of(case.pair.output) or {}
            record = replace(record, sha256=proof.get("sha256"), marks=put_result(case))
        return self._written(record)

    def _renew(self) -> None:
        """Let go of the model, and of the memory that it had: the next case opens another one."""
        self._runner, self._run_cases = CaseRunner(self._options.settings, self._open_model), 0
        gc.collect()
        give_back = getattr(ctypes.CDLL(None), "malloc_trim", None)  # of the GNU C library alone
        if give_back is not None:
            give_back(0)

    def _record(self, job: Job, report: CaseReport, attempt: int) -> Record:
        told = [text for text in (report.error, *report.fallbacks) if text]
        return Record(
            name=job.name,
            source=shown(job.source),
            output=shown(job.output),
            state=report.state if report.error is None else FAILED,
            targets=tuple(map(_target, report.prompts)),
            seconds=round(report.seconds, 3),
            worker=self._options.worker,
            attempts=attempt,
            reason=redacted("; ".join(told)) or None,
            warnings=report.warnings,
            prompts=job.prompts,
        )

    def _found(self, case: Brought) -> Record:
        """The record of a case that was done before; where its record is lost it is made of the proof."""
        proof = proof_of(case.pair.output) or {}
        old, job = case.old, case.job
        if old is None or not old.has_result or old.sha256 != proof.get("sha256"):
            targets = tuple(map(_target_of_proof, proof.get("prompts", ())))
            old = Record(job.name, "", "", OK, targets, sha256=proof.get("sha256"))
        # Where it came from may have changed, and what its store tells of it.
        source, output = shown(job.source), shown(job.output)
        now = replace(old, source=source, output=output, marks=case.marks, prompts=job.prompts)
        if now != case.old:
            self._written(now)
        return replace(now, state=SKIPPED)

    def _failed(self, job: Job, attempt: int, error: Exception) -> Record:
        reason = redacted(f"{type(error).__name__}: {error}")
        log.error("case %s failed: %s", job.name, reason)
        record = failed_record(job, self._options.worker, attempt, reason)
        try:
            return self._written(record)
        except Exception as further:
            log.error("case %s: its record cannot be written: %s", job.name, redacted(str(further)))
            return record

    def _written(self, record: Record) -> Record:
        content = record.to_json().encode()
        write_bytes(record_place(self._options.output, record.name), content)
        return record


def failed_record(job: Job, worker: str, attempts: int, reason: str) -> Record:
    """Of a case without a result; the reason is `redacted`."""
    place = (shown(job.source), shown(job.output))
    return Record(
        job.name, *place, FAILED, worker=worker, attempts=attempts, reason=reason, prompts=job.prompts
    )


def worker_name(kind: str) -> str:
    """Name of this process in the records."""
    return f"{kind}-{os.uname().nodename}-{os.getpid()}"


def _target(result: PromptResult) -> TargetRow:
    return TargetRow(
        result.id,
        result.text,
        result.target,
        result.voxels,
        result.volume_ml,
        result.mean_probability,
        result.why,
    )


def _target_of_proof(told: dict[str, object]) -> TargetRow:
    names = ("id", "text", "target", "voxels", "volume_ml", "mean_probability", "why")
    return TargetRow(*(told.get(name) for name in names))  # type: ignore[arg-type]

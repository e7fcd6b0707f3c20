"""What is known about one case while it runs; it becomes the case's part of the report."""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from vesal.inference.data.case import Case
from vesal.inference.data.errors import CaseAbandoned
from vesal.inference.data.notes import cautions
from vesal.inference.data.prompt import Prompt
from vesal.inference.data.results import (
    FELL_BACK,
    NOT_RUN,
    OK,
    SKIPPED,
    CaseReport,
    LadderStep,
    PromptResult,
    StageReport,
)
from vesal.inference.output.case_output import CaseOutput
from vesal.inference.prompts.parser import ModalityChoice
from vesal.inference.runner.case_paths import CasePaths
from vesal.inference.runtime.machine import peak_mb
from vesal.inference.timing.clock import Clock, case_budget_s

if TYPE_CHECKING:
    from vesal.inference.stages.segmentation import Progress


class CaseRecord:
    """Filled step by step, so that a case that ends early still has a report."""

    def __init__(
        self,
        paths: CasePaths,
        now: Callable[[], float] = time.monotonic,
        output: CaseOutput | None = None,
    ) -> None:
        """Only the paths are known yet; `now` is the clock of all measurements."""
        self.paths = paths
        self.now = now
        self.output = output or CaseOutput(paths.output)
        self.skipped = False
        self.started: float | None = None
        self.clock: Clock | None = None
        self.case: Case | None = None
        self.prompts: tuple[Prompt, ...] = ()
        self.modality: ModalityChoice | None = None
        self.prompt_results: dict[int, PromptResult] = {}
        self.stages: tuple[StageReport, ...] = ()
        self.ladder: tuple[LadderStep, ...] = ()
        self.fallbacks: list[str] = []
        # Whether the prompts are classes of the challenge's interactive track.
        self.interactive = False
        self.error: str | None = None
        self._progress: Progress | None = None
        self.finished = False
        self.step_now = ""
        self._min_clock: Clock | None = None
        self._seconds: float | None = None
        self._seconds_of: dict[str, float] = {}
        # Where a page of the run is wanted: the case, its labels (D,H,W) and presence (D,), which it shows.
        self.for_page = False
        self.shown: tuple[Case, np.ndarray, Mapping[int, np.ndarray]] | None = None
        self._closed: CaseReport | None = None

    def begin(self, started: float, seconds: float | None) -> None:
        """Start the case; `seconds` is its budget, None: by its number of prompts."""
        self.started, self._seconds = started, seconds
        self.expect(1)

    def expect(self, prompts: int | None) -> None:
        """Set the clock by the number of prompts, before they are parsed; None: not known, it stays."""
        assert self.started is not None
        if prompts is not None:
            budget_s = case_budget_s(prompts, self._seconds, self.interactive)
            self._min_clock = Clock(budget_s, self.started, self.now)

    def deadline(self) -> float:
        """Moment at which the case is ended with what is on disk; for one prompt until they are counted."""
        clock = self.clock or self._min_clock
        assert clock is not None
        return clock.deadline()

    def left_s(self) -> float:
        """Seconds left of the budget."""
        clock = self.clock or self._min_clock
        assert clock is not None
        return clock.left_s()

    def seconds_of(self, step: str) -> float:
        """Seconds that a finished step took; 0 for any other."""
        return self._seconds_of.get(step, 0.0)

    def watch(self, progress: "Progress") -> None:
        """Keep the case's progress object; its lists are filled while the case runs."""
        self._progress = progress

    def note_progress(self) -> None:
        """Copy into the record what an unfinished case has run so far."""
        progress = self._progress
        if self.step_now == "segment" and progress is not None:
            self.stages, self.ladder = tuple(progress.stages), tuple(progress.ladder)
            self.fallbacks += progress.fallbacks

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Measure a step of the case. Raises CaseAbandoned where the case was abandoned meanwhile."""
        if self.closed:
            raise CaseAbandoned
        started, self.step_now = self.now(), name
        try:
            yield
        finally:
            self._seconds_of[name] = self.now() - started

    def close(self) -> CaseReport:
        """Make the report, once, and release the volume."""
        if self._closed is None:
            self._closed = self._report()
            self.case = None
        return self._closed

    @property
    def closed(self) -> bool:
        """Whether the report was made."""
        return self._closed is not None

    def _state(self) -> str:
        if self.skipped:
            return SKIPPED
        if self.started is None:
            return NOT_RUN
        return OK if self.finished and self.error is None and not self.fallbacks else FELL_BACK

    def _report(self) -> CaseReport:
        case, modality = self.case, self.modality
        return CaseReport(
            name=self.paths.name,
            input=str(self.paths.input),
            output=str(self.paths.output),
            state=self._state(),
            written=self.output.written,
            shape=case.image.shape if case else self.output.shape,
            spacing_dhw_mm=case.spacing_dhw_mm if case else None,
            instance=case.instance if case else None,
            dataset=case.dataset if case else None,
            modality=modality.modality if modality else None,
            modality_source=modality.source if modality else None,
            modality_why=modality.why if modality else None,
            notes=case.notes if case else (),
            warnings=cautions(case.notes) if case else (),
            prompts=tuple(
                self.prompt_results.get(prompt.id) or _unfinished_result(prompt) for prompt in self.prompts
            ),
            stages=tuple(self.stages),
            ladder=tuple(self.ladder),
            fallbacks=tuple(self.fallbacks),
            error=self.error,
            budget_s=self.clock.budget_s if self.clock and math.isfinite(self.clock.budget_s) else None,
            seconds=self.now() - self.started if self.started is not None else 0.0,
            seconds_of=dict(self._seconds_of),
            peak_mb=peak_mb(),
        )


def _unfinished_result(prompt: Prompt) -> PromptResult:
    """Result of a prompt whose case ended before the engine was done."""
    return PromptResult(
        id=prompt.id,
        text=prompt.text,
        target=prompt.target,
        modality=prompt.modality,
        found_by=prompt.found_by,
        why=prompt.why,
        covered=None,
        voxels=None,
        volume_ml=None,
        mean_probability=None,
    )

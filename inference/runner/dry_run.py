"""`--dry-run`: what would run in each case, with windows, seconds and memory; nothing is written.

Cases are read and their prompts understood, and of each one window is run, or two, by which the others are
estimated: only so the seconds are those of this machine.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from vesal.inference.data.case import Case
from vesal.inference.data.errors import CancelledError
from vesal.inference.data.prompt import Prompt
from vesal.inference.geometry.views import sides_text
from vesal.inference.io.formats import open_case
from vesal.inference.io.unnamed import TakesMarks
from vesal.inference.output.logs import one_line
from vesal.inference.output.text_table import aligned
from vesal.inference.prompts.case_meaning import settle
from vesal.inference.prompts.parser import parse_case
from vesal.inference.runner.asked import prompts_of
from vesal.inference.runner.case_paths import CasePaths
from vesal.inference.runner.lazy_model import takes_stored_numbers
from vesal.inference.runner.settings import Settings
from vesal.inference.runtime.machine import peak_mb
from vesal.inference.timing.clock import Clock
from vesal.inference.timing.progress import WindowProgress

if TYPE_CHECKING:
    from vesal.inference.api import Model

ALL_GOOD, FELL_BACK = 0, 1
WINDOWS_RUN = 2
"""The first one compiles the graph."""
HEADER = ("case", "voxels", "modality", "prompts", "windows", "seconds", "MB", "output")


@dataclass
class Estimate:
    """What a case is expected to take."""

    windows: int = 0
    """Of the stages that ran, or of the first one as it is planned."""
    seconds: float = 0.0
    more: int = 0
    """Views of a second stage, at most, whose number shows only when the first one has run."""
    window_s: float = 0.0
    whole: bool = False
    """Whether the case ran to its end: then nothing is estimated."""
    _at: list[float] = field(default_factory=list)

    def take(self, done: WindowProgress) -> bool:
        """Take note of a window; False where enough ran."""
        self.windows = max(done.planned, done.windows)
        self._at.append(done.seconds)
        self.window_s = self._at[-1] - self._at[-2] if len(self._at) > 1 else self._at[0]
        self.seconds = self._at[-1] + self.window_s * max(0, self.windows - done.windows)
        return len(self._at) < WINDOWS_RUN and done.windows < done.planned

    @property
    def shown_windows(self) -> str:
        """For the table."""
        return f"{self.windows} + up to {self.more}" if self.more else str(self.windows)

    @property
    def shown_seconds(self) -> str:
        """For the table: where a second stage comes, from without it to all of its views."""
        most = self.seconds + self.more * self.window_s
        return f"{self.seconds:.1f} to {most:.1f}" if self.more else f"{self.seconds:.1f}"


def dry_run(pairs: Sequence[CasePaths], settings: Settings, open_model: Callable[[Settings], Model]) -> int:
    """Print what would run; the exit code is 1 where a case cannot be read."""
    model = open_model(settings)
    rows: list[tuple[str, ...]] = [HEADER]
    lines, seconds = [], 0.0
    for pair in pairs:
        try:
            row, estimate, told = _case(pair, settings, model)
        except Exception as error:  # one case: the others are told as well
            lines.append(one_line(f"{pair.input} cannot be run: {type(error).__name__}: {error}"))
            continue
        rows.append(row)
        lines += told
        seconds += estimate.seconds
    failed = len(pairs) - (len(rows) - 1)
    text = "\n".join([*aligned(rows), *lines, f"{len(rows) - 1} cases, {seconds:.0f} s; nothing is written"])
    sys.stdout.write(text + "\n")
    return FELL_BACK if failed else ALL_GOOD


def _case(pair: CasePaths, settings: Settings, model: Model) -> tuple[tuple[str, ...], Estimate, list[str]]:
    """A row of the table, the estimate, and lines below the table on what is not covered."""
    if _is_skipped(pair, settings):
        return (pair.name, "-", "-", "-", "0", "0", "-", f"{pair.output} is there"), Estimate(), []
    with open_case(pair.input, settings.reading) as reader:
        if isinstance(reader, TakesMarks):
            reader.marks = settings.marks
        case = reader.read(prompts_of(pair, settings), settings.dataset)
    prompts, choice = parse_case(case, lambda: model.text_encoder, pair.modality)
    case = settle(case, prompts, choice, takes_stored_numbers(settings.weights))
    estimate = _estimate(case, prompts, model)
    told = [f"{pair.name}: prompt {id_} will be empty: {why}" for id_, why in _refused(case, prompts, model)]
    if not estimate.whole:
        covered = sum(max(1, len(prompt.targets)) for prompt in prompts) - len(told)
        estimate.more = covered if _refines(model) else 0
    shape = sides_text(case.image.shape)
    asked = ", ".join(prompt.target or prompt.text for prompt in prompts)
    row = (pair.name, shape, choice.modality, asked, estimate.shown_windows, estimate.shown_seconds)
    return (*map(one_line, row), f"{peak_mb():.0f}", str(pair.output)), estimate, told


def _estimate(case: Case, prompts: Sequence[Prompt], model: Model) -> Estimate:
    """Run a window or two."""
    estimate, began = Estimate(), time.monotonic()
    try:
        result = model.segment_case(
            case,
            prompts,
            Clock(float("inf"), began),
            lambda labels: None,
            watch=lambda progress: None,
            progress=estimate.take,
        )
    except CancelledError:
        return estimate
    estimate.windows = sum(stage.windows for stage in result.stages)
    estimate.seconds, estimate.whole = time.monotonic() - began, True
    return estimate


def _refused(case: Case, prompts: Sequence[Prompt], model: Model) -> list[tuple[int, str]]:
    """Prompts that the weights do not cover, and why."""
    engine = getattr(model, "engine", None)
    if engine is None:
        return []
    plan = engine.model.plan(prompts, engine.profile, case)
    return list(plan.refused.items())


def _refines(model: Model) -> bool:
    """Whether a second stage comes."""
    return len(getattr(getattr(model, "profile", None), "stages", ())) > 1


def _is_skipped(pair: CasePaths, settings: Settings) -> bool:
    if not (pair.is_own and settings.skip_existing):
        return False
    from vesal.inference.runner.own_output import may_stay

    return may_stay(pair, settings)

"""Report of a run, its cases, stages and prompts: plain dataclasses, written by `output.report`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

OK, FELL_BACK, NOT_RUN, SKIPPED = "ok", "fell back", "not run", "skipped"
GOOD = (OK, SKIPPED)
"""States of a case that nothing is wrong with; a skipped one has its label map from an earlier run."""


@dataclass(frozen=True)
class StageReport:
    """One pass over a region at one spacing.

    `name` is its `stage` (coarse, orientation or fine) with the `targets` of a fine view; `grid` is the
    (D, H, W) that was sampled, `windows` the windows that were run, `skipped` those
    that were skipped, `peak_mb` the process's peak memory by then, `why` the reason for spacing and window.
    """

    name: str
    stage: str
    targets: tuple[str, ...]
    spacing_dhw_mm: tuple[float, float, float] | None
    grid: tuple[int, int, int] | None
    windows: int
    skipped: int
    seconds: float
    peak_mb: float
    why: str


@dataclass(frozen=True)
class LadderStep:
    """Something of the plan that was dropped because time ran short.

    `why` gives the time left and the time needed, `at_s` the second of the case.
    """

    step: str
    why: str
    at_s: float


@dataclass(frozen=True)
class Candidate:
    """A target that may be what the user marked, and how well it agrees with that, 0..1."""

    target: str
    score: float


@dataclass(frozen=True)
class PromptResult:
    """Result of one prompt.

    `covered` says whether the weights cover the target, `objects` counts instances where wanted. `asked_as`
    is `target` where the network was given the vocabulary's target, `sentence` where its own text encoder
    was given the user's sentence as it stands, `user prompts` where there was none. None: unknown, as the
    case fell back before, or nothing was asked. `lost_to` counts voxels of its result that the label map has
    under the id of another prompt, by that id: a voxel has one id only. They are not in `voxels`.
    """

    id: int
    text: str
    target: str | None
    modality: str | None
    found_by: str
    why: str
    covered: bool | None
    voxels: int | None
    volume_ml: float | None
    mean_probability: float | None
    stages: tuple[str, ...] = ()
    objects: int | None = None
    asked_as: str | None = None
    lost_to: Mapping[int, int] = field(default_factory=dict)
    candidates: tuple[Candidate, ...] = ()
    """Of a prompt without a sentence the best five targets, the best first; that one is its ``target`` where
    its score is high enough for a name."""


@dataclass(frozen=True)
class CaseReport:
    """One case: where it came from, how it was understood, what ran, and how long it took.

    `state` is `ok`, `fell back`, `not run`, or `skipped` where the label map was there before.
    `written` says in words what the output file holds; `warnings` are those of the `notes` that tell of
    something that changes the result (`data.notes.Caution`);
    `seconds_of` holds the steps of the case beside the stages (read, prompts, engine, ...), `ladder` what was
    dropped to stay within the budget.
    """

    name: str
    input: str
    output: str
    state: str
    written: str
    shape: tuple[int, ...] | None = None
    spacing_dhw_mm: tuple[float, float, float] | None = None
    instance: bool | None = None
    dataset: str | None = None
    modality: str | None = None
    modality_source: str | None = None
    modality_why: str | None = None
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    prompts: tuple[PromptResult, ...] = ()
    stages: tuple[StageReport, ...] = ()
    ladder: tuple[LadderStep, ...] = ()
    fallbacks: tuple[str, ...] = ()
    error: str | None = None
    budget_s: float | None = None
    seconds: float = 0.0
    seconds_of: Mapping[str, float] = field(default_factory=dict)
    peak_mb: float = 0.0


@dataclass(frozen=True)
class RunReport:
    """One run of the container.

    `provenance` says where the weights come from (`planning.manifest.Provenance`); empty where they
    were never opened.
    """

    version: str
    weights: str
    runtime: Mapping[str, Any]
    processor: Any
    settings: Any
    started: str
    seconds: float
    peak_mb: float
    exit_code: int
    ended: str
    cases: tuple[CaseReport, ...] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)

"""One case through the stages: coarse, region, fine, filter, label map (docs/design.md)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from vesal.inference.data.case import Case
from vesal.inference.data.prompt import Prompt, Query
from vesal.inference.data.results import LadderStep, PromptResult, StageReport
from vesal.inference.data.terms import COARSE, FINE
from vesal.inference.families.contract import Model
from vesal.inference.families.network_input import intensity_statistics
from vesal.inference.geometry.tiles import without_padding
from vesal.inference.geometry.views import View
from vesal.inference.output.logs import bar, log_stage
from vesal.inference.planning.plan import Batch, Plan
from vesal.inference.runtime.machine import peak_mb
from vesal.inference.stages.filters import filter_components, filter_pass, split_into_objects
from vesal.inference.stages.label_map import LabelMap
from vesal.inference.stages.passes import coarse_rule, coarse_tasks, fine_task, run_coarse, run_fine
from vesal.inference.stages.prompt_results import prompt_results, stage_report
from vesal.inference.stages.regions import find_regions
from vesal.inference.stages.spatial_prompt import MaskPrompt, StageMask
from vesal.inference.stages.stage_result import StageResult
from vesal.inference.stages.view_task import ViewTask, Volume
from vesal.inference.timing.call_costs import CallCosts
from vesal.inference.timing.clock import Clock
from vesal.inference.timing.forecast import Forecast
from vesal.inference.timing.ladder import Ladder, PlannedStage
from vesal.inference.timing.progress import ProgressCallback

Save = Callable[[np.ndarray], None]
"""Writes a label map (D, H, W) as the case's output."""

ViewProbability = tuple[np.ndarray, View]
"""(d, h, w) float32 of one query, and the view it lies on"""


@dataclass
class Progress:
    """What ran of a case so far, for the report of one that is not finished."""

    stages: list[StageReport]
    ladder: list[LadderStep]
    fallbacks: list[str]


@dataclass(frozen=True)
class Segmentation:
    """The result of a case."""

    labels: np.ndarray
    """(D, H, W) unsigned: prompt ids, or object ids for instances"""
    prompts: dict[int, PromptResult]
    stages: list[StageReport]
    ladder: list[LadderStep]
    fallbacks: list[str]
    probabilities: dict[int, list[ViewProbability]] = field(default_factory=dict)
    """prompt id -> probabilities of the last stage; empty unless they are kept"""
    reversed_axes: tuple[int, ...] = ()
    """axes of (D, H, W) along which the case was reversed for the network, and ``probabilities`` still are"""


@dataclass(frozen=True)
class _FineView:
    """One view of the fine stage: which rows of which batch, and how they are run."""

    batch: int
    """number of the batch in the plan"""
    index: Sequence[int]
    queries: Sequence[Query]
    task: ViewTask
    why: str


def planned_stages(plan: Plan) -> list[PlannedStage]:
    """The stages of a plan as the ladder sees them."""
    stages = []
    for batch in plan.batches:
        coarse, fine = coarse_rule(batch.coarse), batch.fine
        if not coarse.skip:
            stages.append(PlannedStage(coarse, first=True))
        if not fine.skip:
            stages.append(PlannedStage(fine, first=coarse.skip))
    return stages


class CaseRun:
    """State of one case; `coarse` holds the results of the coarse stage, one a batch."""

    def __init__(
        self,
        case: Case,
        plan: Plan,
        model: Model,
        clock: Clock,
        *,
        mask_stage: str,
        costs: CallCosts | None = None,
        progress: ProgressCallback | None = None,
        keep_probabilities: bool = False,
    ) -> None:
        """Begin with nothing run.

        Args:
            case: the volume.
            plan: what is run on it.
            model: the network.
            clock: the case's.
            mask_stage: stage that takes a user's mask as spatial prompt, see ``data.terms``.
            costs: what calls of the network took in other cases.
            progress: called after every window.
            keep_probabilities: of the last stage, for ``Segmentation.probabilities``.
        """
        self.case, self.plan = case, plan
        self.coarse_model, self.fine_model = model.coarse, model.fine
        self.volume = Volume(case.image, case.spacing_dhw_mm, intensity_statistics(case.image))
        self.forecast = Forecast(clock, costs)
        self.ladder = Ladder(self.forecast, planned_stages(plan), progress)
        self.mask = StageMask(MaskPrompt.of(case.user), mask_stage)
        self.coarse: list[StageResult | None] = []
        # One for both stages: a second one would cost the memory of another volume.
        self.result = LabelMap(case.image.shape, max(case.sentences, default=1))
        self.stages: list[StageReport] = []
        self.fallbacks: list[str] = []
        self.probabilities: dict[int, list[ViewProbability]] = {}
        self._keep_probabilities = keep_probabilities
        self._stages_of: dict[int, list[str]] = {id_: [] for id_ in plan.covered}

    @property
    def progress(self) -> Progress:
        """What ran so far; it is filled while the case runs."""
        return Progress(self.stages, self.ladder.steps, self.fallbacks)

    def run_coarse_stage(self, save: Save) -> None:
        """Run every batch over the whole volume, and write the result before the fine stage.

        Also where no batch has a coarse stage, and the map is empty: the time to write it is measured.
        """
        tasks = [self._coarse_tasks(batch) for batch in self.plan.batches]
        self.ladder.plan(COARSE, [task for of_batch in tasks for task in of_batch])
        for batch, of_batch in zip(self.plan.batches, tasks, strict=True):
            self.coarse.append(self._run_coarse(batch, of_batch) if of_batch else None)
        if not self.plan.batches:
            return
        with self.forecast.ending(empty=not any(self.coarse)):
            for batch, result in zip(self.plan.batches, self.coarse, strict=True):
                if result is not None:
                    self._add(result, range(len(batch.queries)), batch.queries, batch.coarse.threshold)
            self._remove_specks()
            self._keep_labels(self.result)
            self._filter(self.result)
            save(self._output_labels(self.result.labels))
        self.result.clear()

    def _coarse_tasks(self, batch: Batch) -> list[ViewTask]:
        """The views of a batch's coarse stage; none where it has no such stage."""
        if batch.coarse.skip:
            return []
        mask = self.mask.for_coarse(batch)
        return coarse_tasks(self.volume, self.coarse_model, batch.queries, batch.coarse, mask)

    def _run_coarse(self, batch: Batch, tasks: Sequence[ViewTask]) -> StageResult:
        result = filter_pass(run_coarse(tasks, self.ladder), batch.queries, self.plan.filters)
        self._report(COARSE, result, batch.queries)
        return result

    def _remove_specks(self) -> None:
        """Remove specks from the coarse result, where the fine stage's layout says so."""
        for batch in self.plan.batches:
            solid = None if batch.fine.layout is None else batch.fine.layout.solid(self.result.labels)
            if solid is not None:
                self.result.keep(solid)

    def _keep_labels(self, first: LabelMap) -> None:
        """Keep the unfiltered coarse label map for a fine stage with a layout."""
        self.coarse = [
            replace(result, labels=first.labels.copy()) if result and batch.fine.layout else result
            for batch, result in zip(self.plan.batches, self.coarse, strict=True)
        ]

    def run_fine_stage(self) -> None:
        """Run the fine stage on each group of targets while there is time; the others stay coarse."""
        views = self._fine_views()
        self.ladder.plan(FINE, [view.task for view in views])
        refined: list[set[int]] = [set() for _ in self.plan.batches]
        late: list[str] = []
        with bar(len(views), "fine stage", "view") as progress_bar:
            for view in views:
                if not self._may_begin(view):
                    self.ladder.begin(view.task)
                    late += [q.name for q in view.queries]
                elif self._run_fine(view):
                    refined[view.batch].update(view.index)
                progress_bar.update()
        if late:
            self.fallbacks.append(f"time ran short, not refined: {', '.join(late)}")
        self._keep_coarse(refined)

    def _fine_views(self) -> list[_FineView]:
        """The views of the fine stage that have a region."""
        views = []
        for number, (batch, coarse) in enumerate(zip(self.plan.batches, self.coarse, strict=True)):
            if batch.fine.skip:
                continue
            mask = self.mask.for_fine(batch)
            for index, region in find_regions(self.volume, batch.fine, coarse, batch.queries, mask):
                if region.box is None:
                    continue
                queries = [batch.queries[i] for i in index]
                task = fine_task(
                    self.volume, self.fine_model, queries, batch.fine, region, coarse, index, mask
                )
                views.append(_FineView(number, index, queries, task, region.why))
        return views

    def _may_begin(self, view: _FineView) -> bool:
        """Whether to run the next view; the ladder may take steps for all upcoming ones."""
        self.ladder.fits()
        return view.task.is_wanted(self.ladder.effort, 0)

    def _run_fine(self, view: _FineView) -> bool:
        """Run one fine view and add its classes to the result; False where it was not completed."""
        result = run_fine(view.task, view.why, self.ladder)
        self._report(FINE, result, view.queries, [q.name for q in view.queries])
        if result.dropped and self.coarse[view.batch] is not None:
            return False
        result = filter_pass(result, view.queries, self.plan.filters)
        threshold = self.plan.batches[view.batch].fine.threshold
        self._add(result, range(len(view.queries)), view.queries, threshold, final=True)
        return True

    def _keep_coarse(self, refined: Sequence[set[int]]) -> None:
        """Add the coarse result of what the fine stage did not refine."""
        for batch, coarse, done in zip(self.plan.batches, self.coarse, refined, strict=True):
            if coarse is not None:
                left = [i for i in range(len(batch.queries)) if i not in done]
                self._add(coarse, left, batch.queries, batch.coarse.threshold, final=True)
        if not any(refined):
            self._remove_specks()  # a layout runs all queries in one view, so none has a fine result

    def _add(
        self,
        result: StageResult,
        rows: Sequence[int],
        queries: Sequence[Query],
        threshold: float,
        final: bool = False,
    ) -> None:
        """Let some classes of a result, (N, d, h, w) on its view, win voxels of the label map."""
        for row in rows:
            probability, view = without_padding(result.probability[row], result.view)
            self.result.add(probability, view, queries[row].prompt_id, threshold)
            if final and self._keep_probabilities:
                self.probabilities.setdefault(queries[row].prompt_id, []).append((probability, view))

    def _report(
        self, stage: str, result: StageResult, queries: Sequence[Query], targets: Sequence[str] = ()
    ) -> None:
        report = stage_report(stage, targets, result, self.case.spacing_dhw_mm, peak_mb())
        log_stage(report)
        self.stages.append(report)
        if result.note:
            self.fallbacks.append(f"{report.name}: {result.note}")
        if result.dropped:
            names = ", ".join(q.name for q in queries)
            self.fallbacks.append(
                f"time ran short, {result.dropped} windows left out and {result.windows} run for {names}"
            )
        for id_ in dict.fromkeys(q.prompt_id for q in queries):
            self._stages_of[id_].append(stage)

    def _filter(self, result: LabelMap) -> None:
        """Choose components; not with instances, where each component is an object."""
        if not self.case.instance:
            queries = [q for batch in self.plan.batches for q in batch.queries]
            filter_components(result, queries, self.plan.filters)

    def _output_labels(self, labels: np.ndarray) -> np.ndarray:
        """(D, H, W) prompt ids, or one id per object where the case asks for instances."""
        if not self.case.instance:
            return labels
        return split_into_objects(labels, self.plan.filters.min_object_voxels)

    def finish(self, prompts: Sequence[Prompt]) -> Segmentation:
        """Filter components, split objects, and make the result of each prompt."""
        self._filter(self.result)
        labels = self._output_labels(self.result.labels)
        results = prompt_results(prompts, self.plan, self.result, labels, self.case, self._stages_of)
        steps = [f"time ran short at {s.at_s:.1f} s: {s.step} ({s.why})" for s in self.ladder.steps]
        return Segmentation(
            labels, results, self.stages, self.ladder.steps, self.fallbacks + steps, self.probabilities
        )

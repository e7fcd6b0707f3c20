"""The way of a case: plan, coarse stage, region, fine stage, filter, label map (DESIGN section 3)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING

import numpy as np

from vesal.inference.data.case import Case
from vesal.inference.data.prompt import Prompt, Query
from vesal.inference.data.results import LadderStep, PromptResult, StageReport
from vesal.inference.data.terms import OFF
from vesal.inference.families.contract import Model
from vesal.inference.families.network_input import intensity_statistics
from vesal.inference.families.registry import open_model
from vesal.inference.geometry.tiles import without_padding
from vesal.inference.output.logs import bar, log_stage
from vesal.inference.planning.plan import Batch, Plan
from vesal.inference.planning.profile import Profile, read_profile
from vesal.inference.planning.weights_folder import WEIGHTS, weights_folder
from vesal.inference.runner.settings import Settings
from vesal.inference.runtime.choice import Runtime, choose_runtime
from vesal.inference.runtime.machine import peak_mb
from vesal.inference.stages.filters import filter_components, filter_pass, split_into_objects
from vesal.inference.stages.label_map import LabelMap
from vesal.inference.stages.orientation import Axes, along, find_orientation, reverse_axes
from vesal.inference.stages.passes import Pass, coarse_rule, coarse_tasks, fine_task, run_coarse, run_fine
from vesal.inference.stages.prompt_results import prompt_results, stage_report
from vesal.inference.stages.regions import find_regions
from vesal.inference.stages.spatial_prompt import MaskPrompt, StageMask
from vesal.inference.stages.view_pass import Sight, Task, loads_of
from vesal.inference.timing.call_costs import CallCosts
from vesal.inference.timing.clock import Clock
from vesal.inference.timing.forecast import Forecast
from vesal.inference.timing.ladder import Ladder, PlannedStage

if TYPE_CHECKING:
    from vesal.inference.prompts.sentence_encoder import SentenceEncoder

TEXT_WEIGHTS = WEIGHTS / "text"

Save = Callable[[np.ndarray], None]


@dataclass
class Progress:
    """What ran of a case so far, for the report of one that is not finished."""

    stages: list[StageReport]
    ladder: list[LadderStep]
    fallbacks: list[str]


@dataclass
class Segmentation:
    """What came of a case."""

    labels: np.ndarray
    """(D, H, W) unsigned; prompt ids, or object ids in an instance case"""
    prompts: dict[int, PromptResult]
    stages: list[StageReport] = field(default_factory=list)
    ladder: list[LadderStep] = field(default_factory=list)
    fallbacks: list[str] = field(default_factory=list)


class Engine:
    """One set of weights, loaded once, for any number of cases."""

    def __init__(self, profile: Profile, runtime: Runtime, model: Model, hybrid: str | None = None) -> None:
        """``hybrid``: the stage that takes a user's mask; the profile's where it is None, or where its
        weights take none.
        """
        self.profile = profile
        self.hybrid = OFF if profile.hybrid == OFF else hybrid or profile.hybrid
        self.runtime = runtime
        self.model = model
        self.costs = CallCosts()
        self.progress: Progress | None = None

    @classmethod
    def open(cls, settings: Settings) -> Engine:
        """Load what ``settings`` name. Raises ProfileError or RuntimeChoiceError."""
        profile = read_profile(weights_folder(settings.weights))
        runtime = choose_runtime(settings.runtime, settings.threads)
        return cls(profile, runtime, open_model(profile, runtime), settings.hybrid)

    @cached_property
    def text_encoder(self) -> SentenceEncoder:
        """The sentence encoder, loaded when a sentence needs it."""
        from vesal.inference.prompts.sentence_encoder import SentenceEncoder

        return SentenceEncoder(TEXT_WEIGHTS, self.runtime)

    def segment(self, case: Case, prompts: Sequence[Prompt], clock: Clock, save: Save) -> Segmentation:
        """Segment one case.

        Args:
            case: the volume.
            prompts: at least one.
            clock: the case's; where it runs short the ladder is walked down, see ``timing.ladder``.
            save: writes a label map (D, H, W) as the case's output at once; called with the coarse result.

        Returns:
            labels on the case's grid, and what the report needs.
        """
        self.progress = None
        plan = self.model.plan(prompts, self.profile, case)
        work = self._begin(case, plan, clock)
        work.coarse_stage(save)
        axes = self._other_way(work, plan, clock)
        if axes:
            work = self._begin(along(case, axes), plan, clock, work.stages)
            work.coarse_stage(lambda labels: save(reverse_axes(labels, axes)))
        work.fine_stage()
        result = work.finish(prompts)
        return replace(result, labels=reverse_axes(result.labels, axes))

    def _begin(self, case: Case, plan: Plan, clock: Clock, before: Sequence[StageReport] = ()) -> _Work:
        """``before``: stages that ran already, on the case as it is stored."""
        work = _Work(self, case, plan, clock)
        work.stages += before
        self.progress = Progress(work.stages, work.ladder.steps, work.fallbacks)
        return work

    def _other_way(self, work: _Work, plan: Plan, clock: Clock) -> Axes:
        """Axes along which the case is to be reversed, as it does not lie the way its targets were learned.

        Where a user's mask went into the coarse stage, its sureness says nothing of the case.
        """
        rule = self.profile.orientation
        if rule is None or work.ladder.steps or any(work.given.for_coarse(batch) for batch in plan.batches):
            return ()
        stored = [result for result in work.coarse if result]
        tried = find_orientation(work.sight, work.coarse_model, plan, rule, stored, clock, self.costs)
        if tried is None:
            return ()
        stage = StageReport("orientation", None, None, tried.windows, 0, tried.seconds, peak_mb(), tried.why)
        log_stage(stage)
        work.stages.append(stage)
        return tried.axes


def _planned(plan: Plan) -> list[PlannedStage]:
    """The stages of a plan as the ladder sees them."""
    stages = []
    for batch in plan.batches:
        coarse, fine = coarse_rule(batch.coarse), batch.fine
        if not coarse.skip:
            stages.append(PlannedStage(coarse, first=True))
        if not fine.skip:
            stages.append(PlannedStage(fine, first=coarse.skip))
    return stages


@dataclass(frozen=True)
class _FineView:
    """One view of the fine stage: which rows of which batch, and how they are looked at."""

    batch: Batch
    coarse: Pass | None
    index: Sequence[int]
    queries: Sequence[Query]
    task: Task
    why: str


class _Work:
    """State of one case on its way."""

    def __init__(self, engine: Engine, case: Case, plan: Plan, clock: Clock) -> None:
        self.case, self.plan = case, plan
        self.coarse_model, self.fine_model = engine.model.coarse, engine.model.fine
        self.sight = Sight(case.image, case.spacing_dhw_mm, intensity_statistics(case.image))
        self.pace = Forecast(clock, engine.costs)
        self.ladder = Ladder(self.pace, _planned(plan))
        self.given = StageMask(MaskPrompt.of(case.mask), engine.hybrid)
        self.coarse: list[Pass | None] = []
        # One for both stages: in one of its own the fine stage's result would cost a volume's memory more.
        self.result = LabelMap(case.image.shape, max(case.sentences, default=1))
        self.stages: list[StageReport] = []
        self.ran: dict[int, list[str]] = {id_: [] for id_ in plan.covered}
        self.fallbacks: list[str] = []
        if case.mask is not None and engine.hybrid == OFF:
            self.fallbacks.append(f"the user's mask is not used: the weights {engine.profile.name} take none")

    def coarse_stage(self, save: Save) -> None:
        """Run every batch over the whole volume, and put the result on disk before anything is refined.

        Also where no batch has a coarse stage, and the map is empty: so the clock learns what writing costs.
        """
        tasks = [self._coarse_tasks(batch) for batch in self.plan.batches]
        for number, batch in enumerate(self.plan.batches):
            later = [task for more in tasks[number + 1 :] for task in more]
            self.coarse.append(self._coarse(batch, tasks[number], later) if tasks[number] else None)
        if not self.plan.batches:
            return
        with self.pace.ending(empty=not any(self.coarse)):
            for batch, result in zip(self.plan.batches, self.coarse, strict=True):
                if result is not None:
                    self._add(self.result, batch, result, range(len(batch.queries)), batch.coarse.threshold)
            self._remove_specks()
            self._keep_labels(self.result)
            self._filter(self.result)
            save(self._as_asked(self.result.labels))
        self.result.clear()

    def _remove_specks(self) -> None:
        """Take the specks out of a coarse result whose rules have no use for them."""
        for batch in self.plan.batches:
            solid = None if batch.fine.layout is None else batch.fine.layout.solid(self.result.labels)
            if solid is not None:
                self.result.keep(solid)

    def _keep_labels(self, first: LabelMap) -> None:
        """Let the fine stage have the coarse label map, before components are chosen, where it wants it."""
        self.coarse = [
            replace(result, labels=first.labels.copy()) if result and batch.fine.layout else result
            for batch, result in zip(self.plan.batches, self.coarse, strict=True)
        ]

    def _coarse_tasks(self, batch: Batch) -> list[Task]:
        """The looks of a batch's coarse stage; none where it has no such stage."""
        if batch.coarse.skip:
            return []
        mask = self.given.for_coarse(batch)
        return coarse_tasks(self.sight, self.coarse_model, batch.queries, batch.coarse, mask)

    def _coarse(self, batch: Batch, tasks: Sequence[Task], later: Sequence[Task]) -> Pass:
        result = run_coarse(tasks, self.ladder, partial(loads_of, later))
        result = filter_pass(result, batch.queries, self.plan.filters)
        self._report("coarse", result, [q.prompt_id for q in batch.queries])
        if result.unseen:
            self._note_unseen(result, batch.queries)
        return result

    def fine_stage(self) -> None:
        """Look again around each group of targets while there is time; what is not refined stays coarse."""
        views = self._fine_views()
        done: set[tuple[int, int]] = set()
        late: list[str] = []
        with bar(len(views), "fine stage", "view") as shown:
            for number, view in enumerate(views):
                if not self._may_begin(views[number:]):
                    late += [q.name for q in view.queries]
                elif self._fine(view, views[number + 1 :]):
                    done.update((id(view.batch), i) for i in view.index)
                shown.update()
        if late:
            self.fallbacks.append(f"time ran short, not refined: {', '.join(late)}")
        self._keep_coarse(done)

    def _fine_views(self) -> list[_FineView]:
        """Every view of the fine stage, with its region; not those for which there is nothing to look for."""
        views = []
        for batch, coarse in zip(self.plan.batches, self.coarse, strict=True):
            if batch.fine.skip:
                continue
            mask = self.given.for_fine(batch)
            for index, target in find_regions(self.sight, batch.fine, coarse, batch.queries, mask):
                if target.box is None:
                    continue
                queries = [batch.queries[i] for i in index]
                task = fine_task(
                    self.sight, self.fine_model, queries, batch.fine, target, coarse, index, mask
                )
                views.append(_FineView(batch, coarse, index, queries, task, target.why))
        return views

    def _may_begin(self, views: Sequence[_FineView]) -> bool:
        """Whether the first of these views is to be run at all; the ladder may take steps for all of them."""
        self.ladder.fits(partial(loads_of, [view.task for view in views]))
        return views[0].task.wanted(self.ladder.effort, 0)

    def _fine(self, view: _FineView, later: Sequence[_FineView]) -> bool:
        """Run one fine view and add its classes to the result; False where it was not seen to its end."""
        result = run_fine(view.task, view.why, self.ladder, partial(loads_of, [v.task for v in later]))
        names = ", ".join(q.name for q in view.queries)
        self._report(f"fine {names}", result, [q.prompt_id for q in view.queries])
        if result.unseen:
            self._note_unseen(result, view.queries)
            if view.coarse is not None:
                return False
        result = filter_pass(result, view.queries, self.plan.filters)
        for row, query in enumerate(view.queries):
            seen = without_padding(result.probability[row], result.view)
            self.result.add(*seen, query.prompt_id, view.batch.fine.threshold)
        return True

    def _note_unseen(self, result: Pass, queries: Sequence[Query]) -> None:
        names = ", ".join(q.name for q in queries)
        self.fallbacks.append(
            f"time ran short, {result.unseen} windows left out and {result.windows} run for {names}"
        )

    def _keep_coarse(self, done: set[tuple[int, int]]) -> None:
        for batch, coarse in zip(self.plan.batches, self.coarse, strict=True):
            if coarse is not None:
                left = [i for i in range(len(batch.queries)) if (id(batch), i) not in done]
                self._add(self.result, batch, coarse, left, batch.coarse.threshold)
        if not done:
            self._remove_specks()  # rules look at all queries in one view: nothing of it is a fine result

    def _add(
        self, target: LabelMap, batch: Batch, result: Pass, index: Sequence[int], threshold: float
    ) -> None:
        for i in index:
            seen = without_padding(result.probability[i], result.view)
            target.add(*seen, batch.queries[i].prompt_id, threshold)

    def _report(self, name: str, result: Pass, ids: Sequence[int]) -> None:
        stage = stage_report(name, result, self.case.spacing_dhw_mm, peak_mb())
        log_stage(stage)
        self.stages.append(stage)
        if result.note:
            self.fallbacks.append(f"{name}: {result.note}")
        for id_ in dict.fromkeys(ids):
            self.ran[id_].append(name.split()[0])

    def _filter(self, result: LabelMap) -> None:
        """Choose components; where objects are asked for, each of them is one."""
        if not self.case.instance:
            queries = [q for batch in self.plan.batches for q in batch.queries]
            filter_components(result, queries, self.plan.filters)

    def _as_asked(self, labels: np.ndarray) -> np.ndarray:
        """Prompt ids, or one id per object where the case asks for instances."""
        if not self.case.instance:
            return labels
        return split_into_objects(labels, self.plan.filters.min_object_voxels)

    def finish(self, prompts: Sequence[Prompt]) -> Segmentation:
        """Filter components, split objects, and tell what came of each prompt."""
        self._filter(self.result)
        labels = self._as_asked(self.result.labels)
        told = prompt_results(prompts, self.plan, self.result, labels, self.case, self.ran)
        return Segmentation(labels, told, self.stages, self.ladder.steps, self.fallbacks + self._steps())

    def _steps(self) -> list[str]:
        return [f"time ran short at {s.at_s:.1f} s: {s.step} ({s.why})" for s in self.ladder.steps]

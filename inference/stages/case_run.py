"""One case through its stages: locate, region, refine, filter, label map (docs/design.md)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from vesal.inference.data.case import Case
from vesal.inference.data.prompt import Prompt, Query
from vesal.inference.data.results import StageReport
from vesal.inference.data.terms import LOCATE
from vesal.inference.families.contract import Family
from vesal.inference.geometry.tilings import unpadded
from vesal.inference.output.logs import bar, log_stage
from vesal.inference.planning.plan import Batch, Plan
from vesal.inference.runtime.machine import peak_mb
from vesal.inference.stages.add_results import add_results
from vesal.inference.stages.classes import ClassMasks, written_labels
from vesal.inference.stages.filters import filter_classes, filter_pass
from vesal.inference.stages.kept_class import KeptClass
from vesal.inference.stages.kept_edges import KeptEdges
from vesal.inference.stages.label_map import LabelMap, Snapshot
from vesal.inference.stages.marks import DrawnPrompts
from vesal.inference.stages.objects import cut_into_objects, split_into_objects
from vesal.inference.stages.outside import outside_of
from vesal.inference.stages.passes import locating_tasks, refining_task, run_locating, run_refining
from vesal.inference.stages.planned import encode_prompts, planned_stages
from vesal.inference.stages.prompt_results import prompt_results, stage_report
from vesal.inference.stages.refining_view import RefiningView
from vesal.inference.stages.regions import find_regions
from vesal.inference.stages.segmentation import Progress, Save, Segmentation, ViewProbability
from vesal.inference.stages.slice_presence import SlicePresence, add_presence
from vesal.inference.stages.spatial_prompt import MaskPrompt, StageMask
from vesal.inference.stages.stage_result import Latest, StageResult
from vesal.inference.stages.view_task import ViewTask, Volume
from vesal.inference.timing.call_costs import CallCosts
from vesal.inference.timing.clock import Clock
from vesal.inference.timing.forecast import Forecast
from vesal.inference.timing.ladder import Ladder
from vesal.inference.timing.progress import ProgressCallback


class CaseRun:
    """State of one case; `latest` holds the latest complete result of every query, by batch and row."""

    def __init__(
        self,
        case: Case,
        plan: Plan,
        model: Family,
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
        self.case, self.plan, self.model = case, plan, model
        self.volume = Volume.of(case, model)
        self.forecast = Forecast(clock, costs)
        self.ladder = Ladder(self.forecast, planned_stages(plan), progress)
        self.mask = StageMask(MaskPrompt.of(case.user), mask_stage)
        self.marks = DrawnPrompts.of(case, model.capabilities)
        self.prompts = encode_prompts(model, plan)
        self.latest: list[list[Latest | None]] = [[None] * len(batch.queries) for batch in plan.batches]
        # One for all stages: a second one would cost the memory of another volume.
        self.result = LabelMap(case.image.shape, max((*case.sentences, *plan.written_as), default=1))
        self.stages: list[StageReport] = []
        self.fallbacks: list[str] = []
        self.probabilities: dict[int, list[ViewProbability]] = {}
        self.presence: dict[int, list[SlicePresence]] = {}
        self.edges = KeptEdges.of(plan.rules, case.instance, keep_probabilities)
        self._located: list[StageResult] = []
        self._labels: np.ndarray | None = None
        self._late: list[str] = []
        self._keep_probabilities = keep_probabilities
        self._stages_of: dict[int, list[str]] = {}

    @property
    def progress(self) -> Progress:
        """What ran so far; it is filled while the case runs."""
        return Progress(self.stages, self.ladder.steps, self.fallbacks)

    @property
    def located(self) -> list[StageResult]:
        """Results of the locating stage, of the batches that have one."""
        return self._located

    def locate(self, save: Save) -> None:
        """Run the locating stage of every batch over the whole volume, and write the result before any other.

        Also where no batch has such a stage, and the map is empty: the time to write it is measured.
        """
        tasks = [self._locating_tasks(number, batch) for number, batch in enumerate(self.plan.batches)]
        name = next((task.rule.name for of_batch in tasks for task in of_batch), "")
        self.ladder.plan(name, [task for of_batch in tasks for task in of_batch])
        for number, of_batch in enumerate(tasks):
            if of_batch:
                self._run_locating(number, of_batch)
        if not self.plan.batches:
            return
        with self.forecast.ending(empty=not self._located):
            self._save_latest(save)

    def _save_latest(self, save: Save) -> None:
        """Write a label map of the latest results, which stays in ``result`` until the last stage begins."""
        self.result.clear()
        self._add_all()
        self._remove_specks()
        if any(rule.label_region for batch in self.plan.batches for rule in batch.stages):
            self._labels = self.result.labels.copy()
        self._filter(self.result)
        save(self._output_labels(self.result.labels))

    def _locating_tasks(self, number: int, batch: Batch) -> list[ViewTask]:
        """The views of a batch's locating stage; none where it has no such stage."""
        rule = batch.stages[0]
        if rule.role != LOCATE or rule.skip:
            return []
        mask = self.mask.of(batch, rule)
        model = self.model.stage(rule.name)
        tasks = locating_tasks(
            self.volume, model, batch.queries, self.prompts[number], rule, mask, self.marks.on_view
        )
        for task in tasks:
            task.edges = self.edges.any_wanted
        return tasks

    def _run_locating(self, number: int, tasks: Sequence[ViewTask]) -> None:
        batch = self.plan.batches[number]
        rule = batch.stages[0]
        result = filter_pass(run_locating(tasks, self.ladder), batch.queries, self.plan.rules)
        guided = self.marks.guide(result, batch.queries, batch, rule)
        self._report(rule.name, guided, batch.queries)
        self._located.append(result)
        self.latest[number] = [*Latest.all_of(guided, rule)]

    def _remove_specks(self) -> None:
        """Remove specks from the coarse result, where the stage that takes its label map says so."""
        for batch in self.plan.batches:
            region = batch.stages[-1].label_region
            solid = None if region is None else region.solid(self.result.labels)
            if solid is not None:
                self.result.keep(solid)

    def refine(self, save: Save) -> None:
        """Run the refining stages one after the other, each group of targets while there is time.

        What is not refined keeps its result of the stage before. Each better result is saved.
        """
        count = max((len(batch.stages) for batch in self.plan.batches), default=0)
        for place in range(count):
            views = self._refining_views(place)
            last = place == count - 1
            if last:
                self._run_last(views, save)
            elif views:
                self._run_middle(views, save)
        if self._late:
            self.fallbacks.append(f"time ran short, not refined: {', '.join(self._late)}")

    def _refining_views(self, place: int) -> list[RefiningView]:
        """The views of the stage at a place in the profile that have a region."""
        views = []
        for number, (batch, latest) in enumerate(zip(self.plan.batches, self.latest, strict=True)):
            rule = batch.stages[place] if place < len(batch.stages) else None
            if rule is None or rule.skip or rule.role == LOCATE:
                continue
            mask = self.mask.of(batch, rule)
            labels = self._labels if any(latest) else None
            boxes = self.marks.regions(batch.queries, latest)
            for index, region in find_regions(self.volume, rule, latest, batch.queries, mask, labels, boxes):
                if region.box is None:
                    continue
                queries = [batch.queries[i] for i in index]
                task = refining_task(
                    self.volume,
                    self.model.stage(rule.name),
                    queries,
                    self.prompts[number].part(index),
                    rule,
                    region,
                    [latest[i] for i in index],
                    mask,
                    self.marks.on_view,
                    self.marks,
                )
                task.edges = self.edges.any_wanted
                views.append(RefiningView(number, index, queries, task, region.why, rule))
        return views

    def _run_last(self, views: Sequence[RefiningView], save: Save) -> None:
        """Run the last stage, whose results go to the label map at once, and add what it did not refine."""
        saved = self.result.snapshot() if len(views) > 1 and any(map(any, self.latest)) else None
        self.result.clear()
        left = len(views)

        def take(view: RefiningView, result: StageResult) -> None:
            nonlocal left
            left -= 1
            self._finish_view(view, result)
            if saved is not None and left:
                self._save_so_far(saved, view, save)

        refined = self._run_views(views, take)
        self._add_all(final=True)
        if not refined:
            self._remove_specks()  # a label region runs all queries in one view, so none has a refined result

    def _run_middle(self, views: Sequence[RefiningView], save: Save) -> None:
        """Run a stage before the last; after each view there is a better result to write."""

        def take(view: RefiningView, result: StageResult) -> None:
            self._keep_view(view, result)
            if self.ladder.may_save():
                with self.forecast.saving():
                    self._save_latest(save)

        self._run_views(views, take)

    def _run_views(
        self,
        views: Sequence[RefiningView],
        take: Callable[[RefiningView, StageResult], None],
    ) -> int:
        """Run the views of one refining stage while there is time; ``take`` gets each result.

        Returns:
            how many were run to their end.
        """
        name, refined, added = (views[0].rule.name if views else ""), 0, 0
        self.ladder.plan(name, [view.task for view in views])
        with bar(len(views), f"{name} stage", "view") as progress_bar:
            for view in views:
                if not self._may_begin(view):
                    self.ladder.begin(view.task)
                    self._late += view.names
                elif (result := self._run_view(view)) is not None:
                    refined += 1
                    added += view.task.added
                    take(view, result)
                progress_bar.update()
        self.ladder.tell_added(added, len(views))
        return refined

    def _may_begin(self, view: RefiningView) -> bool:
        """Whether to run the next view; the ladder may take steps for all, and there may be time for one."""
        self.ladder.fits()
        if not view.task.is_wanted(self.ladder.effort, 0):
            view.task.added = self.ladder.may_add(view.task)
        return view.task.is_wanted(self.ladder.effort, 0)

    def _run_view(self, view: RefiningView) -> StageResult | None:
        """Run one view; None where it was not completed, and there is a result before."""
        result = run_refining(view.task, view.why, self.ladder)
        self._report(view.rule.name, result, view.queries, view.names)
        if result.dropped and not view.task.first:
            return None
        result = self.marks.guide(result, view.queries, self.plan.batches[view.batch], view.rule)
        return filter_pass(result, view.queries, self.plan.rules)

    def _keep_view(self, view: RefiningView, result: StageResult) -> None:
        """Make the result of a view the latest of its queries, for the stage after."""
        for i, latest in zip(view.index, Latest.all_of(result, view.rule), strict=True):
            self.latest[view.batch][i] = latest

    def _finish_view(self, view: RefiningView, result: StageResult) -> None:
        """Add the result of a view to the label map, and what the stage before found outside where it
        counts.
        """
        latest = self.latest[view.batch]
        refined = [*zip(Latest.all_of(result, view.rule), view.queries, strict=True)]
        before = [(latest[i], q) for i, q in zip(view.index, view.queries, strict=True)]
        self._add(refined, final=True)
        if view.rule.keep_outside:
            outside = [(outside_of(each, result.view), q) for each, q in before if each is not None]
            self._add(outside, final=True)
        for i in view.index:
            latest[i] = None  # it is in the label map

    def _save_so_far(self, saved: Snapshot, view: RefiningView, save: Save) -> None:
        """Write the labels of before with those of a view, as the next may hang: not if it costs that one."""
        batch, latest = self.plan.batches[view.batch], self.latest[view.batch]
        # Of a prompt that is run as two sides the other one may still be coarse.
        waiting = {q.class_id for q, each in zip(batch.queries, latest, strict=True) if each is not None}
        for id_ in sorted({query.class_id for query in view.queries}):
            saved.take(id_, self.result, keep=id_ in waiting)
        if self.ladder.may_save():
            with self.forecast.saving():
                save(self._output_labels(saved.labels))

    def _add_all(self, final: bool = False) -> None:
        """Add the latest results of all queries that have one; companions count in the views they share."""
        pairs = [
            (each, query)
            for batch, latest in zip(self.plan.batches, self.latest, strict=True)
            for query, each in zip(batch.queries, latest, strict=True)
            if each is not None and not query.companion
        ]
        self._add(pairs, final)

    def _add(self, results: Sequence[tuple[Latest, Query]], final: bool = False) -> None:
        """Let results win voxels of the label map, those on one grid together."""
        add_results(self.result, [(query.class_id, latest) for latest, query in results])
        if final:
            for latest, query in results:
                self._keep(latest, query)

    def _keep(self, latest: Latest, query: Query) -> None:
        if query.companion:
            return
        self.edges.add(latest, query.class_id)
        if self._keep_probabilities:
            mine = KeptClass.of(latest.result.probability, latest.row, latest.view)
            self.probabilities.setdefault(query.class_id, []).append((mine, unpadded(latest.view)))

    def _report(
        self, stage: str, result: StageResult, queries: Sequence[Query], targets: Sequence[str] = ()
    ) -> None:
        report = stage_report(stage, targets, result, self.case.spacing_dhw_mm, peak_mb())
        log_stage(report)
        self.stages.append(report)
        add_presence(self.presence, result, queries, self.model.capabilities)
        if result.note:
            self.fallbacks.append(f"{report.name}: {result.note}")
        if result.dropped:
            names = ", ".join(q.name for q in queries if not q.companion)
            self.fallbacks.append(
                f"time ran short, {result.dropped} windows left out and {result.windows} run for {names}"
            )
        for id_ in dict.fromkeys(q.class_id for q in queries):
            self._stages_of.setdefault(id_, []).append(stage)

    def _filter(self, result: LabelMap) -> None:
        """Run the rules on classes."""
        filter_classes(result, self.plan.rules, self.case.spacing_dhw_mm, self.case.instance)

    def _output_labels(self, labels: np.ndarray) -> np.ndarray:
        """(D, H, W) classes -> prompt ids, or one id per object where the case asks for instances."""
        if not self.case.instance:
            return written_labels(labels, self.plan)
        return split_into_objects(labels, self.plan.rules)

    def finish(self, prompts: Sequence[Prompt]) -> Segmentation:
        """Filter components and split objects; each prompt's result is counted when it is asked for."""
        self._filter(self.result)
        labels = self._final_labels()
        count = partial(prompt_results, prompts, self.plan, self.result, labels, self.case, self._stages_of)
        steps = [f"time ran short at {s.at_s:.1f} s: {s.step} ({s.why})" for s in self.ladder.steps]
        return Segmentation(
            labels,
            count,
            self.stages,
            self.ladder.steps,
            self.fallbacks + steps,
            self.plan.of_prompts(self.probabilities),
            edges=self.plan.of_prompts(self.edges.for_caller()),
            classes=ClassMasks(self.result.labels, self.plan.classes),
            presence=self.presence,
        )

    def _final_labels(self) -> np.ndarray:
        """As ``_output_labels``, with objects that touch separated as far as there is time for it."""
        if not self.case.instance:
            return written_labels(self.result.labels, self.plan)
        now, edges = self.forecast.now, self.edges.by_class
        until = now() + self.forecast.usable_s() - self.forecast.end_s()
        rules, spacing = self.plan.rules, self.case.spacing_dhw_mm
        labels, whole = cut_into_objects(self.result, rules, spacing, lambda s: now() + s < until, edges)
        if whole:
            self.ladder.omit_cuts(whole)
        return labels

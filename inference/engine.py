"""One set of weights, loaded once, and the order in which a case runs through it (docs/design.md)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from vesal.inference.data.case import Case
from vesal.inference.data.orientation import STORED, Orientation
from vesal.inference.data.prompt import Prompt
from vesal.inference.data.results import StageReport
from vesal.inference.data.terms import OFF
from vesal.inference.data.user_prompts import MASK
from vesal.inference.families.contract import Family
from vesal.inference.families.registry import open_model
from vesal.inference.output.logs import log_stage
from vesal.inference.planning.classes import overlap_notes, separate_classes
from vesal.inference.planning.plan import Plan
from vesal.inference.planning.profile import Profile, read_profile
from vesal.inference.planning.seen_together import with_companions
from vesal.inference.planning.weights_folder import WEIGHTS, weights_folder
from vesal.inference.runtime.choice import Runtime, choose_runtime
from vesal.inference.runtime.machine import peak_mb
from vesal.inference.stages.case_run import CaseRun
from vesal.inference.stages.orientation import find_orientation, looks_first, turning_notes
from vesal.inference.stages.segmentation import Progress, Save, Segmentation
from vesal.inference.stages.unnamed import KeptMask, Names, runnable
from vesal.inference.stages.user_prompts import told_unused, usable
from vesal.inference.timing.call_costs import CallCosts
from vesal.inference.timing.clock import Clock
from vesal.inference.timing.progress import ProgressCallback

if TYPE_CHECKING:
    from vesal.inference.prompts.sentence_encoder import SentenceEncoder
    from vesal.inference.prompts.text_bank import TextBank
    from vesal.inference.stages.identify import Identified

TEXT_WEIGHTS = WEIGHTS / "text"
SEARCH_MARGIN = 3.0
"""What a search for names after the result may take, in times of beginning the case and its first stage: 2.6
s were measured beside 1.0 s, on 63 x 512 x 512 voxels and 15 prompts."""
NOT_SEARCHED = "time ran short: it was not found out what the prompts without a sentence mark"

Watch = Callable[[Progress], None]
"""Called with a case's `Progress` when the case begins; its lists are filled while the case runs."""


@dataclass(frozen=True)
class _Asked:
    """What is asked of a case, as it is run."""

    case: Case
    """With the user prompts alone that the weights take."""
    prompts: Sequence[Prompt]
    """Named, where what they mark was found out first."""
    runnable: Sequence[Prompt]
    """Those of them that can be run."""
    plan: Plan
    kept: KeptMask
    unused: tuple[str, ...]
    """What is told of user prompts that the weights do not take: as fallbacks, and as notes."""
    notes: tuple[str, ...]
    identified: Identified | None


def _notes(asked: _Asked, identified: Identified | None, turned: Orientation) -> tuple[str, ...]:
    """The notes of a case that was run in an orientation."""
    told = () if identified is None else identified.notes
    notes = (*asked.notes, *told, *asked.plan.notes, *overlap_notes(asked.plan, asked.prompts))
    return notes if turned == asked.plan.orientation else (*notes, *turning_notes(turned, asked.plan))


class Engine:
    """One set of weights for any number of cases, one after the other or in several threads."""

    def __init__(
        self, profile: Profile, runtime: Runtime, model: Family, mask_stage: str | None = None
    ) -> None:
        """``mask_stage``: the stage that takes a user's mask; the profile's where it is None, or where its
        weights take none.
        """
        self.profile = profile
        self.mask_stage = OFF if profile.hybrid == OFF else mask_stage or profile.hybrid
        self.runtime = runtime
        self.model = model
        self.costs = CallCosts()

    @classmethod
    def open(
        cls,
        weights: str = "nano",
        runtime: str = "auto",
        threads: int | None = None,
        mask_stage: str | None = None,
        text_embeddings: TextBank | None = None,
    ) -> Engine:
        """Load a set of weights.

        Args:
            weights: name of a folder in Vesal's weights, or path of a folder with a manifest.
            runtime: `auto`, `openvino`, `onnxruntime` or `cuda`.
            threads: upper limit; None leaves it to affinity and container.
            mask_stage: see above.
            text_embeddings: text vectors of the user's, see ``Profile.text_embeddings``.

        Raises:
            ProfileError: no such weights, or they cannot be read.
            TextEmbeddingsError: the weights cannot use the user's text vectors.
            RuntimeChoiceError: the runtime is not installed, or does not start.
        """
        profile = replace(read_profile(weights_folder(weights)), text_embeddings=text_embeddings)
        opened = choose_runtime(runtime, threads)
        return cls(profile, opened, open_model(profile, opened), mask_stage)

    @cached_property
    def text_encoder(self) -> SentenceEncoder:
        """The sentence encoder, loaded when a sentence needs it."""
        from vesal.inference.prompts.sentence_encoder import SentenceEncoder

        return SentenceEncoder(TEXT_WEIGHTS, self.runtime)

    @property
    def user_prompts(self) -> tuple[str, ...]:
        """Kinds of user prompts that are used, of ``data.user_prompts.KINDS``."""
        taken = self.model.capabilities.user_prompts()
        if self.mask_stage != OFF:
            return taken
        drawn = self.model.capabilities.draws()
        return tuple(kind for kind in taken if kind != MASK and kind not in drawn)

    def segment(
        self,
        case: Case,
        prompts: Sequence[Prompt],
        clock: Clock,
        save: Save,
        *,
        watch: Watch | None = None,
        progress: ProgressCallback | None = None,
        keep_probabilities: bool = False,
        smaller_wins: bool = False,
    ) -> Segmentation:
        """Segment one case.

        Args:
            case: the volume.
            prompts: at least one.
            clock: the case's; where it runs short, steps of the ladder are taken, see ``timing.ladder``.
            save: writes a label map (D, H, W) as the case's output at once; called with the coarse result,
                and with what is refined after every fine view but the last.
            watch: called with the progress object, for the report of a case that is ended early.
            progress: called after every window.
            keep_probabilities: of the last stage.
            smaller_wins: with probabilities: the smaller of nested prompts has what they share, see
                ``stages.overlaps``.

        Returns:
            labels on the case's grid, and what the report needs.

        Raises:
            CancelledError: ``progress`` returned False.
        """
        asked = self._asked(case, prompts, clock)

        def begin(turned: Orientation, before: Sequence[StageReport]) -> CaseRun:
            run = CaseRun(
                turned.turn_case(asked.case),
                asked.plan,
                self.model,
                clock,
                mask_stage=self.mask_stage,
                costs=self.costs,
                progress=progress,
                keep_probabilities=keep_probabilities,
            )
            run.stages += before
            run.fallbacks += asked.unused
            if watch is not None:
                watch(run.progress)
            return run

        def save_turned(labels: np.ndarray, turned: Orientation) -> None:
            save(asked.kept.added(turned.back(labels)))

        began = clock.now()
        run, turned = self._located(asked.plan, begin, save_turned)
        search_s = SEARCH_MARGIN * (clock.now() - began)
        run.refine(lambda labels: save_turned(labels, turned))
        result = run.finish(asked.prompts)
        identified = asked.identified
        if self.model.capabilities.unnamed and any(p.unnamed and not p.targets for p in asked.runnable):
            enough = clock.usable_s() - run.forecast.end_s() >= search_s
            identified = self._identified_later(asked, result, turned, clock, enough)
        result = replace(
            result,
            labels=turned.back(result.labels),
            orientation=turned,
            notes=_notes(asked, identified, turned),
        )
        if smaller_wins and asked.plan.nests and not case.instance:
            from vesal.inference.stages.overlaps import let_smaller_win  # of own scans alone

            voxel_ml, threshold = math.prod(case.spacing_dhw_mm) / 1000, self.profile.stages[-1].threshold
            result = let_smaller_win(result, asked.prompts, threshold, voxel_ml)
        result = asked.kept.in_result(result, case)
        return result if identified is None else identified.named(result)

    def _asked(self, case: Case, prompts: Sequence[Prompt], clock: Clock) -> _Asked:
        """What is asked of the case, as it is run."""
        user = usable(case.user, self.user_prompts)
        given, case = case, replace(case, user=user)
        # Most cases have sentences alone: what names the others is imported where there are some.
        identified, names = None, None
        if any(prompt.unnamed for prompt in prompts) and not self.model.capabilities.unnamed:
            identified = self.identify(prompts, case, clock)
            prompts = identified.prompts
            least = self.profile.identification.min_score
            names = Names(identified.candidates, least, "; ".join(identified.notes))
        run, refused = runnable(
            prompts, user, self.model.capabilities, self.profile.name, self.user_prompts, names
        )
        plan = self.model.plan(run, self.profile, case)
        plan = replace(plan, refused={**plan.refused, **refused})
        kept = KeptMask.of(given, prompts, plan)
        unused, notes = told_unused(
            given.user, self.user_prompts, self.profile.name, case.interactive, kept.ids
        )
        plan = separate_classes(kept.told(plan), prompts, user.marked())
        if not case.instance and not user.marked():
            plan = with_companions(plan, self.profile)
        return _Asked(case, prompts, run, plan, kept, unused, notes, identified)

    def _located(
        self,
        plan: Plan,
        begin: Callable[[Orientation, Sequence[StageReport]], CaseRun],
        save: Callable[[np.ndarray, Orientation], None],
    ) -> tuple[CaseRun, Orientation]:
        """A run of the case whose targets are located, in the orientation that is returned with it: the
        plan's, and on from that the one that the weights were trained in, where it is found."""
        turned = plan.orientation
        run = begin(turned, ())
        looks = plan.assumed and looks_first(plan)
        if not looks:
            run.locate(lambda labels: save(labels, plan.orientation))
        if turned.is_stored or plan.assumed:
            turned = plan.orientation.then(self._orientation(run, plan))
        if turned != plan.orientation:
            run = begin(turned, run.stages)
        if looks or turned != plan.orientation:
            run.locate(lambda labels: save(labels, turned))
        return run, turned

    def _identified_later(
        self, asked: _Asked, result: Segmentation, turned: Orientation, clock: Clock, enough: bool
    ) -> Identified:
        """What prompts without a sentence mark, by what was found for them. Names must not cost the result:
        what is kept for the end is the time to write it; ``enough``: there is time beside."""
        from vesal.inference.stages.identify import Identified, found_masks

        if not enough:
            return Identified(tuple(asked.prompts), notes=(NOT_SEARCHED,))
        return self.identify(asked.prompts, found_masks(asked.prompts, result, turned, asked.case), clock)

    def identify(self, prompts: Sequence[Prompt], case: Case, clock: Clock) -> Identified:
        """What the prompts without a sentence mark, see ``stages.identify``."""
        from vesal.inference.stages.identify import identify

        def begin(plain: Case, plan: Plan, share: float) -> CaseRun:
            own = Clock(share * clock.usable_s(), clock.now(), clock.now, clock.write_s)
            return CaseRun(plain, plan, self.model, own, mask_stage=OFF, costs=self.costs)

        return identify(prompts, case, self.model, self.profile, begin)

    def _orientation(self, run: CaseRun, plan: Plan) -> Orientation:
        """How to turn the case, where its targets were trained in another orientation.

        Not with a user's mask in the coarse stage, or with boxes or points that the network sees: its
        confidence then comes from them.
        """
        rule = self.profile.orientation
        masked = any(run.mask.of(batch, batch.stages[0]) for batch in plan.batches)
        marked = run.marks.seen.boxes or run.marks.seen.points
        if rule is None or run.ladder.steps or masked or marked:
            return STORED
        found = find_orientation(run.volume, self.model, plan, run.prompts, rule, run.located, run.ladder)
        if found is None:
            return STORED
        stage = StageReport(
            "orientation",
            "orientation",
            (),
            None,
            None,
            found.windows,
            0,
            found.seconds,
            peak_mb(),
            found.why,
        )
        log_stage(stage)
        run.stages.append(stage)
        return found.orientation

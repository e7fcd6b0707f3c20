"""What did the user mark? Names for prompts without a sentence (SegVol, section 4).

The targets that the weights know in the modality are searched by their names, in one pass of the first stage
for all of them, and ranked by how well each agrees with what was marked (``agreement``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from vesal.inference.data.case import Case
from vesal.inference.data.orientation import Orientation
from vesal.inference.data.prompt import Prompt, Target
from vesal.inference.data.results import Candidate, PromptResult
from vesal.inference.data.user_prompts import UserMask, UserPrompts
from vesal.inference.families.contract import Family
from vesal.inference.geometry.views import View
from vesal.inference.planning.classes import separate_classes
from vesal.inference.planning.plan import Plan
from vesal.inference.planning.profile import Profile
from vesal.inference.prompts.vocabulary import load_vocabulary
from vesal.inference.stages.agreement import agreement
from vesal.inference.stages.case_run import CaseRun
from vesal.inference.stages.segmentation import Segmentation
from vesal.inference.stages.unnamed import is_placed

SHOWN = 5
"""Candidates in the report."""
TIME_SHARE = 0.25
"""Share of the remaining time that the search may take."""

Begin = Callable[[Case, Plan, float], CaseRun]
"""A run of a case by a plan, in a share of the remaining time."""


@dataclass(frozen=True)
class Identified:
    """Prompts with the targets that were found for them."""

    prompts: tuple[Prompt, ...]
    candidates: Mapping[int, tuple[Candidate, ...]] = field(default_factory=dict)
    """by prompt id, the best first"""
    notes: tuple[str, ...] = ()
    least: float = 0.0
    """score from which the best candidate's name is given"""

    def named(self, result: Segmentation) -> Segmentation:
        """A result that tells the candidates; a target whose score is too low for a name is none."""
        if not self.candidates:
            return result

        def count() -> dict[int, PromptResult]:
            counted = result.count()
            for id_, candidates in self.candidates.items():
                best = candidates[0]
                name = best.target if best.score >= self.least else None
                counted[id_] = replace(counted[id_], candidates=candidates, target=name)
            return counted

        return replace(result, count=count)


def found_masks(prompts: Sequence[Prompt], result: Segmentation, turned: Orientation, case: Case) -> Case:
    """The case with what was found of its prompts without a sentence in place of what the user marked: a
    family that runs them by the marks alone is held against its own result.
    """
    labels = np.zeros(case.image.shape, np.uint16)
    for prompt in prompts:
        if prompt.unnamed and not prompt.targets:
            labels[turned.back(result.mask(prompt.id))] = prompt.id
    ids = tuple(int(id_) for id_ in np.unique(labels) if id_)
    return replace(case, user=UserPrompts(UserMask(labels, ids, "result") if ids else None))


def identify(
    prompts: Sequence[Prompt], case: Case, model: Family, profile: Profile, begin: Begin
) -> Identified:
    """Find targets for the prompts that have no sentence and no target, but boxes, points or a mask.

    A family that runs such prompts by what was marked alone keeps them so, and only gets their names.

    Args:
        prompts: of the case.
        case: with the user prompts that count.
        model: the network.
        profile: of its weights.
        begin: makes the run of the search.
    """
    least = profile.identification.min_score
    wanted = [p for p in prompts if p.unnamed and not p.targets and is_placed(p.id, case.user)]
    if not wanted:
        return Identified(tuple(prompts))
    ranked: dict[int, list[tuple[float, Target]]] = {}
    for modality in dict.fromkeys(p.modality for p in wanted):
        mine = [p for p in wanted if p.modality == modality]
        asked = _questions(targets_of(model, profile, modality), mine[0])
        found = search(asked, case, model, profile, begin)
        if found is None:
            note = "time ran short: it was not found out what the prompts without a sentence mark"
            return Identified(tuple(prompts), notes=(note,))
        for prompt in mine:
            scores = [
                max((agreement(*each, case.user, prompt.id) for each in found.get(q.id, ())), default=0.0)
                for q in asked
            ]
            order = np.argsort([-score for score in scores], kind="stable")
            ranked[prompt.id] = [(scores[i], asked[i].targets[0]) for i in order if scores[i] > 0]
    candidates = {
        id_: tuple(Candidate(target.name, round(score, 3)) for score, target in best[:SHOWN])
        for id_, best in ranked.items()
        if best
    }
    kept = set(ids_kept(case.user, candidates, least)) if not model.capabilities.unnamed else set(candidates)
    told = tuple(
        p if p.id not in candidates or p.id in kept else _with(p, ranked[p.id][0], least) for p in prompts
    )
    return Identified(told, candidates, least=least)


def ids_kept(user: UserPrompts, candidates: Mapping[int, Sequence[Candidate]], least: float) -> list[int]:
    """Prompts with a mask and no candidate that is sure enough: the mask itself is the better result."""
    masks = user.mask.ids if user.mask else ()
    return [id_ for id_, best in candidates.items() if id_ in masks and best[0].score < least]


def targets_of(model: Family, profile: Profile, modality: str) -> list[Target]:
    """What the weights know by name in a modality: what they list, or what the family tells itself, as one
    that reads any sentence may (``candidates(modality) -> Sequence[Target]``).
    """
    own = model.candidates(modality)
    if own is not None:
        return list(own)
    kinds = {name: concept.kind for name, concept in load_vocabulary().concepts.items()}
    listed = [t for t in profile.targets if t.modality == modality]
    return [Target(t.concept, t.side, kinds.get(t.concept, "")) for t in listed]


def _questions(targets: Sequence[Target], like: Prompt) -> list[Prompt]:
    """A prompt for each target, in the modality of ``like``."""
    why = "a target that the weights know"
    return [
        Prompt(number, target.name, like.modality, (target,), "term", None, why)
        for number, target in enumerate(targets, 1)
    ]


def _with(prompt: Prompt, best: tuple[float, Target], least: float) -> Prompt:
    """A prompt with its best candidate as target, whether or not that is told as its name."""
    score, target = best
    sure = f"agrees best with what was marked, by {score:.2f}"
    if score < least:
        sure += f", which is below {least:g}: run as that, and not called so"
    return replace(prompt, targets=(target,), found_by="marks", why=f"{prompt.why}; {target.name} {sure}")


Found = dict[int, list[tuple[np.ndarray, float, View]]]
"""For each question the probabilities (d, h, w) of its queries, their thresholds and views."""


def search(
    asked: Sequence[Prompt], case: Case, model: Family, profile: Profile, begin: Begin
) -> Found | None:
    """Run questions by their names alone; None where there was not enough time for it.

    Of a stage that locates, its result; without one the whole run.
    """
    sentences = {p.id: p.text for p in asked}
    plain = replace(case, user=UserPrompts(), sentences=sentences, instance=False)
    if not asked:
        return {}
    plan = separate_classes(model.plan(asked, profile, plain), asked)
    run = begin(plain, plan, TIME_SHARE)
    run.locate(lambda labels: None)
    found: Found = {}
    for batch, latest in zip(plan.batches, run.latest, strict=True):
        for query, each in zip(batch.queries, latest, strict=True):
            if each is not None:
                mine = (each.probability, each.threshold, each.view)
                found.setdefault(query.prompt_id, []).append(mine)
    late = [p.id for p in asked if p.id in plan.covered and p.id not in found]
    if late and not run.ladder.steps:
        run.refine(lambda labels: None)
        d, h, w = case.image.shape
        native = View((0.0, 0.0, 0.0), (1.0, 1.0, 1.0), (d, h, w), 0, 0)
        for id_ in late:
            mask = np.isin(run.result.labels, plan.classes_of(id_)).astype(np.float32)
            found[id_] = [(mask, 0.5, native)]
    return None if run.ladder.steps or run.fallbacks else found

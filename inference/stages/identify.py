"""What did the user mark? Names for prompts without a sentence (SegVol, section 4).

The targets that the weights know in the modality are searched by their names, in one pass of the first stage
for all of them, and ranked by how well each agrees with what was marked (``agreement``). All marks of a case
are told apart jointly (``assignment``).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
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
from vesal.inference.planning.rules import IdentificationRule
from vesal.inference.prompts.vocabulary import load_vocabulary
from vesal.inference.stages.agreement import ByName, agreement, highest
from vesal.inference.stages.assignment import assigned
from vesal.inference.stages.case_run import CaseRun
from vesal.inference.stages.marks import SEVERAL, is_both_sides
from vesal.inference.stages.segmentation import Segmentation
from vesal.inference.stages.unnamed import is_placed

SHOWN = 5
"""Candidates in the report."""
BESIDE = 1.3
"""How much more a target counts beside another one of its group. With it the anterior part of a hippocampus
is told from a spinal cord where that agrees by .72 and it by .57 (a case of `val`)."""
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
    unsure: Mapping[int, str] = field(default_factory=dict)
    """why the best candidate's name is not given, of those that are not sure enough"""

    def named(self, result: Segmentation) -> Segmentation:
        """A result that tells the candidates; where that is not sure, the best one's name is not given."""
        if not self.candidates:
            return result

        def count() -> dict[int, PromptResult]:
            counted = result.count()
            for id_, candidates in self.candidates.items():
                why = self.unsure.get(id_)
                name = candidates[0].target if why is None else None
                told = replace(counted[id_], candidates=candidates, target=name)
                # One that was not run has its reason already, in which the candidates are told.
                if why and told.covered is not False and why not in told.why:
                    told = replace(told, why=f"{told.why}; {why}")
                counted[id_] = told
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
    wanted = [p for p in prompts if p.unnamed and not p.targets and is_placed(p.id, case.user)]
    if not wanted:
        return Identified(tuple(prompts))
    ranked: dict[int, Ranking] = {}
    for modality in dict.fromkeys(p.modality for p in wanted):
        mine = [p for p in wanted if p.modality == modality]
        asked = _questions(targets_of(model, profile, modality), mine[0])
        found = search(asked, case, model, profile, begin)
        if found is None:
            note = "time ran short: it was not found out what the prompts without a sentence mark"
            return Identified(tuple(prompts), notes=(note,))
        targets = [question.targets[0] for question in asked]
        scores = _scores([p.id for p in mine], [found.get(q.id, []) for q in asked], case.user)
        groups = [group.targets for group in profile.seen_together if group.modality == modality]
        scores = raised_beside(scores, [target.name for target in targets], groups)
        ranked |= rank([p.id for p in mine], targets, scores, case.instance)
    ranked = {id_: best for id_, best in ranked.items() if best}
    candidates = {
        id_: tuple(Candidate(target.name, float(round(score, 3))) for score, target in best[:SHOWN])
        for id_, best in ranked.items()
    }
    unsure = why_unsure(ranked, profile.identification, case.instance)
    least = profile.identification.min_score
    kept = set(ids_kept(case.user, candidates, least)) if not model.capabilities.unnamed else set(candidates)
    told = tuple(
        p if p.id not in candidates or p.id in kept else _with(p, ranked[p.id][0], unsure.get(p.id))
        for p in prompts
    )
    return Identified(told, candidates, unsure=unsure)


Ranking = list[tuple[float, Target]]
"""Scores and targets: the one that a mark is run as first, the others by their score."""


def _scores(ids: Sequence[int], found: Sequence[Sequence[ByName]], user: UserPrompts) -> np.ndarray:
    """(n, m) float: agreement of n prompts with m targets, each as far as it was found."""
    most = highest(each for of_target in found for each in of_target)
    scores = np.zeros((len(ids), len(found)))
    for column, of_target in enumerate(found):
        for each in of_target:
            here = replace(each)  # so that its components are not kept
            for row, id_ in enumerate(ids):
                score = agreement(here, user, id_, most[each.grid])
                scores[row, column] = max(scores[row, column], score)
    return scores


def raised_beside(
    scores: np.ndarray, targets: Sequence[str], groups: Sequence[Collection[str]]
) -> np.ndarray:
    """Scores of which those count more whose target is seen together with what another mark agrees with best:
    beside a posterior hippocampus a mark is its anterior part rather than a spinal cord.

    Args:
        scores: (n, m) float 0..1, of n prompts with m targets.
        targets: m names.
        groups: names of targets that are seen together (``planning.seen_together``).

    Returns:
        (n, m) float 0..1.
    """
    best = [targets[int(row.argmax())] if row.any() else None for row in scores]
    raised = scores.copy()
    for row, column in np.argwhere(scores > 0):
        name = targets[column]
        others = {*best[:row], *best[row + 1 :]} - {name}
        if any(name in group and others.intersection(group) for group in groups):
            raised[row, column] = min(1.0, BESIDE * scores[row, column])
    return raised


def rank(
    ids: Sequence[int], targets: Sequence[Target], scores: np.ndarray, instance: bool
) -> dict[int, Ranking]:
    """What each prompt is run as, and what else it may be; only targets that agree with it at all.

    Args:
        ids: of n prompts.
        targets: m of them.
        scores: (n, m) float.
        instance: whether objects of one target are wanted.
    """
    if not targets:
        return {}
    chosen = assigned(scores, [None if instance else capacity_of(target) for target in targets])
    ranked: dict[int, Ranking] = {}
    for id_, of_prompt, first in zip(ids, scores, chosen, strict=True):
        order = [first, *(int(i) for i in np.argsort(-of_prompt, kind="stable") if i != first)]
        ranked[id_] = [(float(of_prompt[i]), targets[i]) for i in order if of_prompt[i] > 0]
    return ranked


def capacity_of(target: Target) -> int | None:
    """How many marks of one case may be a target: lesions and cells any number, else one on each side."""
    if target.kind in SEVERAL:
        return None
    return 2 if is_both_sides(target.concept, target.side) else 1


def why_unsure(ranked: Mapping[int, Ranking], rule: IdentificationRule, instance: bool) -> dict[int, str]:
    """Why prompts are not called by the name that they are run as, of those that are not."""
    taken: dict[str, list[int]] = {}
    for id_, best in sorted(ranked.items(), key=lambda item: -item[1][0][0]):
        taken.setdefault(best[0][1].name, []).append(id_)
    unsure = {}
    for id_, ((score, target), *others) in ranked.items():
        next_score, next_target = max(others, key=lambda each: each[0], default=(0.0, target))
        capacity = None if instance else capacity_of(target)
        better = [] if capacity is None else taken[target.name][:capacity]
        why = None
        if score < rule.min_score:
            why = f"which is below {rule.min_score:g}"
        elif score - next_score < rule.min_margin:
            why = f"and {next_target.name} by {next_score:.2f}, which is too near to tell"
        elif better and id_ not in better:
            why = f"but what marks class {better[0]} agrees better"
        if why is not None:
            unsure[id_] = f"{_agrees(score, target)}, {why}: not called so"
    return unsure


def _agrees(score: float, target: Target) -> str:
    return f"{target.name} agrees with what was marked, by {score:.2f}"


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


def _with(prompt: Prompt, best: tuple[float, Target], unsure: str | None) -> Prompt:
    """A prompt with its best candidate as target, whether or not that is told as its name."""
    score, target = best
    why = f"{unsure}, but run as that" if unsure else _agrees(score, target)
    return replace(prompt, targets=(target,), found_by="marks", why=f"{prompt.why}; {why}")


Found = dict[int, list[ByName]]
"""For each question what was found of its queries."""


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
                mine = ByName(each.probability, each.threshold, each.view)
                found.setdefault(query.prompt_id, []).append(mine)
    late = [p.id for p in asked if p.id in plan.covered and p.id not in found]
    if late and not run.ladder.steps:
        run.refine(lambda labels: None)
        d, h, w = case.image.shape
        native = View((0.0, 0.0, 0.0), (1.0, 1.0, 1.0), (d, h, w), 0, 0)
        for id_ in late:
            mask = np.isin(run.result.labels, plan.classes_of(id_)).astype(np.float32)
            found[id_] = [ByName(mask, 0.5, native)]
    return None if run.ladder.steps or run.fallbacks else found

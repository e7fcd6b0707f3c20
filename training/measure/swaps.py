"""The same network with prompts swapped: the output must follow the words, or come out empty.

Two swaps. Inside a set, a sentence is replaced by that of another target of the same case (left for right):
the result should fit the target that is asked for now, and no longer the one before. Across sets, a case is
asked for a target that it cannot show (``sets.json``, parts of the body): the result should be empty. Every
sentence is asked alone, so that no rival takes its voxels.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vesal.evaluation.metrics import dice, mean_of
from vesal.inference.api import Model, load
from vesal.inference.data.prompt import Prompt
from vesal.training.anatomy import Anatomy
from vesal.training.measure.absent import Foreign, absent_from, add_question_arguments, read_foreign
from vesal.training.measure.results import Report, about, markdown_table
from vesal.training.measure.runs import Labelled, parse, read_cases, run_case

MOST_SIBLINGS = 4
"""A set with more covered targets than this has only its sides listed pair by pair, the rest as one row."""


@dataclass(frozen=True)
class Swap:
    """One case asked for something else."""

    dataset: str
    case: str
    inside: bool
    replaced: str
    """Target of the sentence before; across sets: all that the case's own prompts ask for."""
    asked: str
    sides: bool
    """Whether the two are the sides of one concept."""
    own: float
    """Dice of the case's own prompt against its truth; across sets NaN"""
    against_asked: float
    """Dice of the swapped result against what is asked for; NaN where both are empty"""
    against_replaced: float
    """... and against the truth of what was replaced"""
    kept: float
    """Share of the voxels of the own result that the swapped result still has; NaN without any"""
    voxels: int
    """Size of the swapped result."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of this measurement."""
    add_question_arguments(parser)


def measure(args: argparse.Namespace) -> Report:
    """Swap inside every case, and ask every case for what it cannot show."""
    model = load(str(args.weights.resolve()))
    foreign, anatomy = read_foreign(args.data, args.real), Anatomy.read()
    swaps: list[Swap] = []
    for labelled in read_cases(args.data, args.most, args.real):
        swaps += inside(model, labelled)
        swaps += across(model, labelled, absent_from(labelled, foreign, anatomy, model.profile, args.absent))
    text = "\n\n".join(
        (
            "Another target of the same case:",
            inside_table([s for s in swaps if s.inside]),
            "A target that the case cannot show:",
            across_table([s for s in swaps if not s.inside]),
        )
    )
    return Report(
        text,
        {**about(model), "most": args.most, "most_absent": args.absent, "swaps": [vars(s) for s in swaps]},
    )


def inside(model: Model, labelled: Labelled) -> list[Swap]:
    """Every ordered pair of the covered targets that the case shows."""
    shown = [p for p in labelled.prompts if p.concept and model.profile.covers(p.concept, p.side, p.modality)]
    shown = [p for p in shown if labelled.mask(labelled.truth, p.id).any()]
    if len(shown) < 2:
        return []
    truth = {p.id: labelled.mask(labelled.truth, p.id) for p in shown}
    alone = {p.id: _alone(model, labelled, p) for p in shown}
    return [_swap(labelled, p, q, truth, alone) for p in shown for q in shown if p.id != q.id]


def _alone(model: Model, labelled: Labelled, prompt: Prompt) -> np.ndarray:
    return run_case(model, labelled.case, [prompt]).labels > 0


def _swap(
    labelled: Labelled, p: Prompt, q: Prompt, truth: dict[int, np.ndarray], alone: dict[int, np.ndarray]
) -> Swap:
    """What comes where the sentence of ``q`` replaces that of ``p``: the result of ``q`` asked alone."""
    assert p.target and q.target
    before, after = alone[p.id], alone[q.id]
    return Swap(
        dataset=labelled.dataset,
        case=labelled.case.name,
        inside=True,
        replaced=p.target,
        asked=q.target,
        sides=p.concept == q.concept,
        own=dice(before, truth[p.id]),
        against_asked=dice(after, truth[q.id]),
        against_replaced=dice(after, truth[p.id]),
        kept=kept(before, after),
        voxels=int(np.count_nonzero(after)),
    )


def across(model: Model, labelled: Labelled, foreign: Sequence[Foreign]) -> list[Swap]:
    """The case asked for each of ``foreign`` in place of its own prompts."""
    if not foreign:
        return []
    own = run_case(model, labelled.case, labelled.prompts).labels > 0
    truth = labelled.truth > 0
    names = ", ".join(p.target for p in labelled.prompts if p.target)
    swaps = []
    for other in foreign:
        after = run_case(model, labelled.case, parse(labelled.case, {1: other.sentence})).labels > 0
        against = 0.0 if after.any() else float("nan")
        swaps.append(
            Swap(
                labelled.dataset,
                labelled.case.name,
                False,
                names,
                other.name,
                False,
                float("nan"),
                against,
                dice(after, truth),
                kept(own, after),
                int(np.count_nonzero(after)),
            )
        )
    return swaps


def kept(before: np.ndarray, after: np.ndarray) -> float:
    """Share of the voxels of ``before`` that ``after`` has too; NaN where there is none."""
    size = np.count_nonzero(before)
    return float(np.count_nonzero(before & after) / size) if size else float("nan")


def inside_table(swaps: Sequence[Swap]) -> str:
    """Markdown: means per pair; pairs of sets with many targets that are no sides share a row."""
    covered: dict[str, set[str]] = defaultdict(set)
    for s in swaps:
        covered[s.dataset].add(s.replaced)

    def key(s: Swap) -> tuple[str, ...]:
        listed = s.sides or len(covered[s.dataset]) <= MOST_SIBLINGS
        return (s.dataset, s.replaced, s.asked) if listed else (s.dataset, "the other pairs", "")

    lines = [
        (*k, len(g), *(_mean(g, of) for of in ("own", "against_asked", "against_replaced", "kept")))
        for k, g in _groups(swaps, key)
    ]
    header = ("set", "replaced", "asked instead", "runs", "Dice before", "Dice against asked")
    return markdown_table((*header, "Dice against replaced", "voxels kept"), lines)


def across_table(swaps: Sequence[Swap]) -> str:
    """Markdown: how often the result is empty as it should, and how much of the own result it keeps."""
    groups = _groups(swaps, lambda s: (s.dataset, s.asked))
    lines: list[tuple[Any, ...]] = []
    for k, g in [*groups, (("**all**", ""), list(swaps))]:
        empty = sum(s.voxels == 0 for s in g)
        size = f"{mean_of([float(s.voxels) for s in g]):.0f}" if g else ""
        lines.append((*k, len(g), empty, size, _mean(g, "against_replaced"), _mean(g, "kept")))
    header = (
        "set",
        "asked instead",
        "cases",
        "empty",
        "mean voxels",
        "Dice against what is shown",
        "voxels kept",
    )
    return markdown_table(header, lines)


def _groups(
    swaps: Iterable[Swap], key: Callable[[Swap], tuple[str, ...]]
) -> list[tuple[tuple[str, ...], list[Swap]]]:
    by: dict[tuple[str, ...], list[Swap]] = defaultdict(list)
    for swap in swaps:
        by[key(swap)].append(swap)
    return sorted(by.items())


def _mean(swaps: Sequence[Swap], score: str) -> float:
    return mean_of([getattr(s, score) for s in swaps])

"""What did I mark? How often the target of a mark without a sentence is found first, or among three.

Each target of a case is marked by its true box, and by clicks (see ``marked``), and ranked among all that the
weights know in its modality. The modality is given. The threshold of a name is a field of the profile; where
it was chosen by these cases, the share of right names is that of cases which it was chosen on.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from vesal.evaluation.metrics import mean_of
from vesal.inference.api import Model, load
from vesal.inference.call_arguments import NO_LIMIT
from vesal.inference.data.user_prompts import Point, UserPrompts
from vesal.inference.planning.rules import IdentificationRule
from vesal.inference.timing.clock import Clock
from vesal.training.measure.marked import box_of, deepest, objects_of
from vesal.training.measure.results import Report, about, markdown_table
from vesal.training.measure.runs import Labelled, add_case_arguments, read_cases


@dataclass(frozen=True)
class Guess:
    """One marked target of a case."""

    dataset: str
    case: str
    target: str
    by: str
    """`box` or `click`"""
    place: int
    """of the true target among the candidates, from 1 on; 0: not among the first five"""
    named: bool
    """whether a name was given"""
    best: str
    score: float


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of this measurement."""
    add_case_arguments(parser)


def measure(args: argparse.Namespace) -> Report:
    """Mark every target of every case twice."""
    model = load(str(args.weights.resolve()))
    guesses = [g for labelled in read_cases(args.data, args.most) for g in guesses_of(model, labelled)]
    content: dict[str, Any] = {"most": args.most, "guesses": [asdict(guess) for guess in guesses]}
    return Report(table(guesses, model.profile.identification), {**about(model), **content})


def guesses_of(model: Model, labelled: Labelled) -> list[Guess]:
    """Both marks of the covered targets that one case shows."""
    covered = model.engine.model.plan(labelled.prompts, model.profile, labelled.case).covered
    shown = [p for p in labelled.prompts if p.id in covered and labelled.mask(labelled.truth, p.id).any()]
    if not shown:
        return []
    largest = {p.id: max(objects_of(labelled, p.id), key=np.count_nonzero) for p in shown}
    boxes = {id_: (box_of(mask),) for id_, mask in largest.items()}
    clicks = {id_: (Point(deepest(mask), True),) for id_, mask in largest.items()}
    unnamed = [replace(p, text="", targets=(), group=None) for p in shown]
    found = []
    for by, user in (("box", UserPrompts(boxes=boxes)), ("click", UserPrompts(points=clicks))):
        case = replace(labelled.case, user=user)
        identified = model.engine.identify(unnamed, case, Clock(NO_LIMIT, 0.0, lambda: 0.0))
        for p in shown:
            candidates = identified.candidates.get(p.id, ())
            names = [c.target for c in candidates]
            place = names.index(p.target) + 1 if p.target in names else 0
            score = candidates[0].score if candidates else 0.0
            named = bool(candidates) and p.id not in identified.unsure
            best = names[0] if names else ""
            found.append(Guess(labelled.dataset, case.name, p.target or "", by, place, named, best, score))
    return found


def table(guesses: Sequence[Guess], rule: IdentificationRule) -> str:
    """Markdown: rates by set and mark."""
    by: dict[tuple[str, str], list[Guess]] = defaultdict(list)
    for guess in guesses:
        by[guess.dataset, guess.by].append(guess)
        by["**all**", guess.by].append(guess)
    lines = []
    for key, group in sorted(by.items(), key=lambda item: (item[0][0] == "**all**", item[0])):
        named = [guess for guess in group if guess.named]
        lines.append(
            (
                *key,
                len(group),
                mean_of([float(guess.place == 1) for guess in group]),
                mean_of([float(0 < guess.place <= 3) for guess in group]),
                len(named) / len(group),
                mean_of([float(guess.place == 1) for guess in named]),
            )
        )
    header = (
        "set",
        "marked by",
        "targets",
        "first",
        "among three",
        f"named, from {rule.min_score:g} on, {rule.min_margin:g} ahead",
        "of these right",
    )
    return markdown_table(header, lines)

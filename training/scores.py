"""Scores of labelled cases: Dice per target, coarse and final, and the official instance F1."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import nan

import numpy as np

from vesal.evaluation.errors import OfficialScriptError
from vesal.evaluation.metrics import dice, mean_of
from vesal.evaluation.official import score_case_as_official
from vesal.inference.api import Model
from vesal.postprocess.instances import split_instances
from vesal.training.measure.results import markdown_table
from vesal.training.measure.runs import Labelled, Run, run_case

log = logging.getLogger("vesal")


@dataclass(frozen=True)
class Row:
    """One target of one case that shows it."""

    dataset: str
    target: str
    concept: str
    """What the network was asked for."""
    side: str | None
    modality: str
    coarse: float
    """Dice of the coarse stage alone, NaN where the rules have none; of an instance case as one foreground,
    here and below."""
    final: float
    f1: float = nan
    """The official instance F1 of the case; NaN in a case without instances."""
    covered: bool = True
    """Whether the weights cover the target; else it came out empty and scores 0."""
    case: str = ""


def score_case(model: Model, labelled: Labelled, budget_s: float | None = None) -> tuple[list[Row], Run]:
    """Rows of every known target that the case shows, and the run they come from."""
    run = run_case(model, labelled.case, labelled.prompts, budget_s)
    f1 = instance_f1(run.labels, labelled) if labelled.case.instance else nan
    rows = []
    for p in labelled.prompts:
        want = labelled.mask(labelled.truth, p.id)
        if not (p.concept and p.target and want.any()):
            continue
        coarse, final = (dice(labelled.mask(labels, p.id), want) for labels in (run.coarse, run.labels))
        outcome = run.result.prompts[p.id]
        covered = bool(outcome.covered)
        if covered and "coarse" not in outcome.stages:
            coarse = nan
        case, dataset = labelled.case.name, labelled.dataset
        rows.append(Row(dataset, p.target, p.concept, p.side, p.modality, coarse, final, f1, covered, case))
    return rows, run


def instance_f1(labels: np.ndarray, labelled: Labelled) -> float:
    """F1 of the objects as the organizers' script counts it; NaN, with a warning, where it breaks off.

    Some sets give all objects of a case one id. They are told apart as the engine tells them: 6-connected.
    """
    case, truth = labelled.case, labelled.truth
    if len(np.unique(truth[truth > 0])) == 1:
        truth = split_instances(truth)
    try:
        ids = list(case.sentences)
        return score_case_as_official(labels, truth, ids, case.spacing_dhw_mm, True).f1
    except OfficialScriptError as error:
        log.warning("%s has no official F1: %s", case.name, error)
        return nan


def _groups(
    rows: Iterable[Row], key: Callable[[Row], tuple[str, ...]]
) -> list[tuple[tuple[str, ...], list[Row]]]:
    by: dict[tuple[str, ...], list[Row]] = defaultdict(list)
    for row in rows:
        by[key(row)].append(row)
    return sorted(by.items())


def table(rows: Sequence[Row]) -> str:
    """Markdown: means per set and covered target."""
    lines = [
        (*key, len(group), *(mean_of([getattr(r, of) for r in group]) for of in ("coarse", "final", "f1")))
        for key, group in _groups((r for r in rows if r.covered), lambda r: (r.dataset, r.target))
    ]
    return markdown_table(("set", "target", "cases", "coarse", "final", "instance F1"), lines)


def set_table(rows: Sequence[Row]) -> str:
    """Markdown: mean of the targets' means per set, over the covered ones and over all that are labelled."""
    lines = []
    for (dataset,), group in _groups(rows, lambda r: (r.dataset,)):
        targets = [of for _, of in _groups(group, lambda r: (r.target,))]
        covered = [[r for r in of if r.covered] for of in targets if any(r.covered for r in of)]
        means = [mean_of([_mean(of, score) for of in covered]) for score in ("coarse", "final")]
        f1 = mean_of([r.f1 for of in covered for r in of])
        every = mean_of([_mean([r for r in of if r.covered], "final", 0.0) for of in targets])
        cases = len({r.case for r in group})
        lines.append((dataset, cases, f"{len(covered)} of {len(targets)}", *means, f1, every))
    header = ("set", "cases", "targets covered", "coarse", "final", "instance F1", "final, not covered as 0")
    return markdown_table(header, lines)


def _mean(rows: Sequence[Row], score: str, otherwise: float = nan) -> float:
    return mean_of([getattr(r, score) for r in rows]) if rows else otherwise


def not_covered_table(rows: Sequence[Row]) -> str:
    """Markdown: the labelled targets that the weights leave empty."""
    groups = _groups((r for r in rows if not r.covered), lambda r: (r.dataset, r.target))
    return markdown_table(("set", "target", "cases"), [(*key, len(group)) for key, group in groups])

"""The presence filter on and off (BiomedParse-V's slice detector, its table 4).

The same weights with the rule ``presence`` at 0, as shipped, and at other thresholds. Reported are the Dice
of the targets that are there, the voxels given on slices without the target (along the axis of the thickest
slices), and what comes of targets that a case cannot show (``sets.json``, parts of the body).
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vesal.evaluation.metrics import dice, mean_of
from vesal.inference.api import Model, load
from vesal.inference.data.errors import UsageError
from vesal.postprocess.presence import Presence
from vesal.training.anatomy import Anatomy
from vesal.training.measure.absent import Foreign, absent_from, add_question_arguments, read_foreign
from vesal.training.measure.results import Report, about, markdown_table
from vesal.training.measure.runs import Labelled, parse, read_cases, run_case


@dataclass(frozen=True)
class Shown:
    """A covered target of a case that shows it."""

    threshold: float
    dataset: str
    case: str
    target: str
    dsc: float
    empty_slices: int
    """Slices without the target in the truth"""
    false_slices: int
    """... of which the result has voxels in so many"""
    false_voxels: int
    """... and so many voxels in them"""


@dataclass(frozen=True)
class Absent:
    """A covered target of another part of the body."""

    threshold: float
    dataset: str
    case: str
    target: str
    voxels: int


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of this measurement."""
    add_question_arguments(parser)
    parser.add_argument(
        "--thresholds", type=float, nargs="+", default=[], help="presence thresholds beside the shipped one"
    )


def measure(args: argparse.Namespace) -> Report:
    """Run every case with and without the filter."""
    model = load(str(args.weights.resolve()))
    shipped = next((r.threshold for r in model.profile.postprocess if isinstance(r, Presence)), 0.0)
    thresholds = sorted({0.0, shipped, *args.thresholds})
    if len(thresholds) < 2:
        raise UsageError(
            f"{args.weights} ships with the presence filter off; give --thresholds to compare with"
        )
    engines = {t: with_threshold(model, t) for t in thresholds}
    foreign, anatomy = read_foreign(args.data, args.real), Anatomy.read()
    shown: list[Shown] = []
    absent: list[Absent] = []
    for labelled in read_cases(args.data, args.most, args.real):
        others = absent_from(labelled, foreign, anatomy, model.profile, args.absent)
        for threshold, used in engines.items():
            shown += shown_targets(threshold, used, labelled)
            absent += absent_targets(threshold, used, labelled, others)
    text = "\n\n".join((table(shown, absent, shipped), "Dice per set:", set_table(shown)))
    rows = {"shown": [vars(r) for r in shown], "absent": [vars(r) for r in absent]}
    return Report(
        text, {**about(model), "shipped": shipped, "most": args.most, "most_absent": args.absent, **rows}
    )


def with_threshold(model: Model, threshold: float) -> Model:
    """The same weights with another presence threshold."""
    others = tuple(rule for rule in model.profile.postprocess if not isinstance(rule, Presence))
    return model.with_profile(postprocess=(Presence(threshold=threshold), *others))


def shown_targets(threshold: float, model: Model, labelled: Labelled) -> list[Shown]:
    """Scores of the covered targets that the case shows; its prompts are asked together."""
    run = run_case(model, labelled.case, labelled.prompts)
    axis = int(np.argmax(labelled.case.spacing_dhw_mm))
    found = []
    for p in labelled.prompts:
        truth = labelled.mask(labelled.truth, p.id)
        if not (p.target and run.result.prompts[p.id].covered and truth.any()):
            continue
        got = labelled.mask(run.labels, p.id)
        empty, false, voxels = outside(got, truth, axis)
        where = labelled.dataset, labelled.case.name, p.target
        found.append(Shown(threshold, *where, dice(got, truth), empty, false, voxels))
    return found


def outside(got: np.ndarray, truth: np.ndarray, axis: int) -> tuple[int, int, int]:
    """Slices along ``axis`` without truth, how many of them the result is in, and with how many voxels.

    Both (D, H, W) bool.
    """
    others = tuple(a for a in range(3) if a != axis)
    empty = ~truth.any(axis=others)
    voxels = got.sum(axis=others)[empty]
    return int(empty.sum()), int(np.count_nonzero(voxels)), int(voxels.sum())


def absent_targets(
    threshold: float, model: Model, labelled: Labelled, foreign: Sequence[Foreign]
) -> list[Absent]:
    """Voxels given to targets that the case cannot show, each asked alone."""
    found = []
    for other in foreign:
        labels = run_case(model, labelled.case, parse(labelled.case, {1: other.sentence})).labels
        found.append(
            Absent(threshold, labelled.dataset, labelled.case.name, other.name, int(np.count_nonzero(labels)))
        )
    return found


def table(shown: Sequence[Shown], absent: Sequence[Absent], shipped: float) -> str:
    """Markdown: a row a threshold, 0 being no filter."""
    lines = []
    for threshold in sorted({r.threshold for r in shown} | {r.threshold for r in absent}):
        here = [r for r in shown if r.threshold == threshold]
        gone = [r for r in absent if r.threshold == threshold]
        name = (
            f"{threshold:g}, as shipped" if threshold == shipped else f"{threshold:g}" if threshold else "off"
        )
        empty, false = sum(r.empty_slices for r in here), sum(r.false_slices for r in here)
        lines.append(
            (
                name,
                len(here),
                mean_of([r.dsc for r in here]),
                f"{false} of {empty}",
                sum(r.false_voxels for r in here),
                len(gone),
                sum(r.voxels > 0 for r in gone),
                sum(r.voxels for r in gone),
            )
        )
    return markdown_table(
        (
            "presence threshold",
            "targets shown",
            "Dice",
            "slices without target that have some",
            "voxels there",
            "targets absent",
            "not left empty",
            "voxels there",
        ),
        lines,
    )


def set_table(shown: Sequence[Shown]) -> str:
    """Markdown: Dice per set, a column a threshold."""
    thresholds = sorted({r.threshold for r in shown})
    by: dict[str, list[Shown]] = defaultdict(list)
    for row in shown:
        by[row.dataset].append(row)
    lines = [
        (
            name,
            len(g) // len(thresholds),
            *(mean_of([r.dsc for r in g if r.threshold == t]) for t in thresholds),
        )
        for name, g in sorted(by.items())
    ]
    columns = [f"threshold {t:g}" if t else "filter off" for t in thresholds]
    return markdown_table(("set", "targets shown", *columns), lines)

"""The 48 ways to store a volume: `python -m benchmarks.orders DATA/val --only CT_HeadNeck --most 1`.

Labelled cases are stored with their axes in each of 6 orders, each with 8 reversals, and segmented. The
table has the Dice of every covered target as the case is stored, and over all ways; how many come within 0.05
of the first, and in how many the axes were brought into the order of the stored case. Where the results do
not depend on the order, as with thick slices, nothing is searched for.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import permutations
from pathlib import Path

import numpy as np

from benchmarks.measure import ROOT
from vesal.evaluation.metrics import dice
from vesal.inference.api import Model, load
from vesal.inference.data.case import Case
from vesal.inference.data.orientation import STORED, Orientation
from vesal.inference.runtime.machine import processor
from vesal.inference.stages.orientation import REVERSALS
from vesal.training.measure.results import markdown_table
from vesal.training.measure.runs import Labelled, read_cases, run_case

NEAR = 0.05
"""Dice that a way may lose and still count as found."""


@dataclass(frozen=True)
class Way:
    """One way to store a case."""

    orientation: Orientation
    """How the case has to be turned back."""
    found: bool
    """Whether the order of its axes was found."""
    dice: Mapping[str, float]
    """By target."""


def main(arguments: list[str] | None = None) -> int:
    """Run all cases in all ways and print the table."""
    parser = argparse.ArgumentParser("python -m benchmarks.orders", description=__doc__.split("\n")[0])
    parser.add_argument("data", type=Path, help="folder with SET/*.npz and labels")
    parser.add_argument("--real", type=Path, help="folder with imgs/ and gts/")
    parser.add_argument("--only", action="append", default=[], help="set of DATA; may be repeated")
    parser.add_argument("--most", type=int, default=1, help="cases of a set; 0: all")
    parser.add_argument("--every", type=int, default=1, help="only every so manieth way")
    parser.add_argument("--weights", type=Path, default=ROOT / "weights" / "nano")
    options = parser.parse_args(arguments)
    model = load(options.weights)
    cases = read_cases(options.data, options.most, options.real, options.only)
    rows = [row for one in cases for row in table_rows(one, list(run_ways(model, one, options.every)))]
    titles = ("case", "target", "ways", "order found", "as it is", "mean", "least", f"within {NEAR}")
    print(f"{processor()}\n\n{markdown_table(titles, rows)}")
    return 0


def all_ways() -> list[Orientation]:
    """All 48, the stored one first."""
    orders = [(d, h, w) for d, h, w in permutations((0, 1, 2))]
    return [Orientation(order, axes) for order in orders for axes in ((), *REVERSALS)]


def stored(case: Case, orientation: Orientation) -> Case:
    """The case stored so that `orientation` turns it back."""
    d, h, w = (case.spacing_dhw_mm[axis] for axis in np.argsort(orientation.order))
    return replace(case, image=orientation.back(case.image), spacing_dhw_mm=(d, h, w))


def run_ways(model: Model, labelled: Labelled, every: int = 1) -> Iterator[Way]:
    """Segment a case in all ways, or every so manieth."""
    for orientation in all_ways()[::every]:
        case = stored(labelled.case, orientation)
        run = run_case(model, case, labelled.prompts, budget_s=600.0)
        labels = orientation.turn(run.labels)
        scores = {}
        for prompt in labelled.prompts:
            truth = labelled.mask(labelled.truth, prompt.id)
            if run.result.prompts[prompt.id].covered and truth.any():
                scores[str(prompt.target)] = dice(labelled.mask(labels, prompt.id), truth)
        yield Way(orientation, run.result.orientation.order == orientation.order, scores)


def table_rows(labelled: Labelled, ways: Sequence[Way]) -> list[tuple[object, ...]]:
    """A row for every target; the first way is the stored one."""
    assert ways[0].orientation == STORED
    count, found = len(ways), sum(way.found for way in ways)
    rows: list[tuple[object, ...]] = []
    for target, first in ways[0].dice.items():
        scores = [way.dice[target] for way in ways]
        near = sum(score >= first - NEAR for score in scores)
        means = first, float(np.mean(scores)), min(scores)
        rows.append((labelled.case.name, target, count, found, *means, near))
    return rows


if __name__ == "__main__":
    sys.exit(main())

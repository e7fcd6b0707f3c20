"""Whether further rules help the default weights: `python -m benchmarks.rules DATA/val`.

Every case of the labelled sets is segmented with the rules as shipped and with one rule more at a time, after
them; the table has the mean Dice of the covered targets of each set. A rule gets into a shipped profile only
where it helps. Where objects are wanted none of them runs, so such sets come out the same.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from benchmarks.measure import ROOT
from vesal.evaluation.metrics import dice, mean_of
from vesal.inference.api import Model, load
from vesal.inference.runtime.machine import processor
from vesal.postprocess.fill_holes import FillHoles
from vesal.postprocess.rule import Rule
from vesal.postprocess.smooth import Smooth
from vesal.training.measure.results import markdown_table
from vesal.training.measure.runs import Labelled, read_cases, run_case

Axis = Literal[0, 1, 2]

TRIED: Mapping[str, Callable[[Axis], tuple[Rule, ...]]] = {
    "as shipped": lambda thick: (),
    "fill_holes in space": lambda thick: (FillHoles(),),
    "fill_holes in slices": lambda thick: (FillHoles(axis=thick),),
    "smooth 1 mm": lambda thick: (Smooth(radius_mm=1.0),),
    "smooth 2 mm": lambda thick: (Smooth(radius_mm=2.0),),
}
"""By the column's title the rules after the profile's; `thick` is the axis of the longest voxels."""

Scores = dict[str, dict[str, list[float]]]
"""Dice of every covered target by set and column"""


def main(arguments: list[str] | None = None) -> int:
    """Run all cases and print the table."""
    parser = argparse.ArgumentParser("python -m benchmarks.rules", description=__doc__.split("\n")[0])
    parser.add_argument("data", type=Path, help="folder with SET/*.npz and labels")
    parser.add_argument("--weights", type=Path, default=ROOT / "weights" / "nano")
    parser.add_argument("--most", type=int, default=0, help="cases of a set; 0: all")
    options = parser.parse_args(arguments)
    model = load(options.weights)
    scores: Scores = defaultdict(lambda: defaultdict(list))
    for labelled in read_cases(options.data, options.most):
        for title, rules in TRIED.items():
            used = with_rules(model, rules(thick_axis(labelled.case.spacing_dhw_mm)))
            scores[labelled.dataset][title] += dice_of(used, labelled)
    print(f"{processor()}\n\n{table(scores)}")
    return 0


def with_rules(model: Model, rules: Sequence[Rule]) -> Model:
    """The same weights with further rules after their own."""
    return model.with_profile(postprocess=(*model.profile.postprocess, *rules))


def thick_axis(spacing_dhw_mm: Sequence[float]) -> Axis:
    """Axis of (D, H, W) with the longest voxels; the first of equal ones."""
    axes: tuple[Axis, ...] = (0, 1, 2)
    return max(axes, key=lambda axis: spacing_dhw_mm[axis])


def dice_of(model: Model, labelled: Labelled) -> list[float]:
    """Dice of each covered target that the case shows; of objects, of all of them together."""
    run = run_case(model, labelled.case, labelled.prompts, budget_s=600.0)
    found = []
    for prompt in labelled.prompts:
        if not run.result.prompts[prompt.id].covered:
            continue
        if labelled.case.instance:
            return [dice(run.labels > 0, labelled.truth > 0)]
        truth = labelled.mask(labelled.truth, prompt.id)
        if truth.any():
            found.append(dice(labelled.mask(run.labels, prompt.id), truth))
    return found


def table(scores: Scores) -> str:
    """Markdown: a row a set, a column a list of rules, and the mean over sets."""
    titles = list(next(iter(scores.values())))
    rows = [
        (name, len(by[titles[0]]), *(mean_of(by[title]) for title in titles))
        for name, by in sorted(scores.items())
        if by[titles[0]]
    ]
    means = [float(np.mean([row[2 + n] for row in rows])) for n in range(len(titles))]
    return markdown_table(
        ("set", "targets", *titles), [*rows, ("mean of sets", sum(row[1] for row in rows), *means)]
    )


if __name__ == "__main__":
    sys.exit(main())

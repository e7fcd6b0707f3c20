"""How round objects that touch are best separated: `python -m benchmarks.touching DATA/train`.

The numbers of the rule `round_objects` are shares of the objects' own size, so they are chosen over several
sizes: every labelled instance volume is also taken coarser. Two masks of each are cut, what the default
weights find and the truth with its gaps blurred shut; the table has the mean instance F1 of both and of each
volume as it is. Choose on training volumes only.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from benchmarks.measure import ROOT
from vesal.evaluation.metrics import score_instances
from vesal.inference.api import Model, load
from vesal.inference.runtime.machine import processor
from vesal.postprocess.instances import Instances, split_instances
from vesal.postprocess.round_objects import RoundObjects, cut_round_objects
from vesal.postprocess.rule import CutRule
from vesal.training.measure.results import markdown_table
from vesal.training.measure.runs import Labelled, read_cases, run_case

SCALES = (1.0, 0.75, 0.6, 0.5)
DEPTHS = (0.01, 0.02, 0.025, 0.03, 0.04, 0.06, 0.08, 0.1)
RADII = (0.5, 0.6, 0.7)
MIN_VOXELS = 10
"""As the default weights have it."""
MIN_DICE = 0.5
"""Where the weights find less than this of a volume, its mask says nothing about separating."""


@dataclass(frozen=True)
class Masked:
    """A mask to be cut, and the objects in it."""

    name: str
    mask: np.ndarray
    """(D, H, W) bool"""
    truth: np.ndarray
    """(D, H, W) unsigned"""
    spacing_dhw_mm: tuple[float, float, float]


def main(arguments: list[str] | None = None) -> int:
    """Cut all masks by all rules and print the table."""
    parser = argparse.ArgumentParser("python -m benchmarks.touching", description=__doc__.split("\n")[0])
    parser.add_argument("data", type=Path, help="folder with SET/*.npz and labels")
    parser.add_argument("--set", default="Microscopy_Nuclei", help="whose volumes are taken (%(default)s)")
    parser.add_argument("--concept", default="cell nucleus", help="target that is separated (%(default)s)")
    options = parser.parse_args(arguments)
    model = load(ROOT / "weights" / "nano")
    cases = read_cases(options.data, only=[options.set])
    found = [each for case in cases if _asks(case, options.concept) for each in masks(model, case)]
    print(f"{processor()}\n\n{table(found)}")
    return 0


def _asks(labelled: Labelled, concept: str) -> bool:
    return labelled.case.instance and [p.concept for p in labelled.prompts] == [concept]


def masks(model: Model, labelled: Labelled) -> Iterator[Masked]:
    """What the weights find of a volume, and its truth, at each of the scales."""
    from scipy.ndimage import gaussian_filter, zoom

    rules = model.profile.postprocess
    plain = model.with_profile(postprocess=tuple(rule for rule in rules if not isinstance(rule, CutRule)))
    truth = labelled.truth if labelled.truth.max() > 1 else split_instances(labelled.truth)
    for scale in SCALES:
        case = labelled.case
        image = case.image
        if scale < 1:
            smooth = gaussian_filter(image.astype(np.float32), 0.5 / scale - 0.4)
            image = np.clip(zoom(smooth, scale, order=1), 0, 255).astype(np.uint8)
        small = _nearest(truth, image.shape)
        foreground = gaussian_filter((truth > 0).astype(np.float32), 0.5 / scale + 0.3)
        d, h, w = (mm / scale for mm in case.spacing_dhw_mm)
        spacing = d, h, w
        run = run_case(plain, replace(case, image=image, spacing_dhw_mm=spacing), labelled.prompts, 600.0)
        name = case.name.removeprefix(f"{labelled.dataset}_")
        mask = run.labels > 0
        if 2 * np.count_nonzero(mask & (small > 0)) >= MIN_DICE * (mask.sum() + np.count_nonzero(small)):
            yield Masked(f"{name} x{scale:g}, found", mask, small, spacing)
        yield Masked(f"{name} x{scale:g}, truth", _nearest(foreground, image.shape) > 0.4, small, spacing)


def _nearest(values: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """(D, H, W) at the centres of another grid over the same volume."""
    sides = zip(values.shape, shape, strict=True)
    return values[np.ix_(*(((np.arange(n) + 0.5) * of / n).astype(int) for of, n in sides))]


def f1(masked: Masked, rule: RoundObjects | None) -> float:
    """Instance F1 of a mask that is cut by a rule; of its components where there is none."""
    if rule is None:
        return score_instances(split_instances(masked.mask, MIN_VOXELS), masked.truth).f1
    cut = cut_round_objects(masked.mask, masked.spacing_dhw_mm, rule)
    return score_instances(Instances(min_voxels=MIN_VOXELS).number(cut.pieces, cut.sizes), masked.truth).f1


def table(found: Sequence[Masked]) -> str:
    """Markdown: a row a rule, its means over what was found and over truths, and the volumes as they are."""
    whole = [each for each in found if "x1," in each.name]
    rules = [None, *(RoundObjects(min_depth=d, min_radius=r) for d in DEPTHS for r in RADII)]
    rows: list[tuple[str, list[float]]] = []
    for rule in rules:
        scores = {each.name: f1(each, rule) for each in found}
        means = [
            float(np.mean([score for name, score in scores.items() if name.endswith(of)]))
            for of in ("found", "truth")
        ]
        title = "components" if rule is None else f"depth {rule.min_depth:g}, radius {rule.min_radius:g}"
        rows.append((title, [sum(means) / 2, *means, *(scores[each.name] for each in whole)]))
    rows.sort(key=lambda row: -row[1][0])
    return markdown_table(
        ("rule", "mean", "found", "truth", *(each.name for each in whole)),
        [(title, *scores) for title, scores in rows],
    )


if __name__ == "__main__":
    sys.exit(main())

"""What keeps touching objects from being found: `python -m benchmarks.objects CASE.npz... [--demo]`.

For each labelled instance case: the foreground that weights find (Dice), and the F1 of objects as it stands;
of the true foreground with true distances to the border (the bound of the watershed), and with distances that
are blurred and noisy; of the foreground found with true distances (the mask alone is at fault), and of the
true foreground with the distances that the weights tell (distances alone are). Objects of the truth are its
6-connected pieces; with more than 255 of them the cap of the output is told as a bound of its own.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

import cc3d
import numpy as np

from benchmarks.measure import ROOT
from vesal.evaluation.metrics import dice, score_instances
from vesal.inference.api import Model, load
from vesal.postprocess.instances import MAX_INSTANCES, Instances
from vesal.postprocess.round_objects import RoundObjects
from vesal.postprocess.rule import ClassPart, CutRule
from vesal.postprocess.seeded_watershed import SeededWatershed
from vesal.training.measure.results import markdown_table
from vesal.training.measure.runs import Labelled, read_labelled
from vesal.training.object_targets import border_distance

MIN_VOXELS = 10
"""As the default weights have it."""
BLUR_VOXELS, NOISE = 1.5, 0.1
"""Of bad distances: sigma of the Gaussian, and deviation of the noise."""
HEADERS = (
    "case",
    "objects",
    "foreground Dice",
    "F1",
    "cap of 255",
    "true mask, true distances",
    "true mask, bad distances",
    "found mask, true distances",
    "true mask, told distances",
    "true mask, by shape",
)


@dataclass(frozen=True)
class Scene:
    """A case with its objects."""

    case: Labelled
    truth: np.ndarray
    """(D, H, W) unsigned, each object another"""


def main(arguments: list[str] | None = None) -> int:
    """Measure all cases and print the table."""
    parser = argparse.ArgumentParser("python -m benchmarks.objects", description=__doc__.split("\n")[0])
    parser.add_argument("cases", type=Path, nargs="*", help="labelled files of the challenge's format")
    parser.add_argument("--truth", type=Path, help="folder with the labels, where they stand in other files")
    parser.add_argument("--demo", action="store_true", help="the demo's nuclei, too")
    parser.add_argument("--weights", type=Path, default=ROOT / "weights" / "nano")
    options = parser.parse_args(arguments)
    model = load(options.weights)
    labelled = [read_labelled(p, options.truth and options.truth / p.name) for p in options.cases]
    if options.demo:
        labelled.append(_demo())
    rows = [(scene.case.case.name, *row(model, scene)) for scene in map(scene_of, labelled)]
    print(markdown_table(HEADERS, rows))
    return 0


def _demo() -> Labelled:
    from vesal.demo.cases import nuclei
    from vesal.demo.convert import write_challenge_case
    from vesal.training.measure.runs import parse

    folder = ROOT / ".demo"
    demo = nuclei(folder / "packages")
    case = write_challenge_case(demo, folder / "inputs")
    return Labelled("demo", case, demo.truth, parse(case, case.sentences))


def scene_of(case: Labelled) -> Scene:
    """A case with pieces of its labels as objects, without crumbs."""
    pieces = cc3d.connected_components(case.truth, connectivity=6)
    stays = np.bincount(pieces.ravel()) >= MIN_VOXELS
    stays[0] = False
    return Scene(case, np.where(stays, np.cumsum(stays), 0).astype(np.uint32)[pieces])


def row(model: Model, scene: Scene) -> tuple[object, ...]:
    """The figures of one case, in the order of ``HEADERS``."""
    case, truth = scene.case.case, scene.truth
    sentences = dict(case.sentences)
    result = model.segment(case.image, case.spacing_dhw_mm, sentences, instances=True)
    found, solid = result.labels > 0, truth > 0
    inner = border_distance(truth, case.spacing_dhw_mm)
    told = 1 - result.edges(next(iter(sentences))) if model.capabilities.edges else None
    rules = [r for r in model.profile.postprocess if isinstance(r, SeededWatershed)]
    rule = rules[0] if rules else SeededWatershed()
    capped = np.where(truth > 0, np.minimum(truth, MAX_INSTANCES + 1), 0)
    capped[capped > MAX_INSTANCES] = 0

    def f1(mask: np.ndarray, height: np.ndarray | None, by: CutRule = rule) -> float:
        edges = None if height is None else (lambda planes: 1 - height[planes])
        part = ClassPart(mask.astype(np.uint8), mask, 1, case.spacing_dhw_mm, edges)
        cut = by.cut(part, lambda seconds: True)
        return score_instances(Instances(min_voxels=MIN_VOXELS).number(cut.pieces, cut.sizes), truth).f1

    return (
        int(truth.max()),
        float(dice(found, solid)),
        float(score_instances(result.labels, truth).f1),
        float(score_instances(capped, truth).f1),
        f1(solid, inner),
        f1(solid, _bad(inner, case.spacing_dhw_mm)),
        f1(found, inner),
        None if told is None else f1(solid, told),
        f1(solid, None, RoundObjects()),
    )


def _bad(inner: np.ndarray, spacing_dhw_mm: tuple[float, float, float]) -> np.ndarray:
    """Distances (D, H, W) as a network tells them on a bad day."""
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(0)
    blurred = gaussian_filter(inner, [BLUR_VOXELS * min(spacing_dhw_mm) / mm for mm in spacing_dhw_mm])
    noise = gaussian_filter(rng.normal(size=inner.shape).astype(np.float32), 0.7)
    return np.clip(blurred + NOISE * noise / noise.std(), 0, 1)


if __name__ == "__main__":
    sys.exit(main())

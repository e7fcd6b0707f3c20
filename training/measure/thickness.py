"""Thicker slices: what convolutions that adapt to the spacing are for (SPAD-Nets).

Every case is run as it is and with its slices 2, 4 and 8 times as thick, means of that many slices, in four
ways: as the engine does it, which interpolates slices thicker than those of training to the thickest of
these; by kernels that follow the spacing of the slices as they are; by a network with three-dimensional
kernels everywhere that was trained the same way; and by the first on a volume that was made isotropic before.
Dice is that of the thick grid.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from msgspec import structs
from scipy.ndimage import zoom

from vesal.evaluation.metrics import dice, mean_of
from vesal.inference.api import Model, load
from vesal.inference.geometry.views import triple
from vesal.training.measure.results import Report, about, markdown_table
from vesal.training.measure.runs import Labelled, Run, add_case_arguments, read_cases, run_case
from vesal.training.thicken import thick_slices

TIMES = (1, 2, 4, 8)
RUN = "as it is run"
ADAPTS, PLAIN, ISOTROPIC = "SPAD convolutions alone", "plain 3D convolutions", "made isotropic first"
COLOURS = {RUN: "#000000", ADAPTS: "#0072b2", PLAIN: "#d55e00", ISOTROPIC: "#009e73"}
"""Of Okabe and Ito, told apart by colour-blind readers."""


@dataclass(frozen=True)
class Score:
    """One target of a case, or an instance case as one foreground."""

    dataset: str
    case: str
    target: str
    times: int
    way: str
    dice: float
    seconds: float
    """Of the whole case."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of this measurement."""
    add_case_arguments(parser)
    parser.add_argument("--plain", type=Path, help="weights with three-dimensional kernels everywhere")
    parser.add_argument("--only", nargs="+", default=[], metavar="SET", help="these sets alone")
    parser.add_argument("--times", type=int, nargs="+", default=list(TIMES), help="thickness of the slices")
    parser.add_argument("--picture", type=Path, help="PNG to draw")


def measure(args: argparse.Namespace) -> Report:
    """Run every case in every way."""
    model = load(str(args.weights.resolve()))
    models = {RUN: model, ADAPTS: of_any_thickness(model)}
    if args.plain:
        models[PLAIN] = of_any_thickness(load(str(args.plain.resolve())))
    models[ISOTROPIC] = models[ADAPTS]
    scores: list[Score] = []
    for labelled in read_cases(args.data, args.most, only=args.only):
        for times in args.times:
            thick = thickened(labelled, times)
            for way, model in models.items():
                scores += score(model, thick, times, way)
    if args.picture:
        draw(scores, args.picture)
    content: dict[str, Any] = {"most": args.most, "scores": [asdict(s) for s in scores]}
    return Report(table(scores), {**about(model), **content})


def of_any_thickness(model: Model) -> Model:
    """The same network with views whose slices are as thick as those of the scan, however thick."""
    profile = model.profile
    return model.with_profile(
        targets=tuple(structs.replace(target, thickest_slice_mm=None) for target in profile.targets),
        not_covered=tuple(structs.replace(target, thickest_slice_mm=None) for target in profile.not_covered),
    )


def thickened(labelled: Labelled, times: int) -> Labelled:
    """The case with slices so many times as thick, see ``thicken.thick_slices``."""
    image, truth, spacing = thick_slices(
        labelled.case.image, labelled.truth, labelled.case.spacing_dhw_mm, times
    )
    case = replace(labelled.case, image=image, spacing_dhw_mm=spacing)
    return replace(labelled, case=case, truth=truth)


def isotropic(labelled: Labelled) -> Labelled:
    """The case with voxels as long as its shortest edge: linear interpolation, labels by the nearest."""
    spacing = labelled.case.spacing_dhw_mm
    factors = [s / min(spacing) for s in spacing]
    image = zoom(labelled.case.image.astype(np.float32), factors, order=1, mode="nearest", grid_mode=True)
    truth = zoom(labelled.truth, factors, order=0, mode="nearest", grid_mode=True)
    extent = zip(spacing, labelled.truth.shape, truth.shape, strict=True)
    case = replace(
        labelled.case,
        image=image.round().clip(0, 255).astype(np.uint8),
        spacing_dhw_mm=triple(s * before / after for s, before, after in extent),
    )
    return replace(labelled, case=case, truth=truth)


def score(model: Model, labelled: Labelled, times: int, way: str) -> list[Score]:
    """Run one case in one way."""
    seen = isotropic(labelled) if way == ISOTROPIC else labelled
    run = run_case(model, seen.case, seen.prompts)
    labels = _on_grid(run, labelled.truth.shape)
    found = []
    for prompt in labelled.prompts:
        want = labelled.mask(labelled.truth, prompt.id)
        if prompt.target and want.any() and run.result.prompts[prompt.id].covered:
            value = dice(labelled.mask(labels, prompt.id), want)
            name = labelled.case.name
            found.append(Score(labelled.dataset, name, prompt.target, times, way, value, run.seconds))
    return found


def _on_grid(run: Run, shape: tuple[int, ...]) -> np.ndarray:
    """Labels (D, H, W) of a run, brought to another grid over the same volume by the nearest voxel."""
    at = [
        np.minimum(((np.arange(n) + 0.5) * m / n).astype(int), m - 1)
        for n, m in zip(shape, run.labels.shape, strict=True)
    ]
    return run.labels[np.ix_(*at)]


def table(scores: Sequence[Score]) -> str:
    """Markdown: mean Dice of the targets of each set by way and thickness, and seconds a case."""
    times = sorted({s.times for s in scores})
    lines: list[tuple[Any, ...]] = []
    for way in dict.fromkeys(s.way for s in scores):
        ways = [s for s in scores if s.way == way]
        for dataset in sorted({s.dataset for s in ways}):
            own = [s for s in ways if s.dataset == dataset]
            lines.append((way, dataset, *(_mean(own, t) for t in times)))
        lines.append((f"**{way}**", "**mean of sets**", *(mean_of_sets(ways, t) for t in times)))
        lines.append((way, "seconds a case", *(_seconds(ways, t) for t in times)))
    return markdown_table(("way", "set", *(f"{t}x" for t in times)), lines)


def mean_of_sets(scores: Sequence[Score], times: int) -> float:
    """Mean Dice over sets, each the mean of its scores at one thickness."""
    return mean_of([_mean([s for s in scores if s.dataset == d], times) for d in {s.dataset for s in scores}])


def _mean(scores: Sequence[Score], times: int) -> float:
    return mean_of([s.dice for s in scores if s.times == times])


def _seconds(scores: Sequence[Score], times: int) -> float:
    cases = {s.case: s.seconds for s in scores if s.times == times}
    return mean_of(list(cases.values()))


def draw(scores: Sequence[Score], path: Path) -> None:
    """Dice against the thickness of slices, a panel a set and one for all, and the time of a case."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    by_set: dict[str, list[Score]] = defaultdict(list)
    for s in scores:
        by_set[s.dataset].append(s)
    panels = {"all sets": list(scores), **dict(sorted(by_set.items()))}
    columns = min(4, len(panels) + 1)
    rows = -(-(len(panels) + 1) // columns)
    figure = Figure(figsize=(3.2 * columns, 0.6 + 2.4 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes, (name, own) in zip(grid.flat, panels.items(), strict=False):
        _panel(axes, name, own, mean_of_sets, "Dice")
        axes.set_ylim(-0.02, 1.02)
    _panel(grid.flat[len(panels)], "time", list(scores), _seconds, "seconds a case")
    for axes in grid.flat[len(panels) + 1 :]:
        axes.set_axis_off()
    handles, labels = grid.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), fontsize=8, frameon=False)
    figure.savefig(path, dpi=110, metadata={"Software": None})


def _panel(axes, name: str, scores: Sequence[Score], value, label: str) -> None:
    times = sorted({s.times for s in scores})
    for way in dict.fromkeys(s.way for s in scores):
        own = [s for s in scores if s.way == way]
        points = [value(own, t) for t in times]
        axes.plot(times, points, "o-", color=COLOURS[way], label=way, linewidth=1.3, markersize=3.5)
    axes.set_xscale("log", base=2)
    axes.set_xticks(times, [f"{t}x" for t in times])
    axes.set_title(name, fontsize=9)
    axes.set_ylabel(label, fontsize=8)
    axes.tick_params(labelsize=8)
    axes.grid(alpha=0.3)

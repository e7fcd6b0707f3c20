"""What a user's true box, or one click, adds to the sentence: Dice with text alone and with each of them.

The box is that of the labels, of a case with objects one for each; with ``--jitter`` each of its faces is
moved by up to so much of its extent. A box of one slice is measured in the middle slice alone, as in the
challenge's interactive track. A click is the voxel farthest from the border, one for each part of a label.
All prompts of a case are marked and asked together.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from vesal.evaluation.metrics import dice, mean_of
from vesal.inference.api import Model, load
from vesal.inference.data.user_prompts import Point, UserPrompts, VoxelBox
from vesal.inference.stages.marked_components import components
from vesal.training.measure.results import Report, about, markdown_table
from vesal.training.measure.runs import Labelled, add_case_arguments, read_cases, run_case


@dataclass(frozen=True)
class Marked:
    """One target of a case: Dice with text alone and with what was marked beside it."""

    dataset: str
    case: str
    target: str
    text: float
    box: float
    jittered: float
    slice: float
    click: float


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of this measurement."""
    add_case_arguments(parser)
    parser.add_argument("--jitter", type=float, default=0.1, help="share of the extent that faces move by")


def measure(args: argparse.Namespace) -> Report:
    """Run every case five times: text alone, true boxes, moved boxes, boxes of one slice, clicks."""
    model = load(str(args.weights.resolve()))
    rows = [
        row
        for labelled in read_cases(args.data, args.most)
        for row in measure_case(model, labelled, args.jitter)
    ]
    content: dict[str, Any] = {
        "most": args.most,
        "jitter": args.jitter,
        "rows": [asdict(row) for row in rows],
    }
    return Report(table(rows, args.jitter), {**about(model), **content})


def measure_case(model: Model, labelled: Labelled, jitter: float) -> list[Marked]:
    """The covered targets of one case that it shows."""
    covered = model.engine.model.plan(labelled.prompts, model.profile, labelled.case).covered
    prompts = [p for p in labelled.prompts if p.id in covered and labelled.mask(labelled.truth, p.id).any()]
    if not prompts:
        return []
    rng = np.random.default_rng(0)
    truth = {p.id: labelled.mask(labelled.truth, p.id) for p in prompts}
    objects = {p.id: objects_of(labelled, p.id) for p in prompts}
    boxes = {id_: tuple(box_of(mask) for mask in masks) for id_, masks in objects.items()}
    moved = {
        id_: tuple(moved_box(b, jitter, labelled.truth.shape, rng) for b in of) for id_, of in boxes.items()
    }
    sliced = {id_: tuple(slice_box(mask) for mask in masks) for id_, masks in objects.items()}
    clicks = {
        id_: tuple(Point(deepest(part), True) for mask in masks for part in parts_of(mask))
        for id_, masks in objects.items()
    }
    by_box = (UserPrompts(boxes=each) for each in (boxes, moved, sliced))
    given = (UserPrompts(), *by_box, UserPrompts(points=clicks))
    found = [run_case(model, replace(labelled.case, user=user), labelled.prompts).labels for user in given]
    return [
        Marked(
            labelled.dataset,
            labelled.case.name,
            p.target or p.text,
            *(dice(labelled.mask(labels, p.id), truth[p.id]) for labels in found),
        )
        for p in prompts
    ]


def objects_of(labelled: Labelled, prompt_id: int) -> list[np.ndarray]:
    """(D, H, W) bool: a prompt's voxels, or those of each object."""
    if not labelled.case.instance:
        return [labelled.truth == prompt_id]
    ids = [int(i) for i in np.unique(labelled.truth) if i]
    objects = labelled.truth if len(ids) > 1 else components(labelled.truth > 0)
    return [objects == i for i in np.unique(objects) if i]


def parts_of(mask: np.ndarray) -> list[np.ndarray]:
    """The components of a mask (D, H, W) that have at least a tenth of the voxels of the largest."""
    labels = components(mask)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return [labels == i for i in np.flatnonzero(sizes) if 10 * sizes[i] >= sizes.max()]


def slice_box(mask: np.ndarray) -> VoxelBox:
    """The extent of a mask (D, H, W) along D, and in the plane that of its middle slice."""
    slices = np.flatnonzero(mask.any((1, 2)))
    middle = int(slices[len(slices) // 2])
    box = box_of(mask[middle : middle + 1])
    return VoxelBox((int(slices[0]), *box.start[1:]), (int(slices[-1]) + 1, *box.stop[1:]), (1, 2))


def box_of(mask: np.ndarray) -> VoxelBox:
    """The box of a mask (D, H, W) with a voxel or more."""
    from vesal.postprocess.instances import tight_box

    d, h, w = tight_box(mask)
    return VoxelBox((int(d.start), int(h.start), int(w.start)), (int(d.stop), int(h.stop), int(w.stop)))


def moved_box(box: VoxelBox, share: float, shape: Sequence[int], rng: np.random.Generator) -> VoxelBox:
    """A box with each face moved by up to a share of its extent; it keeps a voxel, inside the volume."""
    start, stop = [], []
    for a, b, n in zip(box.start, box.stop, shape, strict=True):
        low, high = (round(float(rng.uniform(-share, share)) * (b - a)) for _ in range(2))
        first = min(max(0, a + low), n - 1)
        start.append(first)
        stop.append(max(first + 1, min(n, b + high)))
    return VoxelBox((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))


def deepest(mask: np.ndarray) -> tuple[int, int, int]:
    """The voxel of a mask (D, H, W) farthest from its border, the first of several."""
    import edt

    from vesal.postprocess.instances import tight_box

    at = tight_box(mask)
    inner = np.pad(np.ascontiguousarray(mask[at]), 1)
    place = np.unravel_index(int(edt.edt(inner).argmax()), inner.shape)
    d, h, w = (int(i) - 1 + side.start for i, side in zip(place, at, strict=True))
    return d, h, w


def table(rows: Sequence[Marked], jitter: float) -> str:
    """Markdown: means per set and target."""
    by: dict[tuple[str, str], list[Marked]] = defaultdict(list)
    for row in rows:
        by[row.dataset, row.target].append(row)
    lines: list[tuple[Any, ...]] = []
    ways: tuple[Callable[[Marked], float], ...] = (
        lambda r: r.text,
        lambda r: r.box,
        lambda r: r.jittered,
        lambda r: r.slice,
        lambda r: r.click,
    )
    for key, group in [*sorted(by.items()), (("**all**", ""), list(rows))]:
        lines.append((*key, len(group), *(mean_of([way(row) for row in group]) for way in ways)))
    header = (
        "set",
        "target",
        "cases",
        "text alone",
        "true box",
        f"box moved by up to {jitter:.0%}",
        "box of one slice",
        "one click",
    )
    return markdown_table(header, lines)

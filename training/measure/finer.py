"""The same scans at the resolution they were acquired at: several sets were shrunk for training.

Cases of ``val`` are brought back to that resolution by linear interpolation, their labels by the nearest
voxel, and run beside the case as it is. What a network makes of finer voxels hangs on the grid that the rules
lay over them, and on the degree of anisotropy; detail that the shrinking took does not come back.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from scipy.ndimage import zoom

from vesal.evaluation.metrics import mean_of
from vesal.inference.api import load
from vesal.inference.geometry.views import Triple, triple
from vesal.training.measure.results import Report, about, markdown_table
from vesal.training.measure.runs import Labelled, add_case_arguments, read_cases
from vesal.training.scores import Row, score_case

SHRUNK: dict[str, Triple] = {
    "CT_Sarcoma": (1.0, 0.5, 0.5),
    "MR_LeftAtrium": (0.5, 0.5, 0.5),
    "MR_Prostate": (1.0, 0.75, 0.75),
    "MR_Sarcoma": (1.0, 0.5, 0.5),
}
"""How far these sets were shrunk along (D, H, W), as the README of the data has it."""


@dataclass(frozen=True)
class Pair:
    """One target of a case, as it is and finer."""

    given: Row
    finer: Row


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of this measurement."""
    add_case_arguments(parser)


def measure(args: argparse.Namespace) -> Report:
    """Run every case of the shrunk sets twice."""
    model = load(str(args.weights.resolve()))
    pairs: list[Pair] = []
    for labelled in read_cases(args.data, args.most, only=SHRUNK):
        given, _ = score_case(model, labelled)
        finer, _ = score_case(model, unshrunk(labelled, SHRUNK[labelled.dataset]))
        pairs += [Pair(a, b) for a, b in zip(given, finer, strict=True) if a.covered]
    content: dict[str, Any] = {"most": args.most, "pairs": [asdict(pair) for pair in pairs]}
    return Report(table(pairs), {**about(model), **content})


def unshrunk(labelled: Labelled, shrunk: Triple) -> Labelled:
    """The case with voxels of ``shrunk`` times the edges, (D, H, W); the patient keeps their size."""
    factors = [1 / s for s in shrunk]
    image = zoom(labelled.case.image.astype(np.float32), factors, order=1, mode="nearest", grid_mode=True)
    truth = zoom(labelled.truth, factors, order=0, mode="nearest", grid_mode=True)
    extent = zip(labelled.case.spacing_dhw_mm, labelled.truth.shape, truth.shape, strict=True)
    case = replace(
        labelled.case,
        image=image.round().clip(0, 255).astype(np.uint8),
        spacing_dhw_mm=triple(s * before / after for s, before, after in extent),
    )
    return replace(labelled, case=case, truth=truth)


def table(pairs: Sequence[Pair]) -> str:
    """Markdown: mean Dice per set and target, as given and finer."""
    by: dict[tuple[str, str], list[Pair]] = defaultdict(list)
    for pair in pairs:
        by[pair.given.dataset, pair.given.target].append(pair)
    lines = []
    for (dataset, target), group in sorted(by.items()):
        scores = [
            mean_of([getattr(getattr(pair, of), score) for pair in group])
            for of in ("given", "finer")
            for score in ("coarse", "final")
        ]
        edges = " x ".join(f"{s:g}" for s in SHRUNK[dataset])
        lines.append((dataset, target, len(group), edges, *scores))
    header = (
        "set",
        "target",
        "cases",
        "voxels (D, H, W)",
        "coarse",
        "final",
        "finer: coarse",
        "finer: final",
    )
    return markdown_table(header, lines)

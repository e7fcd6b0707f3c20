"""The same scans stored the other way round along one axis: a case does not say which way it lies.

Cases of ``val`` are run as they are and with one axis reversed, labels with them. Each set of the challenge
lies one way, and training shows most of them mirrored, more or less often (``sets.json``); for the others the
engine looks for the way (``stages.orientation``). This tells what a scan of another source still loses.
Where a side is asked for, a reversed axis turns one side into the other for whoever does not know of it.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from vesal.evaluation.metrics import mean_of
from vesal.inference.api import load
from vesal.inference.data.orientation import AXES, Orientation
from vesal.training.measure.results import Report, about, markdown_table
from vesal.training.measure.runs import Labelled, add_case_arguments, read_cases
from vesal.training.scores import Row, score_case


@dataclass(frozen=True)
class Lying:
    """One target of a case, as it is stored and with each axis reversed."""

    given: Row
    reversed: tuple[Row, ...]
    """along D, H and W"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of this measurement."""
    add_case_arguments(parser)


def measure(args: argparse.Namespace) -> Report:
    """Run every case four times."""
    model = load(str(args.weights.resolve()))
    found: list[Lying] = []
    for labelled in read_cases(args.data, args.most):
        given, _ = score_case(model, labelled)
        others = [score_case(model, reversed_case(labelled, axis))[0] for axis in range(len(AXES))]
        rows = zip(given, *others, strict=True)
        found += [Lying(row, tuple(rest)) for row, *rest in rows if row.covered]
    content: dict[str, Any] = {"most": args.most, "targets": [asdict(one) for one in found]}
    return Report(table(found), {**about(model), **content})


def reversed_case(labelled: Labelled, axis: int) -> Labelled:
    """The case stored the other way round along ``axis`` of (D, H, W)."""
    turned = Orientation(reversed=(axis,))
    return replace(labelled, case=turned.turn_case(labelled.case), truth=turned.back(labelled.truth))


def table(found: Sequence[Lying]) -> str:
    """Markdown: mean Dice per set and target, as stored and with each axis reversed."""
    by: dict[tuple[str, str], list[Lying]] = defaultdict(list)
    for one in found:
        by[one.given.dataset, one.given.target].append(one)
    lines = []
    for key, group in sorted(by.items()):
        others = [mean_of([one.reversed[axis].final for one in group]) for axis in range(len(AXES))]
        lines.append((*key, len(group), mean_of([one.given.final for one in group]), *others))
    return markdown_table(("set", "target", "cases", "as it is", *(f"{a} reversed" for a in AXES)), lines)

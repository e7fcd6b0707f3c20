"""The same scans changed as other scanners and archives change them: what the weights lose by it.

Cases of ``val`` are run as they are and: stored in other ways (48 orders and directions of the axes, some of
them for each case), with slices twice and four times as thick, with noise, and with half of the field of
view. Labels are changed with the image; of half a field of view what lies in it counts.
"""

from __future__ import annotations

import argparse
import zlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import chain, combinations, permutations
from typing import Any

import numpy as np

from vesal.evaluation.metrics import mean_of
from vesal.inference.api import load
from vesal.inference.data.orientation import Orientation
from vesal.training.measure.results import Report, about, markdown_table
from vesal.training.measure.runs import Labelled, add_case_arguments, read_cases
from vesal.training.measure.thickness import thickened
from vesal.training.scores import Row, score_case

AS_IT_IS, TURNED, NOISY, HALF = "as it is", "stored otherwise", "noise", "half field of view"
THICKER = {2: "slices x2", 4: "slices x4"}
WAYS = [
    Orientation((d, h, w), axes)
    for d, h, w in permutations(range(3))
    for axes in chain.from_iterable(combinations(range(3), n) for n in range(4))
]
"""All 48 ways to store a volume; the first is as it is."""
NOISE_STD = 12.0
"""Of 255 grey levels."""


@dataclass(frozen=True)
class Seen:
    """One target of a case under one change."""

    change: str
    row: Row


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of this measurement."""
    add_case_arguments(parser)
    parser.add_argument("--ways", type=int, default=3, help="of the 48 to store a case, for each; 47: all")


def measure(args: argparse.Namespace) -> Report:
    """Run every case under every change."""
    model = load(str(args.weights.resolve()))
    seen: list[Seen] = []
    for number, labelled in enumerate(read_cases(args.data, args.most)):
        for change, changed in changes(labelled, number, args.ways):
            rows, _ = score_case(model, changed)
            seen += [Seen(change, row) for row in rows if row.covered]
    content: dict[str, Any] = {"most": args.most, "ways": args.ways, "seen": [asdict(one) for one in seen]}
    return Report(table(seen), {**about(model), **content})


def changes(labelled: Labelled, number: int, ways: int) -> Iterator[tuple[str, Labelled]]:
    """A case under each change; ``number`` says which ``ways`` of the 48 are its own, others are the next
    case's.
    """
    yield AS_IT_IS, labelled
    for place in range(number * ways, (number + 1) * ways):
        yield TURNED, stored_as(labelled, WAYS[1 + place % (len(WAYS) - 1)])
    for times, name in THICKER.items():
        yield name, thickened(labelled, times)
    yield NOISY, noisy(labelled)
    yield HALF, halved(labelled)


def stored_as(labelled: Labelled, way: Orientation) -> Labelled:
    """The case as another archive may store it."""
    return replace(labelled, case=way.turn_case(labelled.case), truth=way.turn(labelled.truth))


def noisy(labelled: Labelled) -> Labelled:
    """The case with Gaussian noise where it is not 0; the same case gets the same noise."""
    image = labelled.case.image
    rng = np.random.default_rng(zlib.crc32(labelled.case.name.encode()))
    noise = rng.normal(0, NOISE_STD, image.shape).astype(np.float32)
    changed = np.where(image > 0, (image + noise).round().clip(1, 255), 0).astype(np.uint8)
    return replace(labelled, case=replace(labelled.case, image=changed))


def halved(labelled: Labelled) -> Labelled:
    """The half of the case along its longest edge that shows more of what is labelled."""
    shape, spacing = labelled.truth.shape, labelled.case.spacing_dhw_mm
    axis = int(np.argmax([n * s for n, s in zip(shape, spacing, strict=True)]))
    middle = shape[axis] // 2
    halves = [
        tuple(part if a == axis else slice(None) for a in range(3))
        for part in (slice(0, middle), slice(middle, None))
    ]
    at = max(halves, key=lambda half: np.count_nonzero(labelled.truth[half]))
    image = np.ascontiguousarray(labelled.case.image[at])
    return replace(labelled, case=replace(labelled.case, image=image), truth=labelled.truth[at])


def table(seen: Sequence[Seen]) -> str:
    """Markdown: mean Dice of each set under each change, and the mean over sets."""
    names = list(dict.fromkeys(one.change for one in seen))
    by: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    cases: dict[str, set[str]] = defaultdict(set)
    for one in seen:
        by[one.row.dataset][one.change].append(one.row.final)
        cases[one.row.dataset].add(one.row.case)
    means = {name: [mean_of(by[name][change]) for change in names] for name in sorted(by)}
    lines = [(name, len(cases[name]), *own) for name, own in means.items()]
    whole = [mean_of(list(column)) for column in zip(*means.values(), strict=True)]
    lines.append(("**mean of sets**", sum(map(len, cases.values())), *whole))
    return markdown_table(("set", "cases", *names), lines)

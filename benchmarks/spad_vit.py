"""SPAD-ViT-B at its full size, and the plain way: `python -m benchmarks.spad_vit`.

Both run the same network (94.9 M parameters, random from a seed), in turns and in one process, on 80x160x160
voxels at degree of anisotropy 0 and on 5x160x160 at degree 4. The plain way is torch in fp32, as the released
code runs it: a grey volume is repeated to three channels and normalised for them.

Then a volume of 5 slices, each as thick as 16 voxels are wide, at degree 4 beside the same volume made
isotropic first (linear interpolation, counted too) and run at degree 0, both our way. The backbone has as
many patches either way, which its blocks take as long for; where convolutions run at finer resolution, as in
the text-prompted network on it, slices that are not there need not be run.

`--avx2` runs both sides with the instructions of AVX2 alone, as far as their libraries can be told: some
products of OpenVINO go to MLAS, which cannot. On a machine that others use as well, `--processor-time` counts
seconds of processors.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.measure import side_by_side
from benchmarks.sides import apart, precisions, run_sides, side_parser
from benchmarks.tables import Row

TORCH = "benchmarks.spad_vit_torch"
LIMITS = {"bf16": 0.45, "fp32": 0.90}
"""Largest ratio to the plain way; that of fp32 is meant for AVX2 alone."""
THICK_LIMIT = 1 / 8
"""Largest share of the time, and of the memory, that the isotropic volume takes."""
THICK = {"backbone": "SPAD-ViT-B", "prompted": "text-prompted network on a small SPAD-ViT"}


def main(arguments: list[str] | None = None) -> int:
    """Make the networks, run both ways, print the tables; return 1 where a limit is not kept."""
    parser = side_parser("benchmarks.spad_vit", __doc__.split("\n")[0], tuple(LIMITS))
    return run_sides(parser, "made", tables, arguments)


def tables(folder: Path, options: argparse.Namespace) -> dict[str, list[Row]]:
    """Rows beside torch, and beside an isotropic volume."""
    asked = precisions(options)
    return {
        "SPAD-ViT-B beside torch": [
            row for precision in asked for row in beside_torch(folder, precision, options)
        ],
        "Five thick slices beside an isotropic volume": [
            row for network in THICK for row in beside_isotropic(folder, network, asked[-1], options)
        ],
    }


def beside_torch(folder: Path, precision: str, options: argparse.Namespace) -> list[Row]:
    """Rows of one precision, a row for each volume."""
    from benchmarks.spad_vit_torch import VOLUMES, Ours, Plain

    plain = Plain(options)
    rows = []
    for degree, shape in VOLUMES.items():
        ours = Ours(folder, "backbone", degree, precision, options)
        calls: list[Callable[[], Any]] = [ours.run, partial(plain.run, degree)]
        for call in calls:
            call()  # compiles, and fills the caches
        mine, theirs = (ms / 1e3 for ms in side_by_side(calls, options.times))
        what = f"{'x'.join(map(str, shape))}, degree {degree}, {precision}"
        than = f"torch fp32, {options.threads} threads"
        rows.append(Row(what, mine, "s", theirs, than, LIMITS[precision]))
    return rows


def beside_isotropic(folder: Path, network: str, precision: str, options: argparse.Namespace) -> list[Row]:
    """Time and memory of five thick slices at degree 4, beside the same volume made isotropic first."""
    from benchmarks.spad_vit_torch import Ours

    thick, isotropic = (Ours(folder, network, degree, precision, options) for degree in (4, 0))
    calls = [thick.run, isotropic.run_made_isotropic]
    for call in calls:
        call()
    mine, theirs = (ms / 1e3 for ms in side_by_side(calls, options.times))
    peaks = {
        what: json.loads(apart(TORCH, what, folder, options, precision, network))
        for what in ("thick", "thick-least", "isotropic", "isotropic-least")
    }
    thick_mb, isotropic_mb = (peaks[what] - peaks[f"{what}-least"] for what in ("thick", "isotropic"))
    than, what = "made isotropic first", f"{THICK[network]}, {precision}"
    return [
        Row(f"{what}: time", mine, "s", theirs, than, THICK_LIMIT),
        Row(f"{what}: memory", thick_mb, "MB", isotropic_mb, than, THICK_LIMIT, "above 2x2x2 patches"),
    ]


if __name__ == "__main__":
    sys.exit(main())

"""VoxTell at its full size, and the plain way: `python -m benchmarks.voxtell`.

Both run the same network (339.3 M parameters that are used, random from a seed) on one window, in turns and
in one process, from the window to the logits of all its voxels. The plain way is what the released code does
on a CPU: torch in fp32, the decoder run from its coarsest features for every prompt. Ours runs the window
once for all prompts, then one prompt after the other. Texts come from the bank on both sides.

The published window of 192^3 voxels takes minutes and 7 GB the plain way; `--window 96` is the same network
on an eighth of its voxels and tokens, and the table says so. Peak memory is that of a process of its own.

`--avx2` runs both sides with the instructions of AVX2 alone, as far as their libraries can be told. On a
machine that others use as well, `--processor-time` counts seconds of processors.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from benchmarks.measure import side_by_side
from benchmarks.sides import apart, precisions, run_sides, side_parser
from benchmarks.tables import Row

TORCH = "benchmarks.voxtell_torch"
LIMITS = {"bf16": {1: 0.40, 15: 0.25}, "fp32": {1: 0.90, 15: 0.55}}
"""Largest ratio to the plain way by number of prompts; those of fp32 are meant for AVX2 alone."""
MEMORY_LIMIT, MARGINAL_LIMIT = 0.7, 0.6
PUBLISHED = 192
"""Voxels a side of the published window."""


def main(arguments: list[str] | None = None) -> int:
    """Make the network, run both ways, print the table; return 1 where a limit is not kept."""
    parser = side_parser("benchmarks.voxtell", __doc__.split("\n")[0], tuple(LIMITS))
    parser.add_argument("--window", type=int, default=PUBLISHED, help="voxels a side, a multiple of 32")
    parser.add_argument("--runtime", default="openvino", help="of the graphs: openvino or onnxruntime")
    parser.add_argument("--only", choices=("time", "memory", "marginal"), nargs="+", help="parts to run")
    return run_sides(parser, "sizes.json", tables, arguments)


def tables(folder: Path, options: argparse.Namespace) -> dict[str, list[Row]]:
    """Rows of every precision."""
    title = f"VoxTell, one window of {options.window}^3 voxels"
    if options.window != PUBLISHED:
        title += f", 1/{PUBLISHED**3 / options.window**3:.3g} of the published one"
    return {title: [r for precision in precisions(options) for r in measured(folder, precision, options)]}


def measured(folder: Path, precision: str, options: argparse.Namespace) -> list[Row]:
    """Rows of one precision."""
    wanted = options.only or ("time", "memory", "marginal")
    rows = times(folder, precision, options) if {"time", "marginal"} & set(wanted) else []
    if "memory" in wanted:
        rows.append(memory(folder, precision, options))
    return rows


def times(folder: Path, precision: str, options: argparse.Namespace) -> list[Row]:
    """Windows with so many prompts, and what one prompt more costs."""
    from benchmarks.voxtell_torch import Ours, Plain

    ours, plain = Ours(folder, precision, options), Plain(folder, options)
    than = f"torch fp32, {options.threads} threads, decoded from the start for each"
    rows = []
    ours.window(1), plain.window(1)  # compiles, and fills the caches
    if not options.only or "time" in options.only:
        for prompts in options.prompts:
            calls = [lambda p=prompts: ours.window(p), lambda p=prompts: plain.window(p)]
            mine, theirs = (ms / 1e3 for ms in side_by_side(calls, options.times))
            limit = LIMITS[precision].get(prompts)
            rows.append(Row(f"window, {prompts} prompt(s), {precision}", mine, "s", theirs, than, limit))
    if not options.only or "marginal" in options.only:
        ours.load_first(folder, precision, options)
        ours.first(), ours.decoder()
        one, first = (ms / 1e3 for ms in side_by_side([ours.decoder, ours.first], options.times))
        than = "the decoder of the first, as released, in this runtime"
        rows.append(Row(f"one prompt more, {precision}", one, "s", first, than, MARGINAL_LIMIT))
    return rows


def memory(folder: Path, precision: str, options: argparse.Namespace) -> Row:
    """Peaks of both ways."""
    most = max(options.prompts)
    peak, plain_peak = (
        json.loads(apart(TORCH, what, folder, options, precision, str(most)))
        for what in ("peak", "torch-peak")
    )
    what = f"peak memory, {most} prompt(s), {precision}"
    limit = MEMORY_LIMIT if options.narrow == 1 else None
    return Row(what, peak, "MB", plain_peak, "torch fp32", limit)


if __name__ == "__main__":
    sys.exit(main())

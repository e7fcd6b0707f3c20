"""SegVol at its full size, and the plain way: `python -m benchmarks.segvol`.

Both run the same network (180.9 M parameters, random from a seed) on zoom-out's window of 32 x 256 x 256, in
turns and in one process, from the window to the logits of all its voxels. The plain way is what the
released code does on a CPU: torch in fp32, window and text encoded again for every prompt. Ours encodes the
window once; texts come from the bank. Peak memory is that of a process of its own; it is set beside what was
measured once with the released code, and beside the plain way of today.

`--avx2` runs both sides with the instructions of AVX2 alone, as far as their libraries can be told: some
products of OpenVINO go to MLAS, which cannot. On a machine that others use as well, `--processor-time` counts
seconds of processors.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from benchmarks.measure import side_by_side
from benchmarks.sides import apart, precisions, run_sides, side_parser
from benchmarks.tables import Row

TORCH = "benchmarks.segvol_torch"
LIMITS = {"bf16": {1: 0.40, 15: 1 / 10}, "fp32": {1: 0.85, 15: 1 / 6}}
"""Largest ratio to the plain way by number of prompts; those of fp32 are meant for AVX2 alone."""
RELEASED_MB, MEMORY_LIMIT = 1900, 0.8
"""Peak of the released code, one prompt."""


def main(arguments: list[str] | None = None) -> int:
    """Make the network, run both ways, print the table; return 1 where a limit is not kept."""
    parser = side_parser("benchmarks.segvol", __doc__.split("\n")[0], tuple(LIMITS))
    return run_sides(parser, "sizes.json", tables, arguments)


def tables(folder: Path, options: argparse.Namespace) -> dict[str, list[Row]]:
    """Rows of every precision."""
    rows = [row for precision in precisions(options) for row in measured(folder, precision, options)]
    return {"SegVol, one window of zoom-out": rows}


def measured(folder: Path, precision: str, options: argparse.Namespace) -> list[Row]:
    """Rows of one precision."""
    from benchmarks.segvol_torch import Ours, Plain

    ours, plain = Ours(folder, precision, options), Plain(folder, options)
    than = f"torch fp32, {options.threads} threads, the window encoded for each"
    rows = []
    for prompts in options.prompts:
        calls = [lambda p=prompts: ours.zoom_out(p), lambda p=prompts: plain.zoom_out(p)]
        for call in (calls[0], lambda: plain.zoom_out(1)):
            call()  # compiles, and fills the caches
        mine, theirs = (ms / 1e3 for ms in side_by_side(calls, options.times))
        limit = LIMITS[precision].get(prompts)
        rows.append(Row(f"zoom-out, {prompts} prompt(s), {precision}", mine, "s", theirs, than, limit))
    most = max(options.prompts)
    peak, plain_peak = (
        json.loads(apart(TORCH, what, folder, options, precision, str(count)))
        for what, count in (("peak", most), ("torch-peak", 1))
    )
    what = f"peak memory, {most} prompt(s), {precision}"
    limit = MEMORY_LIMIT if options.narrow == 1 else None
    rows.append(Row(what, peak, "MB", RELEASED_MB, "the released code with 1", limit))
    return [*rows, Row(what, peak, "MB", plain_peak, "torch fp32 with 1, today")]


if __name__ == "__main__":
    sys.exit(main())

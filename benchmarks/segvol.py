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
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.biomedparse_v import AVX2
from benchmarks.measure import as_in_a_container, count_processor_time, side_by_side
from benchmarks.tables import Row, finish, markdown
from vesal.inference.runtime.machine import processor

ROOT = Path(__file__).resolve().parent.parent
LIMITS = {"bf16": {1: 0.40, 15: 1 / 10}, "fp32": {1: 0.85, 15: 1 / 6}}
"""Largest ratio to the plain way by number of prompts; those of fp32 are meant for AVX2 alone."""
RELEASED_MB, MEMORY_LIMIT = 1900, 0.8
"""Peak of the released code, one prompt."""


def main(arguments: list[str] | None = None) -> int:
    """Make the network, run both ways, print the table; return 1 where a limit is not kept."""
    parser = argparse.ArgumentParser("python -m benchmarks.segvol", description=__doc__.split("\n")[0])
    parser.add_argument("--prompts", type=int, nargs="+", default=[1, 15])
    parser.add_argument("--precision", choices=tuple(LIMITS), nargs="+", help="all that the processor has")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--times", type=int, default=3, help="goes of each, of which the best counts")
    parser.add_argument("--narrow", type=int, default=1, help="divide all widths, to try this file out")
    parser.add_argument("--avx2", action="store_true")
    parser.add_argument("--processor-time", action="store_true")
    parser.add_argument("--folder", type=Path, help="keep the network and its graphs here, or find them here")
    parser.add_argument("--json", type=Path, help="file for the figures")
    options = parser.parse_args(arguments)
    if options.avx2 and os.environ.get("ONEDNN_MAX_CPU_ISA") != "AVX2":
        # Libraries read it when they are loaded.
        command = [sys.executable, "-m", "benchmarks.segvol", *(arguments or sys.argv[1:])]
        return subprocess.run(command, check=False, cwd=ROOT, env=os.environ | AVX2).returncode
    if options.processor_time:
        count_processor_time()
    as_in_a_container(options.threads)
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.folder or Path(scratch)
        if not (folder / "sizes.json").is_file():
            apart("make", folder, options)
        rows = [row for precision in precisions(options) for row in measured(folder, precision, options)]
    bound = ", AVX2 alone" if options.avx2 else ""
    title = "SegVol, one window of zoom-out"
    print(f"{processor()}{bound}\n")
    print(markdown(title, rows))
    return finish({title: rows}, options.json)


def precisions(options: argparse.Namespace) -> list[str]:
    """What is run; without bf16 where the processor has none, or may not use it."""
    if options.precision:
        return list(options.precision)
    return ["bf16", "fp32"] if processor().bf16 and not options.avx2 else ["fp32"]


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
        json.loads(apart(what, folder, options, precision, str(count)))
        for what, count in (("peak", most), ("torch-peak", 1))
    )
    what = f"peak memory, {most} prompt(s), {precision}"
    limit = MEMORY_LIMIT if options.narrow == 1 else None
    rows.append(Row(what, peak, "MB", RELEASED_MB, "the released code with 1", limit))
    return [*rows, Row(what, peak, "MB", plain_peak, "torch fp32 with 1, today")]


def apart(what: str, folder: Path, options: argparse.Namespace, *more: str) -> bytes:
    """What needs a process of its own: a child's peak memory is never less than its parent's."""
    command = [sys.executable, "-m", "benchmarks.segvol_torch", what, str(folder), *more]
    for name in ("threads", "narrow"):
        command += [f"--{name}", str(getattr(options, name))]
    return subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.PIPE).stdout


if __name__ == "__main__":
    sys.exit(main())

"""BiomedParse-V at its full size, and the plain way: `python -m benchmarks.biomedparse_v`.

Both run the same network (371.8 M parameters, random from a seed) on one slice, in turns and in one process.
The plain way is what the released code does on a CPU: torch in fp32, the image repeated for every prompt, new
random masks at every call. Templates are left out on both sides. A further row is a whole case as released,
with its 1,377 template texts, against ours: one slice and one class of templates are measured and multiplied.
Peak memory is that of a process of its own; what it is set beside was measured once with the released code.

`--avx2` runs both sides with the instructions of AVX2 alone. On a machine that others use as well,
`--processor-time` counts seconds of processors.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.measure import as_in_a_container, count_processor_time, side_by_side
from benchmarks.tables import Row, finish, markdown
from vesal.inference.runtime.machine import processor

ROOT = Path(__file__).resolve().parent.parent
LIMITS = {"bf16": {1: 0.40, 15: 0.25}, "fp32": {1: 0.80, 15: 0.55}}
"""Largest ratio to the plain way by number of prompts; those of fp32 are meant for AVX2 alone."""
CASE_SLICES, CASE_PROMPTS, CASE_LIMIT = 24, 4, 1 / 8
CLASSES, TEMPLATES = 17, 81
"""Texts that the released code encodes on every call: so many classes in so many templates each."""
RELEASED_MB, MEMORY_LIMIT = 3100, 0.6
"""Peak of the released code with 15 prompts and one slice at a time."""
AVX2 = {
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "DNNL_MAX_CPU_ISA": "AVX2",
    "MKL_ENABLE_INSTRUCTIONS": "AVX2",
    "ATEN_CPU_CAPABILITY": "avx2",
}
"""What keeps oneDNN (of torch and of OpenVINO), MKL and torch's own loops from wider instructions."""


def main(arguments: list[str] | None = None) -> int:
    """Make the network, run both ways, print the table; return 1 where a limit is not kept."""
    parser = argparse.ArgumentParser("python -m benchmarks.biomedparse_v", description=__doc__.split("\n")[0])
    parser.add_argument("--side", type=int, default=512, help="pixels of a slice, a multiple of 32")
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
        command = [sys.executable, "-m", "benchmarks.biomedparse_v", *(arguments or sys.argv[1:])]
        return subprocess.run(command, check=False, cwd=ROOT, env=os.environ | AVX2).returncode
    if options.processor_time:
        count_processor_time()
    as_in_a_container(options.threads)
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.folder or Path(scratch)
        if not (folder / "image.onnx").is_file():
            apart("make", folder, options)
        rows = [row for precision in precisions(options) for row in measured(folder, precision, options)]
    about = processor()
    bound = ", AVX2 alone" if options.avx2 else ""
    title = "BiomedParse-V, a slice of " + f"{options.side}x{options.side}"
    print(f"{about}{bound}\n")
    print(markdown(title, rows))
    return finish({title: rows}, options.json)


def precisions(options: argparse.Namespace) -> list[str]:
    """What is run; without bf16 where the processor has none, or may not use it."""
    if options.precision:
        return list(options.precision)
    return ["bf16", "fp32"] if processor().bf16 and not options.avx2 else ["fp32"]


def measured(folder: Path, precision: str, options: argparse.Namespace) -> list[Row]:
    """Rows of one precision."""
    from benchmarks.biomedparse_v_torch import Ours, Plain

    ours, plain = Ours(folder, precision, options), Plain(folder, options)
    than = f"torch fp32, {options.threads} threads"
    rows, seconds = [], {}
    for prompts in sorted({*options.prompts, CASE_PROMPTS}):
        calls = [lambda p=prompts: ours.slice(p), lambda p=prompts: plain.slice(p)]
        for call in calls:
            call()  # compiles, and fills the caches
        seconds[prompts] = [ms / 1e3 for ms in side_by_side(calls, options.times)]
        limit = LIMITS[precision].get(prompts)
        if prompts in options.prompts:
            what = f"one slice, {prompts} prompt(s), {precision}"
            rows.append(Row(what, seconds[prompts][0], "s", seconds[prompts][1], than, limit))
    text = [lambda: ours.text(CASE_PROMPTS), lambda: plain.text(CASE_PROMPTS), lambda: plain.text(TEMPLATES)]
    ours.text(CASE_PROMPTS)
    our_text, their_text, templates = (ms / 1e3 for ms in side_by_side(text, 2))
    our_slice, their_slice = seconds[CASE_PROMPTS]
    rows.append(
        Row(
            f"a case of {CASE_SLICES} slices, {CASE_PROMPTS} prompts, {precision}",
            CASE_SLICES * our_slice + our_text,
            "s",
            CASE_SLICES * their_slice + their_text + CLASSES * templates,
            f"{than}, with {CLASSES} x {TEMPLATES} templates",
            CASE_LIMIT,
            f"one slice and {TEMPLATES} templates measured, and multiplied",
        )
    )
    most = max(options.prompts)
    peak = json.loads(apart("peak", folder, options, precision, str(most)))
    what = f"peak memory, {most} prompt(s), one slice at a time, {precision}"
    limit = MEMORY_LIMIT if most == 15 and options.narrow == 1 else None
    return [*rows, Row(what, peak, "MB", RELEASED_MB, "the released code with 15", limit)]


def apart(what: str, folder: Path, options: argparse.Namespace, *more: str) -> bytes:
    """What needs a process of its own: a child's peak memory is never less than its parent's."""
    command = [sys.executable, "-m", "benchmarks.biomedparse_v_torch", what, str(folder), *more]
    for name in ("side", "threads", "narrow"):
        command += [f"--{name}", str(getattr(options, name))]
    return subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.PIPE).stdout


if __name__ == "__main__":
    sys.exit(main())

"""Converted graphs against the networks that they were made of: `python -m benchmarks.converted [--write]`.

One table a profile, with the same columns for all; `--write` puts it into `weights/<profile>/README.md`. The
networks of Medal S, SAT, BiomedParse-V, SegVol and VoxTell are the reduced ones of the fixtures, whose logits
the published code recorded (`tests/networks` holds our torch modules to them); that of nano is rebuilt from
its shipped graphs.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.converted_steps import INPUTS, Step, chain, fp16_of
from benchmarks.measure import ROOT
from vesal.inference.runtime.choice import Runtime, choose_runtime
from vesal.inference.runtime.machine import available_threads, processor
from vesal.inference.runtime.onnx import OnnxRuntime

PROFILES = ("nano", "medal-s", "sat", "biomedparse-v", "segvol", "voxtell")
COLUMNS = (
    "network",
    "largest logit difference, fp32",
    "voxels equal, bf16",
    "voxels equal, stored as fp16",
    "time",
    "memory",
    "versions",
)
PACKAGES = ("torch", "onnx", "onnxruntime", "openvino")
NOTHING = "-"
TABLE = re.compile(r"^\| network \|.*\n(?:\|.*\n)+\nMeasured with .*\n(?:.+\n)*", re.MULTILINE)
"""The table and the line below it, in a README."""


def main() -> int:
    """Print the tables, or write them; 2 where a README has no place for one."""
    parser = argparse.ArgumentParser("python -m benchmarks.converted", description=__doc__.split("\n")[0])
    parser.add_argument("profiles", nargs="*", metavar="PROFILE", help=f"of {', '.join(PROFILES)}")
    parser.add_argument("--shared", type=Path, default=ROOT.parent / "shared", help="folder with fixtures")
    parser.add_argument("--threads", type=int, default=available_threads())
    parser.add_argument("--write", action="store_true", help="into weights/<profile>/README.md")
    options = parser.parse_args()
    for profile in options.profiles or PROFILES:
        text = table(profile, options.shared, options.threads)
        print(f"### {profile}\n\n{text}")
        if options.write and not write(ROOT / "weights" / profile / "README.md", text):
            print(f"weights/{profile}/README.md has no table to replace", file=sys.stderr)
            return 2
    return 0


def table(profile: str, shared: Path, threads: int) -> str:
    """The table of one profile, and what it was measured with."""
    from benchmarks.converted_network import subjects

    # The engine's choice on a CPU, in bf16 where the processor has it.
    runtime = choose_runtime("openvino", threads)
    rows = []
    compared = subjects(profile, shared)
    for number, subject in enumerate(compared):
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            steps = subject.write(folder)
            np.savez(folder / INPUTS, **subject.inputs)  # type: ignore[arg-type]
            costs = ratios(profile, number, steps, folder, shared, threads)
            rows.append((subject.what, *agreements(subject, steps, runtime), *costs, versions()))
    lines = [COLUMNS, tuple("---" for _ in COLUMNS), *rows]
    return "\n".join(
        [
            *("| " + " | ".join(cells) + " |" for cells in lines),
            "",
            f"Measured with `python -m benchmarks.converted {profile}`: {compared[0].window}, "
            f"{threads} threads, {processor().name}.",
            "",
        ]
    )


def agreements(subject: Any, steps: Sequence[Step], runtime: Runtime) -> tuple[str, str, str]:
    """The three columns of results."""
    from benchmarks.converted_network import SATURATED
    from vesal.weights.convert.verify import agreement_of

    wanted = subject.network()
    exact = OnnxRuntime(runtime.threads, "a second opinion")

    def logits(of: Sequence[Step], by: Runtime) -> np.ndarray:
        found: np.ndarray = subject.logits(chain(of, by)(subject.inputs))
        return found

    plain = logits(steps, exact)
    if "probability" in exact.load(steps[-1].path).outputs:
        worst = np.abs(np.clip(plain, -SATURATED, SATURATED) - np.clip(wanted, -SATURATED, SATURATED)).max()
    else:
        worst = np.abs(plain - wanted).max()
    bf16 = agreement_of(logits(steps, runtime), wanted).share if runtime.precision == "bf16" else None
    fp16 = [Step(fp16_of(step.path), step.inputs) for step in steps]
    stored = agreement_of(logits(fp16, exact), wanted).share if fp16[0].path.exists() else None
    return f"{worst:.1e} of {np.abs(wanted).max():.1f}", percent(bf16), percent(stored)


def percent(share: float | None) -> str:
    """Two digits behind the point, rounded down: 100 % means every voxel."""
    return NOTHING if share is None else f"{np.floor(share * 1e4) / 100:.2f} %"


def ratios(
    profile: str, row: int, steps: Sequence[Step], folder: Path, shared: Path, threads: int, times: int = 3
) -> tuple[str, str]:
    """Time and memory of the graphs over those of torch, each the least of processes that take turns."""
    common = ["--profile", profile, "--row", str(row), "--folder", str(folder), "--shared", str(shared)]
    common += ["--threads", str(threads)]
    sides: list[list[dict[str, float]]] = [[], []]
    graphs = [text for step in steps for text in ("--graph", str(step))]
    for _ in range(times):
        for side, more in zip(sides, (graphs, []), strict=True):
            side.append(_run([*common, *more]))
    ours, theirs = ({key: min(run[key] for run in side) for key in ("seconds", "mb")} for side in sides)
    return tuple(f"{ours[key] / theirs[key]:.2f}" for key in ("seconds", "mb"))  # type: ignore[return-value]


def _run(arguments: Sequence[str]) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.converted_run", *arguments]
    done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, env=os.environ)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def versions() -> str:
    """Of the packages on both sides."""
    return ", ".join(f"{name} {version(name)}" for name in PACKAGES)


def write(readme: Path, text: str) -> bool:
    """Replace the table of a README; False where it has none."""
    old = readme.read_text(encoding="utf-8")
    new, count = TABLE.subn(lambda _: text, old)
    readme.write_text(new, encoding="utf-8")
    return count == 1


if __name__ == "__main__":
    sys.exit(main())

"""Cold start: the whole command on the smallest case, and what of it are imports."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from benchmarks.measure import ROOT, best_command
from benchmarks.tables import Row

WALL_MS, IMPORTS_MS = 1500.0, 700.0
SIDE = 32
NEEDLESS = ("tqdm", "tokenizers", "blosc2", "scipy", "torch", "onnxruntime", "multiprocessing")
"""Packages that a case with one known prompt has no use for."""


def rows(weights: Path, folder: Path, times: int) -> list[Row]:
    """Wall time of the command, of its imports, and what is imported needlessly."""
    case = folder / "start.npz"
    write_case(case, weights)
    done = best_command(case, folder / "out", times, "--weights", str(weights))
    imports, names = min(
        (imported(case, folder / "out", weights) for _ in range(times)), key=lambda one: one[0]
    )
    needless = sorted(set(NEEDLESS) & names)
    note = f"{len(names)} packages" + (f", needlessly {', '.join(needless)}" if needless else "")
    steps = ", ".join(f"{name} {1e3 * s:.0f}" for name, s in done.case["seconds_of"].items())
    return [
        Row(f"`sh predict.sh`, {SIDE}^3 voxels, one prompt", 1e3 * done.seconds, limit=WALL_MS, note=steps),
        Row("of which imports", imports, limit=IMPORTS_MS, note=note),
        Row("packages imported without need", float(len(needless)), "", limit=0.0),
    ]


def imported(case: Path, out: Path, weights: Path) -> tuple[float, set[str]]:
    """Milliseconds that Python spent importing during a run (`-X importtime`), and the packages."""
    command = [sys.executable, "-X", "importtime", "-m", "vesal", str(case), str(out), "--quiet"]
    told = subprocess.run(
        [*command, "--weights", str(weights), "--report", str(out / "report.json")],
        check=True,
        cwd=ROOT,
        env=os.environ | {"PYTHONSAFEPATH": "", "PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        text=True,
    ).stderr
    own, names = 0, set()
    for line in told.splitlines():
        if line.startswith("import time:") and "|" in line and "self" not in line:
            micro, _, name = line.removeprefix("import time:").split("|")
            own += int(micro)
            names.add(name.strip().split(".")[0])
    return own / 1e3, names


def write_case(path: Path, weights: Path) -> None:
    """A bright cube in noise, with a prompt for the first target that the weights cover without side."""
    from vesal.inference.planning.profile import read_profile

    target = next(t for t in read_profile(weights).targets if t.side is None)
    image = np.random.default_rng(0).integers(20, 60, (SIDE,) * 3, np.uint8)
    image[8:24, 8:24, 8:24] += 140
    prompts = {"1": f"{target.concept} in {target.modality}", "instance_label": 0}
    np.savez_compressed(path, imgs=image, spacing=np.array([1.5, 1.5, 2.0]), text_prompts=np.array(prompts))

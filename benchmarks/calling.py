"""A script beside the command: the same case through `vesal.load(...).segment(...)` and `sh predict.sh`.

The script sets no limit of threads in its environment and has numpy loaded before, as scripts do.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from benchmarks.measure import ROOT, predict
from benchmarks.tables import Row

SCRIPT = """
import json, sys, time
import numpy as np
import vesal

model = vesal.load(sys.argv[2])
with np.load(sys.argv[1], allow_pickle=True) as archive:
    image, spacing_mm = archive["imgs"], archive["spacing"][::-1]
    prompts = archive["text_prompts"].item()
started = time.monotonic()
result = model.segment(image, spacing_mm, prompts)
print(json.dumps({"seconds": time.monotonic() - started, "voxels": int((result.labels > 0).sum())}))
"""
"""The three lines of the README, on a case of the challenge."""
LIMITS = ("OMP", "MKL", "OPENBLAS", "RAYON")
"""Libraries whose `..._NUM_THREADS` the command sets."""


def rows(case: Path, weights: Path, folder: Path, times: int) -> list[Row]:
    """Understanding the prompts and segmenting, the best of several processes of each, in turns."""
    command_s = script_s = float("inf")
    for _ in range(times):
        told = predict(case, folder, "--weights", str(weights)).case
        spent = told["seconds_of"]
        command_s = min(command_s, spent["prompts"] + spent["segment"])
        script_s = min(script_s, _script_s(case, weights))
    note = f"{case.stem}, {len(told['prompts'])} prompts; whole processes, reading and loading left out"
    return [
        Row(
            "the Python call in a script",
            1e3 * script_s,
            against=1e3 * command_s,
            than="the command",
            limit=1.05,
            note=note,
        )
    ]


def _script_s(case: Path, weights: Path) -> float:
    """Seconds of the call in a process of its own, with an environment that limits nothing."""
    free = {name: value for name, value in os.environ.items() if not name.startswith(LIMITS)}
    told = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(case), str(weights)],
        check=True,
        cwd=ROOT,
        env=free,
        stdout=subprocess.PIPE,
    ).stdout
    return float(json.loads(told)["seconds"])

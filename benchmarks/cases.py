"""Labelled cases one by one, each in its own `sh predict.sh`: `python -m benchmarks.cases CASES`.

CASES holds `imgs/NAME.npz` and `gts/NAME.npz`. A row a prompt: Dice, then the case's wall seconds as the
command took them, its budget, peak memory and windows, out of the report. Absolute times depend on the
machine.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from vesal.evaluation.metrics import dice

ROOT = Path(__file__).resolve().parent.parent
HEAD = """| case | prompt | covered | DSC | s of budget | peak MB | windows |
|---|---|---|---|---|---|---|"""


def run_case(image: Path, folder: Path) -> tuple[np.ndarray, dict[str, Any], float]:
    """Labels, the case's report and the wall seconds of the command."""
    report = folder / "report.json"
    command = ["sh", str(ROOT / "predict.sh"), str(image), str(folder), "--quiet", "--report", str(report)]
    started = time.monotonic()
    subprocess.run(
        command, check=True, env=os.environ | {"PYTHON": sys.executable}, stderr=subprocess.DEVNULL
    )
    seconds = time.monotonic() - started
    with np.load(folder / image.name) as archive:
        return archive["segs"], json.loads(report.read_text(encoding="utf-8")), seconds


def rows(image: Path, truth: np.ndarray, folder: Path) -> list[str]:
    """One line a prompt; the case's own figures stand on its first line."""
    labels, report, seconds = run_case(image, folder)
    case = report["cases"][0]
    windows = sum(stage["windows"] for stage in case["stages"])
    first = f"{seconds:.1f} of {60 * len(case['prompts'])} | {report['peak_mb']:.0f} | {windows}"
    lines = []
    for number, prompt in enumerate(case["prompts"]):
        mine, true = (
            (labels > 0, truth > 0) if case["instance"] else (labels == prompt["id"], truth == prompt["id"])
        )
        score = f"{dice(mine, true):.3f}" if prompt["covered"] else "-"
        name, tail = (image.stem, first) if number == 0 else ("", " | | ")
        lines.append(f"| {name} | {prompt['target']} | {prompt['covered']} | {score} | {tail} |")
    return lines


def main() -> None:
    """Run all cases and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cases", description=__doc__)
    parser.add_argument("cases", type=Path, help="folder with imgs/ and gts/")
    given = parser.parse_args().cases
    print(HEAD)
    for image in sorted((given / "imgs").glob("*.npz")):
        with np.load(given / "gts" / image.name) as archive, tempfile.TemporaryDirectory() as folder:
            print("\n".join(rows(image.resolve(), archive["gts"], Path(folder))), flush=True)


if __name__ == "__main__":
    main()

"""Segment the demo's cases, show score and picture: `python -m vesal.demo [--case NAME]`."""

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vesal.demo.cases import CASES, DemoCase
from vesal.demo.convert import write_challenge_case
from vesal.demo.packages import DemoDataError
from vesal.demo.picture import save_picture
from vesal.demo.score import score_table
from vesal.inference.data.case import Case


def main(arguments: Sequence[str]) -> int:
    """Run the demo; return the exit code of `vesal`, or 1 where the demo's volumes cannot be had."""
    parser = argparse.ArgumentParser(prog="python -m vesal.demo", description="Segment the demo's cases.")
    parser.add_argument("--case", choices=CASES, help="only this one")
    parser.add_argument("--folder", type=Path, default=Path(".demo"), help="for all files (%(default)s)")
    options = parser.parse_args(arguments)
    names, folder = [options.case] if options.case else list(CASES), options.folder.resolve()
    try:
        demos = [CASES[name](folder / "packages") for name in names]
    except DemoDataError as error:
        print(error, file=sys.stderr)
        return 1
    inputs, outputs = folder / "inputs", folder / "outputs"
    cases = [write_challenge_case(demo, inputs) for demo in demos]
    code = _predict(inputs, outputs)
    for demo, case in zip(demos, cases, strict=True):
        _show(demo, case, outputs)
    return code


def _predict(inputs: Path, outputs: Path) -> int:
    """Run the container's own command on a folder, with the Python that runs the demo."""
    command = [sys.executable, "-m", "vesal", str(inputs), str(outputs)]
    return subprocess.run(command, check=False).returncode


def _show(demo: DemoCase, case: Case, outputs: Path) -> None:
    with np.load(outputs / f"{demo.name}.npz", allow_pickle=False) as archive:
        labels = archive["segs"]
    picture = outputs.parent / f"{demo.name}.png"
    save_picture(picture, demo, case.image, labels)
    print(f"\n{demo.title} ({demo.source})")
    print(score_table(demo, labels))
    for what, path in (("label map", outputs / f"{demo.name}.npz"), ("picture", picture)):
        print(f"  {what:<10} {os.path.relpath(path)}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

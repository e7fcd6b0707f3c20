"""Seconds of a window, by the size of the default network: `python -m benchmarks.sizes`.

New networks, exported as a training exports them, run in turns by the runtime that the machine has,
with as many prompts as AMOS has.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from benchmarks.measure import count_processor_time, side_by_side
from benchmarks.tables import Row, finish, markdown
from vesal.inference.runtime.choice import choose_runtime
from vesal.networks.nano import Nano
from vesal.training.export import INPUTS, example, write_graphs
from vesal.training.sizes import SIZES

PROMPTS = 15


def main(arguments: list[str] | None = None) -> int:
    """Make the table."""
    parser = argparse.ArgumentParser("python -m benchmarks.sizes", description=__doc__.split("\n")[0])
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--side", type=int, default=48, help="of a cubic window, a multiple of 16")
    parser.add_argument("--busy", action="store_true", help="count processor time, on a machine in use")
    parser.add_argument("--json", type=Path, help="file for the figures")
    options = parser.parse_args(arguments)
    if options.busy:
        count_processor_time()
    with tempfile.TemporaryDirectory() as scratch:
        calls = [windows(name, Path(scratch), (options.side,) * 3) for name in SIZES]
        for call in calls:
            call()
        seconds = [ms / 1e3 for ms in side_by_side(calls, options.times)]
    title = f"A window of {options.side}^3 voxels, {PROMPTS} prompts"
    rows = [Row(name, s, "s", seconds[0], "nano") for name, s in zip(SIZES, seconds, strict=True)]
    print(markdown(title, rows))
    return finish({title: rows}, options.json)


def windows(name: str, folder: Path, shape: tuple[int, int, int]) -> Callable[[], object]:
    """One window of a new network of a size of ``SIZES``."""
    torch.manual_seed(0)
    network = Nano(SIZES[name].widths, deeper=SIZES[name].deeper).eval()
    write_graphs(network, folder / name, 0)
    graph = choose_runtime().load(folder / name / "degree0.onnx")
    inputs = dict(zip(INPUTS, (np.asarray(t) for t in example(PROMPTS, shape)), strict=True))
    return lambda: graph(inputs)


if __name__ == "__main__":
    sys.exit(main())

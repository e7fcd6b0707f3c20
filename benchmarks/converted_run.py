"""Time and memory of one network, in torch or as a graph: a process of its own, started by `converted`."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.converted_steps import INPUTS, Step, chain
from vesal.inference.runtime.choice import choose_runtime
from vesal.inference.runtime.machine import peak_mb

CALLS = 4
"""The first is not counted: it compiles the graph."""


def main() -> None:
    """Print seconds of processors for a call, and MB of memory that network and calls took, as JSON."""
    parser = argparse.ArgumentParser("python -m benchmarks.converted_run", description=__doc__)
    parser.add_argument(
        "--graph", action="append", help="PATH:INPUT,INPUT to run, in order; left out: the network in torch"
    )
    parser.add_argument("--profile", required=True)
    parser.add_argument("--row", type=int, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--shared", type=Path, required=True)
    parser.add_argument("--threads", type=int, required=True)
    options = parser.parse_args()
    print(json.dumps(of_graph(options) if options.graph else of_torch(options)))


def of_graph(options: argparse.Namespace) -> dict[str, float]:
    """As the engine runs it on a processor."""
    runtime = choose_runtime("openvino", options.threads)
    before = peak_mb()
    with np.load(options.folder / INPUTS) as stored:
        inputs = dict(stored)
    run = chain([Step.read(text) for text in options.graph], runtime)

    def call() -> None:
        outputs = run(inputs)
        if "masks" in outputs:  # the product that the engine makes of them
            np.tensordot(outputs["masks"][0], outputs["features"][0], 1)

    return measured(call, before)


def of_torch(options: argparse.Namespace) -> dict[str, float]:
    """In fp32, as published."""
    import torch

    from benchmarks.converted_network import subjects

    torch.set_num_threads(options.threads)
    before = peak_mb()
    subject = subjects(options.profile, options.shared)[options.row]
    return measured(subject.network, before)


def measured(call: Callable[[], Any], before: float) -> dict[str, float]:
    """The best of several calls; memory is what came on top of ``before`` (MB): inputs, network and calls."""
    seconds = []
    for _ in range(CALLS):
        started = time.process_time()
        call()
        seconds.append(time.process_time() - started)
    return {"seconds": min(seconds[1:]), "mb": peak_mb() - before}


if __name__ == "__main__":
    main()

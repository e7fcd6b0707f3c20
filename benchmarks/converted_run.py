"""Time and memory of one network, in torch or as a graph: a process of its own, started by `converted`."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vesal.inference.runtime.choice import Runtime, choose_runtime
from vesal.inference.runtime.machine import peak_mb

INPUTS = "inputs.npz"
CALLS = 4
"""The first is not counted: it compiles the graph."""

Inputs = dict[str, np.ndarray]


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


@dataclass(frozen=True)
class Step:
    """A graph, and the names of what it is given."""

    path: Path
    inputs: tuple[str, ...]

    @classmethod
    def read(cls, text: str) -> Step:
        """Of ``PATH:INPUT,INPUT``."""
        path, _, names = text.rpartition(":")
        return cls(Path(path), tuple(names.split(",")))

    def __str__(self) -> str:
        return f"{self.path}:{','.join(self.inputs)}"


def fp16_of(path: Path) -> Path:
    """Where the graph with weights in fp16 lies beside the one with weights in fp32."""
    return path.with_name(f"{path.stem}16{path.suffix}")


def chain(steps: Sequence[Step], runtime: Runtime) -> Callable[[Inputs], Inputs]:
    """The graphs one after the other: each is given inputs, and outputs of those before it."""
    graphs = [(runtime.load(step.path), step.inputs) for step in steps]

    def run(inputs: Inputs) -> Inputs:
        known = dict(inputs)
        for graph, names in graphs:
            known |= graph({name: known[name] for name in names})
        return known

    return run


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

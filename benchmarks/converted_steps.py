"""What `benchmarks.converted` compares with a network: graphs that are run one after the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vesal.inference.runtime.choice import Runtime

INPUTS = "inputs.npz"
"""File in the folder of a comparison with the inputs of its graphs."""

Inputs = dict[str, np.ndarray]


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


@dataclass(frozen=True)
class Subject:
    """One network with one way to ask it."""

    what: str
    """For the table."""
    inputs: Inputs
    """Of the graph, by name."""
    network: Callable[[], np.ndarray]
    """Logits (N, d, h, w) float32 of the network in torch, for these inputs."""
    write: Callable[[Path], tuple[Step, ...]]
    """Writes the graphs with weights in fp32 to a folder, or tells where they lie, in the order in which they
    are run; beside them those with weights in fp16 (``fp16_of``), if there are some to compare."""
    logits: Callable[[Inputs], np.ndarray]
    """Outputs of the graphs -> logits (N, d, h, w) float32."""
    window: str
    """What the network is asked, for the line below the table."""
    exact: Callable[[], np.ndarray] | None = None
    """Logits of the network computed in float64, where that is known."""


def fp16_of(path: Path) -> Path:
    """Where the graph with weights in fp16 lies beside the one with weights in fp32."""
    return path.with_name(f"{path.stem}16{path.suffix}")


def chain(
    steps: Sequence[Step], runtime: Runtime, precision: str | None = None
) -> Callable[[Inputs], Inputs]:
    """The graphs one after the other: each is given inputs, and outputs of those before it."""
    graphs = [(runtime.load(step.path, precision), step.inputs) for step in steps]

    def run(inputs: Inputs) -> Inputs:
        known = dict(inputs)
        for graph, names in graphs:
            known |= graph({name: known[name] for name in names})
        return known

    return run

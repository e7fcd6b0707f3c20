"""Graphs that are read when they are wanted, by whichever thread wants them first."""

import weakref
from pathlib import Path

import numpy as np

from vesal.inference.families.lazy_graph import LazyGraph


class Negative:
    """A graph that gives what it gets with another sign."""

    def __call__(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {name: -array for name, array in inputs.items()}


class Watching:
    """Loads graphs; keeps what was asked for, and which graphs are still held."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str | None]] = []
        self.held: weakref.WeakSet[Negative] = weakref.WeakSet()
        self.locked: list[bool] = []
        self.graph: LazyGraph | None = None

    def load(self, path: Path, precision: str | None = None, one_shape: bool | str = False) -> Negative:
        self.asked.append((path.name, precision))
        self.locked.append(self.graph is not None and self.graph._lock.locked())
        graph = Negative()
        self.held.add(graph)
        return graph


def test_it_is_read_for_the_first_run_and_again_after_a_release() -> None:
    runtime = Watching()
    graph = LazyGraph(Path("folder/a.onnx"), runtime, "bf16")
    assert runtime.asked == []
    for _ in range(2):
        assert graph({"x": np.array([2.0])})["x"].tolist() == [-2.0]
    assert runtime.asked == [("a.onnx", "bf16")] and len(runtime.held) == 1
    graph.release()
    assert not runtime.held
    graph({})
    assert len(runtime.asked) == 2


def test_no_second_thread_reads_while_one_does() -> None:
    runtime = Watching()
    runtime.graph = LazyGraph(Path("a.onnx"), runtime)
    runtime.graph({})
    assert runtime.locked == [True] and not runtime.graph._lock.locked()

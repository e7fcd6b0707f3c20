"""Stand-ins for a stage's graphs: one feature, the intensity; mask embeddings are the text's first number."""

from pathlib import Path

import numpy as np

from vesal.inference.families.contract import RunGraph
from vesal.inference.families.query_bank import QueryPrompts


class Recorder:
    """One graph of a stage, by its role; keeps what it was given."""

    def __init__(self, role: str) -> None:
        self.role = role
        self.calls: list[dict[str, np.ndarray]] = []

    @property
    def inputs(self) -> dict[str, np.ndarray]:
        """Of the last call; none before the first one."""
        return self.calls[-1] if self.calls else {}

    def __call__(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Features (1, 1, d, h, w): intensities less 100; masks (1, N, 1)."""
        self.calls.append(inputs)
        found = {"masks": inputs["text"][..., :1]} if "text" in inputs else {}
        if "image" in inputs:
            tokens = np.ones((1, 2, 3), np.float32)
            found |= {"features": inputs["image"] - 100.0, "tokens": tokens, "positions": tokens[0]}
        return found


class Graphs:
    """Loads recorders by the name of their file, which is their role."""

    def __init__(self) -> None:
        self.loaded: list[Recorder] = []

    def load(self, path: Path, precision: str | None = None, one_shape: bool | str = False) -> RunGraph:
        """A new recorder."""
        self.loaded.append(Recorder(path.name))
        return self.loaded[-1]


def queries(count: int) -> QueryPrompts:
    """N queries; the first number of the n-th text is n + 1."""
    text = np.ones((count, 2), np.float32)
    text[:, 0] = np.arange(1, count + 1)
    return QueryPrompts(text)

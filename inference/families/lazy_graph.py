"""A graph that is read when it is first run."""

from __future__ import annotations

from pathlib import Path
from threading import Lock

import numpy as np

from vesal.inference.families.contract import Loader, RunGraph


class LazyGraph:
    """Reads its file for the first run, whichever thread comes first, and again after a ``release``."""

    def __init__(
        self, path: Path, runtime: Loader, precision: str | None = None, one_shape: bool | str = False
    ) -> None:
        self._path, self._runtime = path, runtime
        self._precision, self._one_shape = precision, one_shape
        self._graph: RunGraph | None = None
        self._lock = Lock()

    def __call__(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Run it on arrays by name, of whatever shapes its family gives it. Raises ProfileError."""
        return self._loaded()(inputs)

    def release(self) -> None:
        """Free the graph; one that another thread runs stays until it has run."""
        with self._lock:
            self._graph = None

    def _loaded(self) -> RunGraph:
        with self._lock:
            if self._graph is None:
                self._graph = self._runtime.load(self._path, self._precision, self._one_shape)
            return self._graph

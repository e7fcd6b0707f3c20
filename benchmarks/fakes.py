"""Networks without weights for the benchmarks: outputs of the true size, at a cost that can be chosen."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from benchmarks.measure import now
from vesal.inference.api import Model
from vesal.inference.data.terms import MODALITIES
from vesal.inference.engine import Engine
from vesal.inference.families.nano import SIDE_CODES, NanoModel, graph_paths
from vesal.inference.planning.manifest import CoveredTarget
from vesal.inference.planning.profile import Profile, read_profile
from vesal.inference.runtime.choice import Graph

NOISE = 1e-3
"""Height of the noise where a class is not; without any, results would pack better than true ones."""


class Balls:
    """Finds for every query a ball of its own; with a spatial prompt, what the prompt shows.

    The place hangs on the text vector, so it is the same in every view of one grid. Costs ``seconds`` a call.
    """

    def __init__(self, radius: float = 0.15, seconds: float = 0.0) -> None:
        """``radius`` as a share of the view's sides."""
        self.radius, self.seconds = radius, seconds
        self.calls = 0

    def __call__(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """See ``runtime.choice.Graph``."""
        self.calls += 1
        started = time.perf_counter()
        prompt = inputs["prompt"]
        noise = np.random.default_rng(self.calls)
        probability = noise.random(prompt.shape, np.float32) * np.float32(NOISE)
        for row, vector in enumerate(inputs["text"][0]):
            if prompt[0, row].any():
                np.maximum(probability[0, row], prompt[0, row], out=probability[0, row])
            else:
                probability[0, row][self._ball(vector, prompt.shape[2:])] = 0.9
        left = self.seconds - (time.perf_counter() - started)
        if left > 0:
            time.sleep(left)
        return {"probability": probability, "presence": np.ones(prompt.shape[:3], np.float32)}

    def _ball(self, vector: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        seed = int(np.abs(vector).sum() * 1e4) % 2**31
        centre = np.random.default_rng(seed).uniform(0.25, 0.75, 3)
        axes = np.ogrid[tuple(slice(0, n) for n in shape)]
        away = sum(((a / n - c) / self.radius) ** 2 for a, n, c in zip(axes, shape, centre, strict=True))
        return away <= 1


class Timed:
    """A graph that adds up the seconds it takes."""

    def __init__(self, graph: Callable[..., dict[str, np.ndarray]]) -> None:
        """Around ``graph``; keeps the inputs of each call in ``asked`` for bare runs."""
        self._graph = graph
        self.seconds = 0.0
        self.asked: list[dict[str, np.ndarray]] = []

    def __call__(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Run, and take the time."""
        self.asked.append(inputs)
        started = now()
        result = self._graph(inputs)
        self.seconds += now() - started
        return result


@dataclass
class NoRuntime:
    """What the report wants to know of a runtime, where there is none."""

    name: str = "fake"
    reason: str = "no network is run"
    precision: str = "fp32"
    threads: int = 1

    def load(self, path: Path, precision: str | None = None, one_shape: bool | str = False) -> Graph:
        """Nothing is to be loaded."""
        raise AssertionError(path)

    def cancel(self) -> None:
        """Nothing runs."""


def covering(folder: Path) -> Profile:
    """The profile of some weights as if they had been trained on everything that their bank names, in any way
    that it may lie.
    """
    profile = read_profile(folder)
    with np.load(profile.bank_path()) as archive:
        names = archive["names"].tolist()
    targets = (
        CoveredTarget(n, side, m, any_orientation=True)
        for n in names
        for side in SIDE_CODES
        for m in MODALITIES
    )
    return replace(profile, targets=tuple(targets))


def fake_model(profile: Profile, graph: Callable[..., dict[str, np.ndarray]]) -> Model:
    """A model with the rules and the bank of a profile, and one made-up network for all degrees."""
    with np.load(profile.bank_path()) as archive:
        bank = dict(zip(archive["names"].tolist(), archive["vectors"].astype(np.float32), strict=True))
    graphs = dict.fromkeys(graph_paths(profile), graph)
    return Model(Engine(profile, NoRuntime(), NanoModel(graphs, bank, profile)))

"""What the engine needs of a kind of network, and what a network needs of a runtime."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from vesal.inference.data.prompt import Query


class GraphLike(Protocol):
    """A loaded network: named arrays in, named arrays out."""

    def __call__(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]: ...


class Loader(Protocol):
    """The part of a runtime that is used here."""

    def load(self, path: Path, precision: str | None = None) -> GraphLike:
        """Read a graph."""


@dataclass(frozen=True)
class Embedding:
    """Prompts as the network's query inputs, each with a leading axis of N prompts."""

    text: np.ndarray
    """(N, T) float32"""
    side: np.ndarray
    """(N,) int64"""
    modality: np.ndarray
    """(N,) int64"""

    def part(self, rows: slice) -> Embedding:
        """Some of the prompts."""
        return Embedding(self.text[rows], self.side[rows], self.modality[rows])


Embed = Callable[[Sequence[Query]], Embedding]


Predict = Callable[[np.ndarray, np.ndarray | None, Embedding, int], tuple[np.ndarray, np.ndarray]]


class Network(Protocol):
    """What runs one window, see ``NanoModel.predict``."""

    def predict(
        self, image: np.ndarray, prompt: np.ndarray | None, embedding: Embedding, degree: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Probabilities and presence of one window, arrays that the caller may write to."""


class Model(Protocol):
    """What the engine needs of a family."""

    def knows(self, concept: str | None) -> bool:
        """Whether something can be asked for."""

    def embed(self, prompts: Sequence[Query]) -> Embedding:
        """Query inputs of N prompts."""

    @property
    def coarse(self) -> Network:
        """The coarse stage's network."""

    @property
    def fine(self) -> Network:
        """The fine stage's."""


@dataclass(frozen=True)
class StageModel:
    """A model as one of its stages uses it."""

    embed: Embed
    predict: Predict

    @classmethod
    def coarse(cls, model: Model) -> StageModel:
        """With the coarse stage's network."""
        return cls(model.embed, model.coarse.predict)

    @classmethod
    def fine(cls, model: Model) -> StageModel:
        """With the fine stage's network."""
        return cls(model.embed, model.fine.predict)

"""What the engine needs of a kind of network, and what a network needs of a runtime."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from vesal.inference.data.case import Case
from vesal.inference.data.prompt import Prompt, Query
from vesal.inference.planning.plan import Plan
from vesal.inference.planning.profile import Profile

RunGraph = Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]
"""A loaded network: arrays by name in, arrays by name out, which the caller may write to."""


class Loader(Protocol):
    """The part of a runtime that is used here."""

    def load(self, path: Path, precision: str | None = None) -> RunGraph:
        """Read a graph; `precision` is `bf16`, `fp32`, or None, which leaves it to the runtime."""


@dataclass(frozen=True)
class Embedding:
    """Queries as the network's inputs, each with a leading axis of N queries."""

    text: np.ndarray
    """(N, T) float32"""
    side: np.ndarray
    """(N,) int64"""
    modality: np.ndarray
    """(N,) int64"""

    def part(self, rows: slice) -> Embedding:
        """Some of the queries."""
        return Embedding(self.text[rows], self.side[rows], self.modality[rows])


class StageModel(Protocol):
    """A model as one of its stages uses it."""

    def embed(self, queries: Sequence[Query]) -> Embedding:
        """The inputs of N queries, all of them known to the model."""

    def predict(
        self, image: np.ndarray, prompt: np.ndarray | None, embedding: Embedding, degree: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Run one window.

        Args:
            image: (2, d, h, w) float32 of ``network_input.image_channels``, thick axis first.
            prompt: spatial prompts (N, d, h, w) float32 0..1, or bool; None where there are none.
            embedding: of N queries.
            degree: degree of anisotropy of the view.

        Returns:
            probabilities (N, d, h, w) and presence per slice of the first axis (N, d), float32 0..1; the
            caller may write to them.

        Raises:
            OutOfDeviceMemoryError: the window does not fit into the GPU.
        """


class Model(Protocol):
    """What the engine needs of a family. Several threads may use it, each for a case of its own."""

    @property
    def coarse(self) -> StageModel:
        """As the coarse stage uses it."""

    @property
    def fine(self) -> StageModel:
        """As the fine stage uses it."""

    def knows(self, concept: str | None) -> bool:
        """Whether a concept can be segmented."""

    def plan(self, prompts: Sequence[Prompt], profile: Profile, case: Case) -> Plan:
        """The plan of a case: its queries and their rules.

        Args:
            prompts: of the case.
            profile: the weights' own, or with some of its fields changed.
            case: what its volume is decides too, in some families.
        """

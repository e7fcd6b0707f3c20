"""Families of networks by name: how the model of a profile is opened, and what a stage needs of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from inference.models import Embedding, Loader, Query, VolumeModel
from inference.profile import Profile

Embed = Callable[[Sequence[Query]], Embedding]
Predict = Callable[[np.ndarray, np.ndarray | None, Embedding, int], tuple[np.ndarray, np.ndarray]]


class Network(Protocol):
    """What runs one window, see ``VolumeModel.predict``."""

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


def _volume(profile: Profile, runtime: Loader) -> Model:
    graphs = {int(degree): path for degree, path in profile.graphs.items()}
    return VolumeModel.load(graphs, profile.bank, runtime)


def _query(profile: Profile, runtime: Loader) -> Model:
    from inference.model_query import QueryModel  # imported where it is used: most runs need no such family

    return QueryModel.load(profile.folder, runtime)


FAMILIES: Mapping[str, Callable[[Profile, Any], Model]] = {"volume": _volume, "query": _query}


def open_model(profile: Profile, runtime: Loader) -> Model:
    """The model of a profile; its graphs are read when they are first run. Raises ProfileError."""
    return FAMILIES[profile.family](profile, runtime)

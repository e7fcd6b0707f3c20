"""The graphs of a converted VoxTell: a window once for all prompts, texts once a case, prompts to logits."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from vesal.inference.families.contract import RunGraph

Encoded = dict[str, np.ndarray]
"""What all prompts share of a window, by the names of the graphs."""


class PromptNetwork(Protocol):
    """What the stage needs of a network."""

    def encode(self, image: np.ndarray) -> Encoded:
        """Encode one window (1, d, h, w) float32, for any prompts."""

    def queries(self, text: np.ndarray) -> np.ndarray:
        """Text embeddings (N, T) float32 to queries (N, E)."""

    def logits(self, encoded: Encoded, query: np.ndarray) -> np.ndarray:
        """Logits (d, h, w) float32 of one query (E,) on one encoded window."""


class GraphNetwork:
    """The three graphs; a ``PromptNetwork``."""

    def __init__(self, window: RunGraph, text: RunGraph, prompt: RunGraph) -> None:
        """See ``weights.convert.voxtell_graphs``."""
        self._window, self._text, self._prompt = window, text, prompt

    def encode(self, image: np.ndarray) -> Encoded:
        """(1, d, h, w) -> all that ``Encoded`` holds."""
        return self._window({"image": image[None]})

    def queries(self, text: np.ndarray) -> np.ndarray:
        """(N, T) -> (N, E)."""
        return self._text({"text": text[None]})["queries"][0]

    def logits(self, encoded: Encoded, query: np.ndarray) -> np.ndarray:
        """(E,) on an encoded window -> (d, h, w)."""
        return self._prompt({**encoded, "queries": query[None, None]})["logits"][0]

"""The graphs of a converted SegVol: windows to embeddings once, sentences to vectors once, both to logits."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Protocol

import numpy as np

from vesal.inference.families.contract import RunGraph
from vesal.inference.families.segvol.fields import NetworkFacts
from vesal.inference.families.segvol.prompts import Asked, same_tokens


class PromptNetwork(Protocol):
    """What the stages need of a network."""

    def encode(self, image: np.ndarray) -> Any:
        """Encode one window (1, d, h, w) float32 0..1, for any prompts."""

    def logits(self, encoded: Any, asked: Sequence[Asked]) -> np.ndarray:
        """Logits (N, d, h, w) float32 of N prompts on one encoded window."""


class GraphNetwork:
    """Image and decoder graphs; a ``PromptNetwork``."""

    def __init__(self, image: RunGraph, decoder: RunGraph, facts: NetworkFacts) -> None:
        """``facts`` are of the conversion."""
        self._image, self._decoder, self._facts = image, decoder, facts

    def encode(self, image: np.ndarray) -> np.ndarray:
        """(1, d, h, w) -> (1, C, d', h', w')."""
        return self._image({"image": image[None]})["embedding"]

    def logits(self, encoded: np.ndarray, asked: Sequence[Asked]) -> np.ndarray:
        """Decode a few prompts at a time on (1, C, d, h, w); they know nothing of each other."""
        out = np.empty((len(asked), *self._facts.window_dhw), np.float32)
        most = self._facts.prompts_at_once
        for group in same_tokens(asked):
            for first in range(0, len(group), most):
                rows = group[first : first + most]
                found = self._decoder(self._inputs(encoded, [asked[row] for row in rows]))["logits"]
                for row, low in zip(rows, found, strict=True):
                    enlarge(low, out[row])
        return out

    def _inputs(self, encoded: np.ndarray, asked: Sequence[Asked]) -> dict[str, np.ndarray]:
        tokens = [each.tokens() for each in asked]
        nothing = np.zeros(self._facts.channels, np.float32)
        return {
            "embedding": encoded,
            "coordinates": np.stack([places for places, _ in tokens]),
            "kinds": np.stack([kinds for _, kinds in tokens]),
            "text": np.stack([nothing if each.text is None else each.text for each in asked]),
            "with_text": np.array([each.text is not None for each in asked], np.float32),
        }


def enlarge(low: np.ndarray, out: np.ndarray) -> None:
    """Logits (a, b, c) float32 to those of all voxels ``out`` (d, h, w): trilinear, edges in place."""
    sides = [linear_weights(n, m) for n, m in zip(out.shape, low.shape, strict=True)]
    if out.shape[0] != low.shape[0]:
        low = np.tensordot(sides[0], low, 1)
    np.matmul(sides[1] @ low, sides[2].T, out=out)


@lru_cache(maxsize=16)
def linear_weights(n_out: int, n_in: int) -> np.ndarray:
    """(n_out, n_in) float32: linear interpolation along one axis, as torch has it without aligned corners."""
    place = np.maximum((np.arange(n_out) + 0.5) * (n_in / n_out) - 0.5, 0)
    low = np.minimum(place.astype(int), n_in - 1)
    share = place - low
    weights = np.zeros((n_out, n_in))
    rows = np.arange(n_out)
    weights[rows, low] += 1 - share
    weights[rows, np.minimum(low + 1, n_in - 1)] += share
    return weights.astype(np.float32)

"""One stage of Medal S or SAT: inputs and outputs of its graph for a window."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from threading import Lock

import numpy as np

from vesal.inference.data.prompt import Query
from vesal.inference.families.contract import Embedding
from vesal.inference.families.lazy_graph import LazyGraph
from vesal.inference.families.query_bank import QueryBank

MULTIPLE = 32
"""Sides of a window: the networks halve them five times."""


class GraphMemory:
    """Room for the graphs of one stage.

    Each compiled graph holds its weights (0.44 GB of Medal S in fp32) and what its last window needed, and
    the stages come one after the other. Reading a graph again takes less time than one window.
    """

    def __init__(self) -> None:
        self._holder: QueryStage | None = None
        self._lock = Lock()

    @contextmanager
    def held_by(self, stage: QueryStage) -> Iterator[None]:
        """Give the room to a stage while it runs a window.

        Another thread waits until then, so the graphs of two stages are never held at once, nor freed while
        they run.
        """
        with self._lock:
            if self._holder is not None and self._holder is not stage:
                self._holder.release()
            self._holder = stage
            yield


class QueryStage:
    """The network of one stage, and the bank that all stages share."""

    def __init__(
        self,
        plain: LazyGraph,
        prompted: LazyGraph | None,
        bank: QueryBank,
        memory: GraphMemory | None = None,
    ) -> None:
        """``plain`` takes no spatial prompts; SAT has no ``prompted``. All stages share a ``memory``."""
        self._plain, self._prompted, self._bank = plain, prompted, bank
        self._memory = memory or GraphMemory()

    def release(self) -> None:
        """Free the graphs; they are read again when the next window comes."""
        for graph in (self._plain, self._prompted):
            if graph is not None:
                graph.release()

    def embed(self, queries: Sequence[Query]) -> Embedding:
        """Network inputs of N queries: text (N, E), see ``QueryBank.embed``."""
        return self._bank.embed(queries)

    def predict(
        self, image: np.ndarray, prompt: np.ndarray | None, embedding: Embedding, degree: int = 0
    ) -> tuple[np.ndarray, np.ndarray]:
        """Run one window.

        Args:
            image: (C, d, h, w) float32 of ``network_input.image_channels``; the first channel is scaled back
                to 0..255, which is what these networks see.
            prompt: (N, d, h, w) 0..1, float32 or bool, or None. The published code gives masks, the paper
                probabilities (``docs/medal_s.md`` 9): the rules decide. Where all is 0, and for SAT, the
                network without prompts is run, which gives what zeros would give.
            embedding: of N queries.
            degree: not used; axes are never thick first for these networks.

        Returns:
            probabilities (N, d, h, w) float32, and ones (N, d): these networks tell no presence.
        """
        shape = image.shape[1:]
        padding = [(0, side - n) for n, side in zip(shape, padded_sides(shape), strict=True)]
        # Black is what the published code pads with, too.
        raw = np.pad((image[0] + 1.0) * np.float32(127.5), padding)
        inputs = {"image": raw[None, None], "text": embedding.text[None]}
        graph = self._plain
        if prompt is not None and self._prompted is not None and prompt.any():
            graph = self._prompted
            padded = np.pad(prompt, [(0, 0), *padding]) if any(map(any, padding)) else prompt
            inputs["prompt"] = padded[None].astype(np.float32, copy=False)
        with self._memory.held_by(self):
            logits = graph(inputs)["logits"][0][:, : shape[0], : shape[1], : shape[2]]
        return sigmoid(logits, out=logits), np.ones((len(logits), shape[0]), np.float32)


def padded_sides(shape: Sequence[int]) -> tuple[int, ...]:
    """Sides of the window that the network sees for a view of ``shape``.

    Multiples of 32; a cube of 32 would leave one voxel at the coarsest resolution, of which no norm can be
    taken, so its last side is doubled.
    """
    sides = [max(1, -(-n // MULTIPLE)) * MULTIPLE for n in shape]
    if all(side == MULTIPLE for side in sides):
        sides[-1] *= 2
    return tuple(sides)


def sigmoid(logits: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """1 / (1 + exp(-logits)) in float32, of any shape, in ``out`` if given; 0 and 1 where that overflows."""
    out = np.negative(logits, out=out, dtype=np.float32)
    # exp of more than 88 is infinite in float32, and 1 / (1 + inf) is the 0 that is wanted.
    with np.errstate(over="ignore", under="ignore"):
        np.exp(out, out=out)
    out += 1.0
    return np.reciprocal(out, out=out)

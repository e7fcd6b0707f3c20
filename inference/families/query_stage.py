"""One stage of Medal S or SAT: a window is encoded once, and decoded for any group of prompts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Lock

import numpy as np

from vesal.inference.families.contract import Decoded, UserInput, Window
from vesal.inference.families.lazy_graph import LazyGraph
from vesal.inference.families.mask_product import mask_probabilities
from vesal.inference.families.query_bank import QueryPrompts
from vesal.inference.geometry.views import View

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


@dataclass(frozen=True)
class EncodedWindow:
    """A window as its prompts are decoded from."""

    features: np.ndarray
    """(C, D, H, W) float32 per voxel, with the padding; of Medal S with spatial prompts already fused"""
    tokens: np.ndarray
    """(1, T, E) float32"""
    positions: np.ndarray
    """(T, E) float32"""
    shape: tuple[int, int, int]
    """(d, h, w) of the window without padding"""
    masks: dict[bytes, np.ndarray]
    """mask embeddings (C,) by the bytes of their text (E,), as far as they are known"""


@dataclass
class QueryWindow:
    """A window before its prompts are known; without spatial prompts it is encoded once for all of them."""

    image: np.ndarray
    """(d, h, w) float32, raw"""
    plain: EncodedWindow | None = None
    """without spatial prompts, once that is needed"""


class QueryStage:
    """The network of one stage."""

    def __init__(
        self,
        encoder: LazyGraph,
        embed: LazyGraph,
        prompted: LazyGraph | None,
        memory: GraphMemory | None = None,
    ) -> None:
        """Graphs as ``weights.convert.graphs`` writes them.

        Args:
            encoder: image -> features, tokens, positions.
            embed: tokens, positions, text -> masks.
            prompted: image, text, prompt -> features, masks, tokens, positions; SAT has none.
            memory: which all stages share; None is one of its own.
        """
        self._encoder, self._embed, self._prompted = encoder, embed, prompted
        self._memory = memory or GraphMemory()

    @property
    def takes_prompts(self) -> bool:
        """Whether there is a network for spatial prompts."""
        return self._prompted is not None

    def release(self) -> None:
        """Free the graphs; they are read again when the next window comes."""
        for graph in (self._encoder, self._embed, self._prompted):
            if graph is not None:
                graph.release()

    def prepare(self, sampled: np.ndarray, view: View, measured: None) -> np.ndarray:
        """(d, h, w) float32 0..255 -> (1, d, h, w), raw, which is what these networks see."""
        return sampled[None]

    def is_empty(self, window: np.ndarray) -> bool:
        """Whether a window (1, d, h, w) is black."""
        return not bool((window > 0).any())

    def cost(self, degree: int, voxels: int, prompts: int) -> tuple[str, int]:
        """The same graphs for all windows, compared by voxels."""
        return "window", voxels

    def encode(self, window: Window) -> QueryWindow:
        """Encode a window (1, d, h, w), unless its spatial prompts are to be encoded with it."""
        encoded = QueryWindow(window.image[0])
        if not (window.prompted and self.takes_prompts):
            encoded.plain = self._encode(encoded.image)
        return encoded

    def decode(
        self, encoded: QueryWindow, prompts: QueryPrompts, spatial: np.ndarray | None, user: UserInput | None
    ) -> Decoded:
        """Probabilities of some prompts in a window, which may be decoded again.

        Args:
            encoded: of ``encode``.
            prompts: N queries, which know nothing of each other without spatial prompts.
            spatial: (N, d, h, w) 0..1, float32 or bool, or None. The published code gives masks, the paper
                probabilities (``docs/medal_s.md`` 9): the rules decide. Where all is 0, and for SAT, the
                network without prompts is run, which gives what zeros would give.
            user: not used; these networks take no boxes and no points.

        Returns:
            probabilities (N, d, h, w) float32, no presence.
        """
        if spatial is not None and self._prompted is not None and spatial.any():
            found = self._encode(encoded.image, spatial, prompts.text)
        else:
            found = encoded.plain = encoded.plain or self._encode(encoded.image)
        masks = self._masks(found, prompts.text)
        return Decoded(mask_probabilities(masks, found.features, found.shape))

    def _encode(
        self, image: np.ndarray, spatial: np.ndarray | None = None, text: np.ndarray | None = None
    ) -> EncodedWindow:
        """Run the network on a window (d, h, w), with spatial prompts (N, d, h, w) of texts (N, E)."""
        depth, height, width = image.shape
        shape = depth, height, width
        padding = [(0, side - n) for n, side in zip(shape, padded_sides(shape), strict=True)]
        # Black is what the published code pads with, too.
        inputs, graph = {"image": np.pad(image, padding)[None, None]}, self._encoder
        if spatial is not None and text is not None and self._prompted is not None:
            graph = self._prompted
            padded = np.pad(spatial, [(0, 0), *padding]) if any(map(any, padding)) else spatial
            inputs |= {"text": text[None], "prompt": padded[None].astype(np.float32, copy=False)}
        with self._memory.held_by(self):
            found = graph(inputs)
        masks = {}
        if text is not None:
            masks = {row.tobytes(): mask for row, mask in zip(text, found["masks"][0], strict=True)}
        return EncodedWindow(found["features"][0], found["tokens"], found["positions"], shape, masks)

    def _masks(self, encoded: EncodedWindow, text: np.ndarray) -> np.ndarray:
        """Mask embeddings (N, C) of texts (N, E); the query decoder runs for those not known yet."""
        keys = [row.tobytes() for row in text]
        new = {key: row for key, row in zip(keys, text, strict=True) if key not in encoded.masks}
        if new:
            rows = np.stack(list(new.values()))[None]
            with self._memory.held_by(self):
                found = self._embed({"tokens": encoded.tokens, "positions": encoded.positions, "text": rows})
            encoded.masks.update(zip(new, found["masks"][0], strict=True))
        return np.stack([encoded.masks[key] for key in keys])


def padded_sides(shape: Sequence[int]) -> tuple[int, ...]:
    """Sides of the window that the network sees for a view of ``shape``.

    Multiples of 32; a cube of 32 would leave one voxel at the coarsest resolution, of which no norm can be
    taken, so its last side is doubled.
    """
    sides = [max(1, -(-n // MULTIPLE)) * MULTIPLE for n in shape]
    if all(side == MULTIPLE for side in sides):
        sides[-1] *= 2
    return tuple(sides)

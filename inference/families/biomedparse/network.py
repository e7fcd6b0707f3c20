"""The graphs of a converted BiomedParse-V: slices to features once, sentences to words once, both to masks.

Facts of the released code: words beyond a sentence are zeros, up to the longest of its group, and take part
in the decoder's self-attention without a mask. A mask is brought to the slice's size by bicubic
interpolation with antialias, before the sigmoid.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vesal.inference.families.biomedparse.draws import draw_inputs
from vesal.inference.families.biomedparse.fields import BOLTZMANN, SINGLE, BiomedParseFields
from vesal.inference.families.biomedparse.fractal import fractal_images, slices_per_side
from vesal.inference.families.contract import Decoded, RunGraph, UserInput, Window
from vesal.inference.families.mask_product import sigmoid
from vesal.inference.geometry.bicubic import bicubic
from vesal.inference.geometry.views import View

OUTPUTS = ("mask", "edges", "existence")
LEVELS = 3
"""Resolutions of the image that the decoder's layers attend to in turn, the coarsest first."""


@dataclass(frozen=True, eq=False)
class Words:
    """N sentences as the decoder takes them."""

    sentences: tuple[str, ...]
    words: tuple[np.ndarray, ...]
    """of each (L, C) float32, marks included, L of its own"""
    longest: int
    """L of the longest sentence of the case"""

    def part(self, rows: Sequence[int]) -> Words:
        """Some of the sentences, filled up as before."""
        return Words(
            tuple(self.sentences[row] for row in rows), tuple(self.words[row] for row in rows), self.longest
        )

    def tokens(self, filled: bool) -> np.ndarray:
        """(L, N, C) float32, zeros behind a sentence: up to the longest of the case, or of these."""
        length = self.longest if filled else max(map(len, self.words))
        found = np.zeros((length, len(self.words), self.words[0].shape[1]), np.float32)
        for row, words in enumerate(self.words):
            found[: len(words), row] = words
        return found


@dataclass(frozen=True, eq=False)
class EncodedSlices:
    """What all prompts share of some slices."""

    found: dict[str, np.ndarray]
    """outputs of the image graph"""
    numbers: tuple[int, ...]
    """of the slices in the volume"""
    plane: tuple[int, int]
    """(h, w) of a slice"""
    case: bytes
    """what tells the case from others"""
    edges: bool
    """whether edges are asked for"""


def enlarge(logits: np.ndarray, plane: tuple[int, int]) -> np.ndarray:
    """Logits (n, a, b) float32 of masks or edges to probabilities of whole slices (n, h, w)."""
    large = bicubic(logits, plane)
    return sigmoid(large, out=large)


def equal_groups(count: int, most: int) -> list[tuple[range, int]]:
    """Groups of one size, at most ``most``, for ``count`` prompts: rows, and how many of them are known.

    The last group begins early where the prompts do not divide: a graph that is compiled for a shape would be
    compiled anew for fewer.
    """
    size = -(-count // -(-count // most))
    starts = range(0, count, size)
    return [(range(at := min(first, count - size), at + size), first - at) for first in starts]


class SliceNetwork:
    """Image and decoder graphs, the same for every stage; a ``contract.StageModel``."""

    def __init__(self, image: RunGraph, decoder: RunGraph, fields: BiomedParseFields) -> None:
        """``decoder`` is the one of the attention that ``fields`` ask for."""
        self._image, self._decoder, self._fields = image, decoder, fields

    def prepare(self, sampled: np.ndarray, view: View, measured: Any) -> np.ndarray:
        """(d, h, w) float32 0..255 -> (1, d, h, w): mean and standard deviation are the graph's."""
        return sampled[None]

    def is_empty(self, window: np.ndarray) -> bool:
        """Whether slices (1, d, h, w) are black."""
        return not window.any()

    def cost(self, degree: int, voxels: int, prompts: int) -> tuple[str, int]:
        """The same graphs for all windows, compared by voxels."""
        return "slices", voxels

    def encode(self, window: Window) -> EncodedSlices:
        """Encode slices (1, d + context, h, w), each packed with what is around it."""
        fields, count = self._fields, window.shape[0]
        beyond = window.context - slices_per_side(fields.order)
        slices = window.image[0][beyond : len(window.image[0]) - beyond]
        found = self._image({"image": self._packed(slices)})
        numbers = tuple(range(window.first, window.first + count))
        _, h, w = window.shape
        return EncodedSlices(found, numbers, (h, w), window.measured, window.edges)

    def _packed(self, slices: np.ndarray) -> np.ndarray:
        """Slices (n + context, h, w) to (n, 3, h, w) float32, each packed with what is around it."""
        packed = fractal_images(slices, self._fields.order, self._fields.halving)
        return packed.astype(np.float32, copy=False)

    def decode(
        self, encoded: EncodedSlices, prompts: Words, spatial: np.ndarray | None, user: UserInput | None
    ) -> Decoded:
        """Masks, presence and edges of some prompts on encoded slices, masks (N, S, h / 4, w / 4) logits.

        Args:
            encoded: S slices.
            prompts: N sentences, decoded a few at a time: they know of each other by their length alone.
            spatial: not used; the network takes no spatial prompts.
            user: not used; it takes no boxes and no points.
        """
        found = self._logits(encoded, prompts)
        edges = found["edges"] if encoded.edges else None
        return Decoded(found["mask"], sigmoid(found["existence"]), edges, enlarge)

    def _logits(self, encoded: Any, prompts: Words) -> dict[str, np.ndarray]:
        """Of all prompts: mask and edges (N, S, h / 4, w / 4), existence (N, S)."""
        slices, count = len(encoded.numbers), len(prompts.sentences)
        at_once = 1 if self._fields.groups == SINGLE else max(1, self._fields.pairs // slices)
        found = []
        for rows, known in equal_groups(count, at_once):
            part = self._decode(encoded, prompts.part(rows))
            found.append({name: part[name][known:] for name in OUTPUTS})
        return {name: np.concatenate([part[name] for part in found]) for name in OUTPUTS}

    def _decode(self, encoded: EncodedSlices, prompts: Words) -> dict[str, np.ndarray]:
        """Outputs of the decoder graph, the same bytes whatever is decoded together.

        ONNX Runtime rounds a single pair in another way than several, so that one is run twice: about a
        hundredth of what encoding its slice takes.
        """
        count = len(prompts.sentences)
        twice = len(encoded.numbers) * count == 1
        found = self._decoder(self._inputs(encoded, prompts.part([0, 0]) if twice else prompts))
        return {name: values[:count] for name, values in found.items()}

    def _inputs(self, encoded: EncodedSlices, prompts: Words) -> dict[str, np.ndarray]:
        """Of the decoder graph."""
        fields, found = self._fields, encoded.found
        inputs = {"tokens": prompts.tokens(fields.groups != SINGLE)}
        if fields.attention != BOLTZMANN:
            return inputs | {name: a for name, a in found.items() if not name.startswith("features_")}
        network = fields.network
        tokens = [found[f"key_{level}"].shape[1] for level in range(LEVELS)]
        drawn = draw_inputs(
            encoded.case,
            prompts.sentences,
            encoded.numbers,
            tokens,
            network.layers,
            network.heads,
            network.queries,
        )
        return inputs | found | drawn

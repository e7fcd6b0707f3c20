"""Families of networks: how a view of a case is turned into probabilities (DESIGN section 5).

A model knows no file and no geometry but the order of axes: it gets arrays and gives arrays.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from inference.errors import OutOfDeviceMemoryError
from inference.parallel import in_parallel, in_slabs

log = logging.getLogger("vesal")

SUMMED_AT_ONCE = 1 << 16
"""Voxels: 0.5 MB as float64, which a processor's cache holds."""

MODALITIES = ("CT", "MR", "US", "PET", "Microscopy")
SIDES = (None, "left", "right")


class Query(Protocol):
    """What a model needs to know of a prompt."""

    @property
    def concept(self) -> str:
        """A name in the bank."""

    @property
    def side(self) -> str | None:
        """One of ``SIDES``."""

    @property
    def modality(self) -> str:
        """One of ``MODALITIES``."""


class GraphLike(Protocol):
    """A loaded network: named arrays in, named arrays out."""

    def __call__(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]: ...


class Loader(Protocol):
    """The part of a runtime that is used here."""

    def load(self, path: Path, precision: str | None = None) -> GraphLike:
        """Read a graph."""


class OnFirstUse(Mapping[int, GraphLike]):
    """Graphs by degree, each read when it is first wanted: most cases need one of the three."""

    def __init__(self, paths: Mapping[int, Path], runtime: Loader) -> None:
        self._paths, self._runtime = paths, runtime
        self._loaded: dict[int, GraphLike] = {}

    def __getitem__(self, degree: int) -> GraphLike:
        """The graph of ``degree``."""
        if degree not in self._loaded:
            self._loaded[degree] = self._runtime.load(self._paths[degree])
        return self._loaded[degree]

    def __iter__(self) -> Iterator[int]:
        """Degrees there are."""
        return iter(self._paths)

    def __len__(self) -> int:
        """How many."""
        return len(self._paths)


def intensity_statistics(image: np.ndarray) -> tuple[float, float]:
    """Mean and standard deviation of a uint8 volume (D, H, W), exact; a constant volume has 1."""
    flat = image.reshape(-1)

    def sums(part: slice) -> tuple[int, int]:
        # Sums of whole numbers are exact in float64 up to 2^53, and products of vectors are its fastest way.
        values = flat[part].astype(np.float64)
        return int(values.sum()), int(values @ values)

    parts = in_parallel(sums, in_slabs(flat.size, SUMMED_AT_ONCE))
    n, total, squares = max(1, flat.size), sum(p[0] for p in parts), sum(p[1] for p in parts)
    variance = (n * squares - total * total) / (n * n)
    return total / n, math.sqrt(variance) if variance > 0 else 1.0


def image_channels(image: np.ndarray, statistics: tuple[float, float]) -> np.ndarray:
    """(d, h, w) float32 0..255 -> (2, d, h, w): scaled to -1..1, and standardised over the volume.

    The first keeps what an absolute value means (CT windows), the second what it means in this volume (MR).
    """
    mean, std = statistics
    channels = np.empty((2, *image.shape), np.float32)
    np.divide(image, 127.5, out=channels[0])
    channels[0] -= 1.0
    np.subtract(image, mean, out=channels[1])
    channels[1] /= std
    return channels


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


class VolumeModel:
    """Family ``volume``: a graph per degree of anisotropy; 3D views, text queries, spatial prompts."""

    def __init__(self, graphs: Mapping[int, GraphLike], bank: Mapping[str, np.ndarray]) -> None:
        """``graphs`` by degree 0, 1, 2; ``bank`` gives the text vector (T,) of each concept."""
        self._graphs = graphs
        self._bank = bank
        self._most_queries: int | None = None

    @classmethod
    def load(cls, graphs: Mapping[int, Path], bank: Path, runtime: Loader) -> VolumeModel:
        """Read the bank; a graph is read when the first view of its degree comes."""
        with np.load(bank) as archive:
            vectors = dict(zip(archive["names"].tolist(), archive["vectors"].astype(np.float32), strict=True))
        return cls(OnFirstUse(graphs, runtime), vectors)

    @property
    def coarse(self) -> VolumeModel:
        """The coarse stage's network: one serves both."""
        return self

    @property
    def fine(self) -> VolumeModel:
        """The fine stage's network: one serves both."""
        return self

    def knows(self, concept: str | None) -> bool:
        """Whether the bank holds a text vector of ``concept``."""
        return concept in self._bank

    def embed(self, prompts: Sequence[Query]) -> Embedding:
        """Query inputs of N prompts whose concepts are all in the bank."""
        return Embedding(
            np.stack([self._bank[p.concept] for p in prompts]).astype(np.float32),
            np.array([SIDES.index(p.side) for p in prompts], np.int64),
            np.array([MODALITIES.index(p.modality) for p in prompts], np.int64),
        )

    def predict(
        self, image: np.ndarray, prompt: np.ndarray | None, embedding: Embedding, degree: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Run one view.

        Args:
            image: (2, d, h, w) float32 of ``image_channels``, thick axis first.
            prompt: (N, d, h, w) float32 0..1, or None in the coarse stage.
            embedding: of N prompts.
            degree: degree of anisotropy of the view.

        Returns:
            probabilities (N, d, h, w) and presence per slice of the first axis (N, d), float32 0..1.

        Raises:
            OutOfDeviceMemoryError: a view does not fit into the GPU. Without spatial prompts, where queries
                do not see each other, they are asked in halves before that, and from then on.
        """
        n = len(embedding.side)
        if prompt is not None:
            return self._run(image, prompt, embedding, degree)
        while True:
            most = min(n, self._most_queries or n)
            try:
                parts = [
                    self._run(image, None, embedding.part(slice(first, first + most)), degree)
                    for first in range(0, n, most)
                ]
                break
            except OutOfDeviceMemoryError:
                if most <= 1:
                    raise
                self._most_queries = (most + 1) // 2
                log.warning("%d queries at once do not fit into the GPU; %d do", most, self._most_queries)
        if len(parts) == 1:
            return parts[0]
        return np.concatenate([p for p, _ in parts]), np.concatenate([p for _, p in parts])

    def _run(
        self, image: np.ndarray, prompt: np.ndarray | None, embedding: Embedding, degree: int
    ) -> tuple[np.ndarray, np.ndarray]:
        if prompt is None:
            prompt = np.zeros((len(embedding.side), *image.shape[1:]), np.float32)
        out = self._graphs[degree](
            {
                "image": image[None],
                "prompt": prompt[None].astype(np.float32, copy=False),
                "text": embedding.text[None],
                "side": embedding.side[None],
                "modality": embedding.modality[None],
            }
        )
        return out["probability"][0], out["presence"][0]

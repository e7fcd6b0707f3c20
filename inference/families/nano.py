"""Families of networks: how a view of a case is turned into probabilities (DESIGN section 5).

A model knows no file and no geometry but the order of axes: it gets arrays and gives arrays.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from vesal.inference.data.errors import OutOfDeviceMemoryError
from vesal.inference.data.prompt import Query
from vesal.inference.data.terms import MODALITIES, SIDES
from vesal.inference.families.contract import Embedding, GraphLike, Loader

log = logging.getLogger("vesal")


SIDE_CODES = (None, *SIDES)
"""Sides in the order of the codes that the network was trained with."""


class LazyGraphs(Mapping[int, GraphLike]):
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


class NanoModel:
    """Family ``volume``: a graph per degree of anisotropy; 3D views, text queries, spatial prompts."""

    def __init__(self, graphs: Mapping[int, GraphLike], bank: Mapping[str, np.ndarray]) -> None:
        """``graphs`` by degree 0, 1, 2; ``bank`` gives the text vector (T,) of each concept."""
        self._graphs = graphs
        self._bank = bank
        self._most_queries: int | None = None

    @classmethod
    def load(cls, graphs: Mapping[int, Path], bank: Path, runtime: Loader) -> NanoModel:
        """Read the bank; a graph is read when the first view of its degree comes."""
        with np.load(bank) as archive:
            vectors = dict(zip(archive["names"].tolist(), archive["vectors"].astype(np.float32), strict=True))
        return cls(LazyGraphs(graphs, runtime), vectors)

    @property
    def coarse(self) -> NanoModel:
        """The coarse stage's network: one serves both."""
        return self

    @property
    def fine(self) -> NanoModel:
        """The fine stage's network: one serves both."""
        return self

    def knows(self, concept: str | None) -> bool:
        """Whether the bank holds a text vector of ``concept``."""
        return concept in self._bank

    def embed(self, prompts: Sequence[Query]) -> Embedding:
        """Query inputs of N prompts whose concepts are all in the bank."""
        return Embedding(
            np.stack([self._bank[p.concept] for p in prompts]).astype(np.float32),
            np.array([SIDE_CODES.index(p.side) for p in prompts], np.int64),
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

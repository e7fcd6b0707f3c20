"""Family ``nano``: our own network, a graph per degree of anisotropy (docs/design.md, Families).

Beside its weights' files a model knows arrays alone, and of geometry the order of axes.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from msgspec import Struct

from vesal.inference.data.case import Case
from vesal.inference.data.errors import OutOfDeviceMemoryError
from vesal.inference.data.prompt import Prompt, Query
from vesal.inference.data.terms import MODALITIES, SIDES
from vesal.inference.families.bank import Vectors, read_bank
from vesal.inference.families.contract import Embedding, Loader, RunGraph
from vesal.inference.families.lazy_graph import LazyGraph
from vesal.inference.planning.manifest import FileName
from vesal.inference.planning.plan import Plan, make_plan
from vesal.inference.planning.profile import Profile

log = logging.getLogger("vesal")


SIDE_CODES = (None, *SIDES)
"""Sides in the order of the codes that the network was trained with."""


class NanoGraphs(Struct, frozen=True, forbid_unknown_fields=True, rename=lambda name: name[-1]):
    """Graph files by degree of anisotropy: `"0"`, `"1"` and `"2"` in the manifest."""

    degree0: FileName
    degree1: FileName
    degree2: FileName


class NanoFields(Struct, frozen=True, forbid_unknown_fields=True):
    """What a manifest of this family holds besides what all do."""

    graphs: NanoGraphs


def graph_paths(profile: Profile) -> dict[int, Path]:
    """Graph files by degree of anisotropy. Raises ProfileError."""
    graphs = profile.read_family(NanoFields).graphs
    names = graphs.degree0, graphs.degree1, graphs.degree2
    return {degree: profile.folder / name for degree, name in enumerate(names)}


class NanoModel:
    """A graph per degree of anisotropy; 3D views, text queries, spatial prompts. Both stages use the same."""

    def __init__(self, graphs: Mapping[int, RunGraph], bank: Vectors) -> None:
        """``graphs`` by degree 0, 1, 2; ``bank`` gives the text vector (T,) of each concept."""
        self._graphs = graphs
        self._bank = bank
        # What fits for one thread does for all.
        self._max_queries: int | None = None

    @classmethod
    def open(cls, profile: Profile, runtime: Loader) -> NanoModel:
        """Read the bank; a graph is read when the first view of its degree comes. Raises ProfileError."""
        graphs = {degree: LazyGraph(path, runtime) for degree, path in graph_paths(profile).items()}
        vectors, _ = read_bank(profile.bank)
        return cls(graphs, vectors)

    @property
    def coarse(self) -> NanoModel:
        """As the coarse stage uses it."""
        return self

    @property
    def fine(self) -> NanoModel:
        """As the fine stage uses it."""
        return self

    def knows(self, concept: str | None) -> bool:
        """Whether the bank holds a text vector of ``concept``."""
        return concept in self._bank

    def plan(self, prompts: Sequence[Prompt], profile: Profile, case: Case) -> Plan:
        """See ``contract.Model``; the case makes no difference."""
        return make_plan(prompts, profile, self.knows)

    def embed(self, queries: Sequence[Query]) -> Embedding:
        """Network inputs of N queries with concepts of the bank: text (N, T), side and modality (N,)."""
        return Embedding(
            np.stack([self._bank[q.concept] for q in queries]).astype(np.float32),
            np.array([SIDE_CODES.index(q.side) for q in queries], np.int64),
            np.array([MODALITIES.index(q.modality) for q in queries], np.int64),
        )

    def predict(
        self, image: np.ndarray, prompt: np.ndarray | None, embedding: Embedding, degree: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Run one view.

        Args:
            image: (2, d, h, w) float32 of ``network_input.image_channels``, thick axis first.
            prompt: (N, d, h, w) float32 0..1, or None in the coarse stage.
            embedding: of N queries.
            degree: degree of anisotropy of the view.

        Returns:
            probabilities (N, d, h, w) and presence per slice of the first axis (N, d), float32 0..1.

        Raises:
            OutOfDeviceMemoryError: a view does not fit into the GPU. Without spatial prompts, where queries
                do not see each other, fewer are run at a time before that, and from then on.
        """
        n = len(embedding.side)
        if prompt is not None:
            return self._run(image, prompt, embedding, degree)
        n_max = min(n, self._max_queries or n)
        while True:
            try:
                parts = [
                    self._run(image, None, embedding.part(slice(first, first + n_max)), degree)
                    for first in range(0, n, n_max)
                ]
                break
            except OutOfDeviceMemoryError:
                if n_max <= 1:
                    raise
                fewer = (n_max + 1) // 2
                log.warning("%d queries do not fit into GPU memory; %d are run at a time", n_max, fewer)
                self._max_queries = n_max = fewer
        if len(parts) == 1:
            return parts[0]
        return np.concatenate([p for p, _ in parts]), np.concatenate([p for _, p in parts])

    def _run(
        self, image: np.ndarray, prompt: np.ndarray | None, embedding: Embedding, degree: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """One call of the graph: arrays as in ``predict``; a prompt (N, d, h, w) of zeros for None."""
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

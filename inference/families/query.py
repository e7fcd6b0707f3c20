"""Family ``query``: Medal S and SAT as ``weights.convert`` writes them, one network for each stage.

Facts: ``shared/reference/medal_s.md`` 7 to 17, ``sat.md``. Axes are (D, H, W) throughout: the conversion has
turned the networks.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from vesal.inference.data.errors import ProfileError
from vesal.inference.data.prompt import Query
from vesal.inference.data.terms import MODALITIES, STAGES
from vesal.inference.families.contract import Embedding, GraphLike, Loader
from vesal.inference.families.query_text import QueryTextEncoder

FAMILY = "query"
MULTIPLE = 32
"""Sides of a window: the networks halve them five times."""


@dataclass(frozen=True)
class QueryBank:
    """Stored text parts of queries, and what each modality adds to them."""

    vectors: Mapping[str, np.ndarray]
    """(E,) float32 by sentence or canonical target"""
    modality: np.ndarray
    """(M, E) float32 in the order of ``MODALITIES``; SAT's first weights lack Microscopy"""

    @classmethod
    def read(cls, path: Path) -> QueryBank:
        """Read ``names`` (K,), ``vectors`` (K, E) and ``modality_vectors`` (M, E) of an npz.

        Raises:
            ProfileError: one of them is not there, or their shapes do not go together.
        """
        try:
            with np.load(path, allow_pickle=False) as archive:
                names, vectors, modality = (archive[key] for key in ("names", "vectors", "modality_vectors"))
        except (OSError, KeyError, ValueError) as error:
            raise ProfileError(
                f"{path} is no bank of queries ({error}). Convert the weights again."
            ) from error
        if len(names) != len(vectors) or vectors.ndim != 2 or modality.shape[1:] != vectors.shape[1:]:
            raise ProfileError(
                f"{path} holds {len(names)} names, vectors {vectors.shape} and modality vectors "
                f"{modality.shape}, which do not go together. Convert the weights again."
            )
        rows = dict(zip(names.tolist(), vectors.astype(np.float32), strict=True))
        return cls(rows, modality.astype(np.float32))


class GraphMemory:
    """Room for the graphs of one stage.

    Each compiled graph holds its weights (0.44 GB of Medal S in fp32) and what its last window needed, and
    the stages come one after the other. Reading a graph again takes less time than one window.
    """

    def __init__(self) -> None:
        self._holder: QueryNetwork | None = None

    def hold(self, network: QueryNetwork) -> None:
        """Let go of the graphs of the stage before, if it was another."""
        if self._holder is not None and self._holder is not network:
            self._holder.release()
        self._holder = network


class QueryNetwork:
    """The network of one stage."""

    def __init__(self, plain: LazyGraph, prompted: LazyGraph | None, desk: GraphMemory | None = None) -> None:
        """``plain`` takes no spatial prompts; SAT has no ``prompted``. The networks of all stages share a
        ``desk``.
        """
        self._plain, self._prompted, self._desk = plain, prompted, desk or GraphMemory()

    def release(self) -> None:
        """Free the graphs; they are read again when the next window comes."""
        for graph in (self._plain, self._prompted):
            if graph is not None:
                graph.release()

    def predict(
        self, image: np.ndarray, prompt: np.ndarray | None, embedding: Embedding, degree: int = 0
    ) -> tuple[np.ndarray, np.ndarray]:
        """Run one window.

        Args:
            image: (C, d, h, w) float32 of ``families.nano.image_channels``; the first channel is scaled
                back to 0..255, which is what these networks see.
            prompt: (N, d, h, w) 0..1, float32 or bool, or None. The published code gives masks, the paper
                probabilities (``medal_s.md`` 9): the engine's rules decide. Where all is 0, and for SAT, the
                network without prompts is run, which gives what zeros would give.
            embedding: of N queries.
            degree: not used; axes are never thick first for these networks.

        Returns:
            probabilities (N, d, h, w) float32, and ones (N, d): these networks tell no presence.
        """
        self._desk.hold(self)
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
        logits = graph(inputs)["logits"][0][:, : shape[0], : shape[1], : shape[2]]
        return sigmoid(logits, out=logits), np.ones((len(logits), shape[0]), np.float32)


class QueryModel:
    """Both stages, and the bank that they share."""

    def __init__(
        self, stages: Mapping[str, QueryNetwork], bank: QueryBank, text: QueryTextEncoder | None = None
    ) -> None:
        """``stages`` by name of ``STAGES``; where there is one network only, it serves both."""
        only = next(iter(stages.values()))
        self.coarse, self.fine = (stages.get(name, only) for name in STAGES)
        self._bank, self._text = bank, text

    @classmethod
    def load(cls, folder: Path, runtime: Loader) -> QueryModel:
        """Open a converted folder; a graph is read when its first window comes.

        Raises:
            ProfileError: the manifest or the bank cannot be read, or does not describe this family.
        """
        path = folder / "manifest.json"
        try:
            manifest = json.loads(path.read_text(encoding="utf-8"))
            desk = GraphMemory()
            stages = {
                name: _network(folder, roles, manifest["network"][name], runtime, desk)
                for name, roles in manifest["graphs"].items()
            }
            bank, text = manifest["bank"], manifest.get("text")
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ProfileError(
                f"{path} does not describe weights of the family {FAMILY} ({error!r}). Convert them again."
            ) from error
        if not stages or not set(stages) <= set(STAGES):
            raise ProfileError(f"{path} has graphs for {sorted(stages)}; wanted are stages of {STAGES}.")
        stored = QueryBank.read(folder / bank)
        wanted = {facts["query"] for facts in manifest["network"].values() if "query" in facts}
        if wanted - {stored.modality.shape[1]}:
            raise ProfileError(
                f"{path}: the networks take queries of {sorted(wanted)} numbers, the bank holds "
                f"{stored.modality.shape[1]}. Networks and text encoder do not belong together; convert the "
                "weights with the encoder that was published with them."
            )
        encoder = (
            QueryTextEncoder(folder / text["graph"], folder / text["tokenizer"], runtime) if text else None
        )
        return cls(stages, stored, encoder)

    def knows(self, concept: str | None) -> bool:
        """Whether there is a vector for ``concept``: a row of the bank, or an encoder to make one."""
        return concept is not None and (concept in self._bank.vectors or self._text is not None)

    def embed(self, prompts: Sequence[Query]) -> Embedding:
        """Queries of N prompts: text part plus modality (``medal_s.md`` 15).

        The text is the prompt's ``sentence`` where it has one, as in the published code, else its target with
        its side.

        Raises:
            ProfileError: neither bank nor encoder has the text, or the weights know no such modality.
        """
        codes = [MODALITIES.index(p.modality) for p in prompts]
        if (highest := max(codes)) >= len(self._bank.modality):
            raise ProfileError(
                f"The weights know the modalities {', '.join(MODALITIES[: len(self._bank.modality)])}, not "
                f"{MODALITIES[highest]}."
            )
        text = np.stack([self._vector(query_text(p)) for p in prompts])
        added = self._bank.modality[codes]
        return Embedding(text + added, np.zeros(len(codes), np.int64), np.array(codes, np.int64))

    def _vector(self, text: str) -> np.ndarray:
        row = self._bank.vectors.get(text)
        if row is not None:
            return row
        if self._text is None:
            raise ProfileError(
                f"The bank has no vector of {text!r}, and the folder no text encoder. Convert the weights "
                "with it, or with --sentences."
            )
        return self._text.encode([text])[0]


class LazyGraph:
    """A graph that is read when it is first run."""

    def __init__(self, path: Path, precision: str | None, runtime: Loader) -> None:
        self._path, self._precision, self._runtime = path, precision, runtime

    @cached_property
    def _graph(self) -> GraphLike:
        return self._runtime.load(self._path, self._precision)

    def __call__(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Run it."""
        return self._graph(inputs)

    def release(self) -> None:
        """Free it; the next run reads it again."""
        self.__dict__.pop("_graph", None)


def _network(
    folder: Path, roles: Mapping[str, str], facts: Mapping[str, Any], runtime: Loader, desk: GraphMemory
) -> QueryNetwork:
    precision = facts.get("precision")
    plain, prompted = (
        LazyGraph(folder / roles[role], precision, runtime) if role in roles else None
        for role in ("plain", "prompted")
    )
    if plain is None:
        raise KeyError("plain")
    return QueryNetwork(plain, prompted, desk)


def query_text(prompt: Query) -> str:
    """What is embedded of a prompt."""
    sentence = getattr(prompt, "sentence", "")
    return sentence or (f"{prompt.side} {prompt.concept}" if prompt.side else prompt.concept)


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
    """1 / (1 + exp(-logits)) in float32, in ``out`` if given; 0 and 1 where that overflows."""
    out = np.negative(logits, out=out, dtype=np.float32)
    # exp of more than 88 is infinite in float32, and 1 / (1 + inf) is the 0 that is wanted.
    with np.errstate(over="ignore", under="ignore"):
        np.exp(out, out=out)
    out += 1.0
    return np.reciprocal(out, out=out)

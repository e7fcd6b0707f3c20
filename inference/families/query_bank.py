"""Queries of Medal S and SAT: stored text parts, or the text encoder's, and what each modality adds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vesal.inference.data.errors import ProfileError
from vesal.inference.data.prompt import Query
from vesal.inference.data.terms import MODALITIES
from vesal.inference.families.bank import Vectors, read_bank
from vesal.inference.families.query_text import QueryTextEncoder


@dataclass(frozen=True)
class QueryPrompts:
    """N queries as the networks' inputs."""

    text: np.ndarray
    """(N, E) float32"""

    def part(self, rows: Sequence[int]) -> QueryPrompts:
        """Some of the queries."""
        return QueryPrompts(self.text[list(rows)])


@dataclass(frozen=True)
class QueryBank:
    """What turns queries into vectors."""

    vectors: Vectors
    """(E,) float32 by sentence or canonical target"""
    modality: np.ndarray
    """(M, E) float32 in the order of ``MODALITIES``; SAT's first weights lack Microscopy"""
    encoder: QueryTextEncoder | None = None
    """of sentences that are not stored"""

    @classmethod
    def read(cls, path: Path, encoder: QueryTextEncoder | None = None) -> QueryBank:
        """Read ``names`` (K,), ``vectors`` (K, E) and ``modality_vectors`` (M, E) of an npz.

        Raises:
            ProfileError: one of them is not there, or their shapes do not go together.
        """
        vectors, (modality,) = read_bank(path, "modality_vectors")
        return cls(vectors, modality, encoder)

    def knows(self, concept: str | None) -> bool:
        """Whether there is a vector for ``concept``: a stored one, or an encoder to make one."""
        return concept is not None and (concept in self.vectors or self.encoder is not None)

    def encode(self, queries: Sequence[Query]) -> QueryPrompts:
        """N queries as text (N, E) float32: text part plus modality (``docs/medal_s.md`` 15).

        The text is the query's ``sentence`` where it has one, as in the published code, else its target with
        its side.

        Raises:
            ProfileError: neither bank nor encoder has the text, or the weights know no such modality.
        """
        codes = [MODALITIES.index(q.modality) for q in queries]
        if (highest := max(codes)) >= len(self.modality):
            raise ProfileError(
                f"The weights know the modalities {', '.join(MODALITIES[: len(self.modality)])}, not "
                f"{MODALITIES[highest]}."
            )
        text = np.stack([self._vector(query_text(q)) for q in queries])
        return QueryPrompts(text + self.modality[codes])

    def _vector(self, text: str) -> np.ndarray:
        """(E,) float32"""
        row = self.vectors.get(text)
        if row is not None:
            return row
        if self.encoder is None:
            raise ProfileError(
                f"The bank has no vector of {text!r}, and the folder no text encoder. Convert the weights "
                "with it, or with the sentence: `python -m vesal.weights.convert ... --sentences FILE`."
            )
        return self.encoder.encode([text])[0]


def query_text(query: Query) -> str:
    """What is embedded of a query."""
    return query.sentence or query.name

"""The nearest label of a bank by the engine's own sentence encoder.

The labels' vectors are made once, when weights are converted, and stored beside the bank: a sentence costs
one encoding, and not thousands.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vesal.inference.data.errors import CaseError, ProfileError
from vesal.inference.io.npz_archive import NpzArchive
from vesal.inference.io.text_arrays import plain_list
from vesal.inference.prompts.label_fit import Facts, asked_words, contradiction, facts_of
from vesal.inference.prompts.sentence_encoder import WIDTH, SentenceEncoder
from vesal.inference.prompts.vocabulary import Vocabulary
from vesal.inference.runtime.exact import factor

VECTORS, ENCODER = "vectors", "encoder"
MAX_BYTES = 1 << 28
LOOKED_AT = 256
"""Labels whose words are compared with the sentence's, from the nearest on: 1 ms each."""
SHOWN = 3
"""Labels that are told of a sentence that none answers."""


@dataclass(frozen=True)
class NearLabel:
    """A label near to a sentence."""

    label: str
    similarity: float
    """cosine of the two"""
    why_not: str = ""
    """what speaks against it"""

    def __str__(self) -> str:
        """For a message."""
        return f"`{self.label}` ({self.similarity:.2f}{', ' if self.why_not else ''}{self.why_not})"


@dataclass(frozen=True)
class Nearest:
    """What was found for a sentence."""

    best: NearLabel | None
    """the nearest label that nothing speaks against; it may be far"""
    near: tuple[NearLabel, ...]
    """the nearest of all, whatever speaks against them"""


def make_label_vectors(labels: Sequence[str], encoder: SentenceEncoder) -> np.ndarray:
    """Unit vectors (N, 384) float16 of the labels (N,) of a bank."""
    return encoder.encode(labels).astype(np.float16)


def write_label_vectors(path: Path, vectors: np.ndarray, encoder: SentenceEncoder) -> None:
    """Store vectors (N, 384) with the digest of their encoder; the same ones give the same bytes."""
    np.savez(path, vectors=vectors, encoder=np.array(encoder.digest))


def read_label_vectors(path: Path, labels: int, encoder: SentenceEncoder) -> np.ndarray:
    """Unit vectors (N, 384) float32 of the ``labels`` of a bank.

    Raises:
        ProfileError: they are none, or of other labels, or were made by another encoder.
    """
    try:
        with NpzArchive(path) as archive:
            vectors = archive.read_array(VECTORS, MAX_BYTES)
            made_by = plain_list(archive.read_array(ENCODER, MAX_BYTES))
    except CaseError as error:
        raise ProfileError(
            f"{path} holds no vectors of labels ({error}). Convert the weights again."
        ) from error
    if vectors.dtype.kind != "f" or vectors.shape != (labels, WIDTH):
        raise ProfileError(
            f"{path} holds {vectors.dtype} of shape {vectors.shape}; {labels} labels of {WIDTH} numbers are "
            "wanted. Convert the weights again."
        )
    if made_by != encoder.digest:
        raise ProfileError(
            f"{path} was made by another sentence encoder than Vesal's. Convert the weights again."
        )
    found = vectors.astype(np.float32)
    return found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-12)


class LabelSearch:
    """Labels by their nearness to a sentence."""

    def __init__(
        self, labels: Sequence[str], vectors: np.ndarray, encoder: SentenceEncoder, vocabulary: Vocabulary
    ) -> None:
        """``vectors``: unit vectors (N, 384) of the ``labels`` (N,)."""
        self._labels, self._encoder, self._vocabulary = labels, encoder, vocabulary
        self._factors = factor(vectors, WIDTH)

    def nearest(self, sentence: str, known: bool, least: float) -> Nearest:
        """The nearest label, ties to the first.

        Args:
            sentence: of the user.
            known: whether its targets were read by their terms, see ``label_fit.contradiction``.
            least: similarity below which no further label is looked at once one is found near enough.
        """
        query = self._encoder.encode([asked_words(sentence, self._vocabulary)])[0]
        cosine = self._factors @ factor(query, WIDTH)
        asked = facts_of(sentence, self._vocabulary)
        near: list[NearLabel] = []
        for row in np.argsort(-cosine, kind="stable")[:LOOKED_AT]:
            found = self._compared(int(row), float(cosine[row]), asked, known)
            near.append(found)
            if not found.why_not:
                return Nearest(found, tuple(near[:SHOWN]))
            if found.similarity < least and len(near) >= SHOWN:
                break
        return Nearest(None, tuple(near[:SHOWN]))

    def _compared(self, row: int, similarity: float, asked: Facts, known: bool) -> NearLabel:
        label = self._labels[row]
        return NearLabel(label, similarity, contradiction(asked, facts_of(label, self._vocabulary), known))

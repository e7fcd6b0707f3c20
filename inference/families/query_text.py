"""Sentences to the queries of Medal S and SAT: their word pieces, their encoder as a graph.

Facts: ``docs/checkpoints.md`` (text encoder architecture). A sentence is lower-cased and cut into
word pieces between [CLS] and [SEP]; no other special token is added, and token 0 does not count.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from vesal.inference.data.errors import ProfileError
from vesal.inference.families.contract import Loader
from vesal.inference.families.lazy_graph import LazyGraph

MAX_TOKENS = 256
"""Longer sentences are cut, and end with [SEP] all the same."""
BATCH = 32
"""Sentences encoded at once: bounds the memory of a long list, and padding stays small."""
PADDING = 0


class WordPieces:
    """The word pieces of one ``tokenizer.json``."""

    def __init__(self, path: Path) -> None:
        """Read the file.

        Raises:
            ProfileError: it is not there, cannot be read, or has no [CLS] or [SEP].
        """
        from tokenizers import Tokenizer

        try:
            # The package raises a bare Exception for a file that it cannot read.
            self._tokenizer = Tokenizer.from_str(path.read_text(encoding="utf-8"))
        except Exception as error:
            raise ProfileError(
                f"{path} cannot be read as a tokenizer ({error}). Convert the weights again."
            ) from error
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        first, last = (self._tokenizer.token_to_id(token) for token in ("[CLS]", "[SEP]"))
        if first is None or last is None:
            raise ProfileError(
                f"{path} knows no [CLS] or no [SEP]; the encoder of Medal S and SAT needs both."
            )
        self._first, self._last = first, last

    @property
    def count(self) -> int:
        """Tokens that it knows."""
        return int(self._tokenizer.get_vocab_size(with_added_tokens=True))

    def ids(self, text: str) -> list[int]:
        """Token ids of one sentence, at most ``MAX_TOKENS``."""
        # A lone surrogate cannot be written as UTF-8, which the tokenizer asks for.
        clean = text.encode("utf-8", "replace").decode("utf-8")
        pieces = self._tokenizer.encode(clean, add_special_tokens=False).ids
        return [self._first, *pieces[: MAX_TOKENS - 2], self._last]

    def batch(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Ids and mask of N sentences, both (N, L) int64; L is the longest sentence's."""
        rows = [self.ids(text) for text in texts]
        ids = np.full((len(rows), max(map(len, rows), default=0)), PADDING, np.int64)
        for row, found in zip(ids, rows, strict=True):
            row[: len(found)] = found
        return ids, (ids > PADDING).astype(np.int64)


class QueryTextEncoder:
    """Tokenizer and encoder of one converted folder; nothing is read before the first sentence."""

    def __init__(self, graph: Path, tokenizer: Path, runtime: Loader) -> None:
        # The bank was made in fp32, and one sentence gains nothing from less.
        self._graph = LazyGraph(graph, runtime, "fp32")
        self._tokenizer = tokenizer

    @cached_property
    def _tokens(self) -> WordPieces:
        return WordPieces(self._tokenizer)

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Text parts of the queries (N, E) float32, before the modality is added; N is at least 1."""
        found = []
        for first in range(0, len(texts), BATCH):
            ids, mask = self._tokens.batch(texts[first : first + BATCH])
            found.append(self._graph({"ids": ids, "mask": mask})["embedding"])
        return np.concatenate(found).astype(np.float32)

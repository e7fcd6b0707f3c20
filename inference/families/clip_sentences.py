"""Sentences to token ids, as CLIP's text encoder takes them.

As released: lower-cased by the tokenizer's own file, cut into byte pairs between two marks, 77 tokens at
most of the published encoder, filled up with the mark of the end.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from vesal.inference.data.errors import ProfileError

FIRST, LAST = "<|startoftext|>", "<|endoftext|>"


class Sentences:
    """The byte pairs of one ``tokenizer.json``; nothing is read before the first sentence."""

    def __init__(self, path: Path, places: int) -> None:
        """``places`` of the text encoder, both marks included."""
        self._path, self.places = path, places

    @cached_property
    def _tokenizer(self) -> Any:
        from tokenizers import Tokenizer

        try:
            # The package raises a bare Exception for a file that it cannot read.
            tokenizer = Tokenizer.from_str(self._path.read_text(encoding="utf-8"))
        except Exception as error:
            raise ProfileError(
                f"{self._path} cannot be read as a tokenizer ({error}). Convert the weights again."
            ) from error
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return tokenizer

    @cached_property
    def _marks(self) -> tuple[int, int]:
        first, last = (self._tokenizer.token_to_id(token) for token in (FIRST, LAST))
        if first is None or last is None:
            raise ProfileError(
                f"{self._path} knows no {FIRST} or no {LAST}; CLIP's text encoder needs both. Convert the "
                "weights again with the tokenizer that was published with them."
            )
        return first, last

    def pieces(self, text: str) -> list[int]:
        """Ids of a whole sentence, without marks. Raises ProfileError."""
        # What cannot be written as UTF-8 the tokenizer would refuse.
        clean = text.encode("utf-8", "replace").decode("utf-8")
        return list(self._tokenizer.encode(clean, add_special_tokens=False).ids)

    def ids(self, text: str) -> tuple[np.ndarray, int]:
        """(places,) int64, and how many of them are the sentence with its marks; what is longer is cut."""
        first, last = self._marks
        found = [first, *self.pieces(text)[: self.places - 2], last]
        row = np.full(self.places, last, np.int64)
        row[: len(found)] = found
        return row, len(found)

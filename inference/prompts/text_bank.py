"""Text vectors by label: the bank that VoxTell was published with, or vectors that a user made elsewhere.

As released: an npz of ``labels`` (N,) and ``embeddings`` (N, T). Labels are lower-cased, of a label that
comes twice the later row counts, and a sentence is looked up as it stands, lower-cased.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from vesal.inference.data.errors import CaseError, ProfileError, TextEmbeddingsError, VesalError, shown
from vesal.inference.io.npz_archive import ArrayHeader, NpzArchive
from vesal.inference.io.text_arrays import plain_list

LABELS, EMBEDDINGS = "labels", "embeddings"
MAX_BYTES = 2 << 30
"""Of an array. The published bank has 14,194 vectors of 2560 numbers, 73 MB."""
CHECKED_ROWS = 1024
"""Rows looked at at once for numbers that are none."""
CONVERT_AGAIN = "Convert the weights again."
SAVE_AGAIN = "Save it with numpy.savez(path, labels=..., embeddings=...), a row of numbers for each label."


@dataclass(frozen=True, eq=False)
class TextBank:
    """Text vectors by label."""

    labels: tuple[str, ...]
    """N, lower case, each once"""
    embeddings: np.ndarray
    """(N, T) of a floating type"""

    @classmethod
    def of(cls, labels: Sequence[str], embeddings: np.ndarray) -> TextBank:
        """Labels (N) as they were published, with (N, T): lower-cased, of equal ones the later row."""
        last = {label.lower(): row for row, label in enumerate(labels)}
        rows = sorted(last.values())
        lower = [labels[row].lower() for row in rows]
        return cls(tuple(lower), embeddings if len(rows) == len(embeddings) else embeddings[rows])

    @property
    def width(self) -> int:
        """T, numbers of a vector."""
        return int(self.embeddings.shape[1])

    @cached_property
    def rows(self) -> dict[str, int]:
        """Row of each label."""
        return {label: row for row, label in enumerate(self.labels)}

    def find(self, text: str) -> int | None:
        """Row of a text, lower-cased and else as it stands; None where it is no label."""
        return self.rows.get(text.lower())

    def vector(self, label: str) -> np.ndarray:
        """(T,) float32 of a label of the bank."""
        return self.embeddings[self.rows[label]].astype(np.float32)

    def part(self, rows: Sequence[int]) -> TextBank:
        """Some of the labels, in the order of ``rows``."""
        return TextBank(tuple(self.labels[row] for row in rows), self.embeddings[list(rows)])


def read_text_bank(path: Path) -> TextBank:
    """Read the bank of a folder of weights, or the published file.

    Raises:
        ProfileError: it is none; nothing is unpickled.
    """
    return _read(path, ProfileError, CONVERT_AGAIN)


def write_text_bank(path: Path, bank: TextBank) -> None:
    """Store a bank as float16, uncompressed; the same bank gives the same bytes."""
    labels = np.array(bank.labels, dtype=np.str_)
    np.savez(path, labels=labels, embeddings=bank.embeddings.astype(np.float16))


def bank_width(path: Path) -> int:
    """T of a bank, by the headers of its arrays. Raises ProfileError."""
    with _blamed(path, ProfileError, CONVERT_AGAIN) as blamed, NpzArchive(path) as archive:
        return blamed.headers(archive)[1].shape[1]


def text_embeddings(given: str | os.PathLike[str] | Mapping[Any, Any]) -> TextBank:
    """Vectors that the user made: a file like the published bank, or a mapping of label to (T,) numbers.

    Raises:
        TextEmbeddingsError: it is neither, or labels, shapes or numbers cannot be used.
    """
    if not isinstance(given, Mapping):
        try:
            path = Path(given)
        except TypeError:
            raise TextEmbeddingsError(
                f"text embeddings are a {type(given).__name__}; give the path of an npz, or a dict of label "
                "to vector."
            ) from None
        return _read(path, TextEmbeddingsError, SAVE_AGAIN)
    with _blamed(Path("text embeddings"), TextEmbeddingsError, "Give one (T,) array a label.") as blamed:
        if not given or not all(isinstance(label, str) for label in given):
            raise blamed.error("labels are text, and one at least is wanted")
        try:
            rows = np.stack([np.asarray(row, np.float32) for row in given.values()])
        except (TypeError, ValueError) as error:
            raise blamed.error(f"the vectors are not numbers of one length ({error})") from error
        return blamed.bank(list(given), rows)


def check_width(bank: TextBank, width: int, name: str) -> None:
    """Raise TextEmbeddingsError where vectors of the user do not have the ``width`` that weights want."""
    if bank.width != width:
        raise TextEmbeddingsError(
            f"The text embeddings have {bank.width} numbers a label; the weights {name} want {width}. Make "
            "them with the text model that these weights were trained with."
        )


def _read(path: Path, kind: type[VesalError], advice: str) -> TextBank:
    with _blamed(path, kind, advice) as blamed, NpzArchive(path) as archive:
        blamed.headers(archive)
        labels = plain_list(archive.read_array(LABELS, MAX_BYTES))
        return blamed.bank(labels, archive.read_array(EMBEDDINGS, MAX_BYTES))


@dataclass(frozen=True)
class _blamed:  # noqa: N801
    """What is wrong with a source of vectors, as one kind of error; use it as a context manager."""

    path: Path
    kind: type[VesalError]
    advice: str

    def __enter__(self) -> _blamed:
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        """What reading an archive raises is of a case, and becomes ``kind``, without advice for a case."""
        if isinstance(error, CaseError):
            raise self.error(str(error).partition(". ")[0].rstrip(".")) from error

    def error(self, what: str) -> VesalError:
        """The error that says so."""
        return self.kind(f"{self.path}: no text vectors by label: {what}. {self.advice}")

    def headers(self, archive: NpzArchive) -> tuple[ArrayHeader, ArrayHeader]:
        """Headers of labels (N,) and embeddings (N, T), checked."""
        if missing := [key for key in (LABELS, EMBEDDINGS) if key not in archive]:
            there = ", ".join(shown(key, 40) for key in archive.keys[:8]) or "nothing"
            raise self.error(f"it holds no {' and no '.join(missing)}, but {there}")
        labels, rows = archive.header(LABELS), archive.header(EMBEDDINGS)
        if labels.dtype.kind not in "US" or len(labels.shape) != 1:
            raise self.error(f"labels are {labels.dtype} of shape {labels.shape}; text (N,) is wanted")
        if rows.dtype.kind != "f" or len(rows.shape) != 2:
            raise self.error(
                f"embeddings are {rows.dtype} of shape {rows.shape}; floating numbers (N, T) are wanted"
            )
        if labels.shape[0] != rows.shape[0] or 0 in rows.shape:
            raise self.error(
                f"{labels.shape[0]} labels for {rows.shape[0]} rows of {rows.shape[1]} numbers; as many are "
                "wanted, and one at least"
            )
        return labels, rows

    def bank(self, labels: list[str], rows: np.ndarray) -> TextBank:
        """The bank of N labels and (N, T), if all numbers are some."""
        if rows.ndim != 2:
            raise self.error(f"embeddings are of shape {rows.shape}; (N, T) is wanted")
        for first in range(0, len(rows), CHECKED_ROWS):
            bad = ~np.isfinite(rows[first : first + CHECKED_ROWS]).all(1)
            if bad.any():
                label = labels[first + int(bad.argmax())]
                raise self.error(f"the row of {shown(label, 40)} is not finite")
        return TextBank.of(labels, rows)

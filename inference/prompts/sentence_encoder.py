"""Sentences to vectors, offline: all-MiniLM-L6-v2 through the container's runtime, and the bank beside it."""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from vesal.inference.data.errors import ProfileError
from vesal.inference.io.digests import Digests
from vesal.inference.runtime.exact import factor

if TYPE_CHECKING:
    from vesal.inference.prompts.vocabulary import Vocabulary

GRAPH, TOKENIZER, BANK, MANIFEST = "encoder.onnx", "tokenizer.json", "bank.npz", "manifest.json"
OTHERS_FILE = Path(__file__).with_name("others.json")
"""Names and paraphrases of what is no target; read when the bank is made."""
WIDTH = 384
OTHER = "-"
"""In place of a concept: the text is near to no target."""
# The published model was trained on at most 256 word pieces (its sentence_bert_config.json).
MAX_TOKENS = 256
# Sentences encoded at once: bounds the memory of a long list, and padding stays small.
BATCH = 32


class Loader(Protocol):
    """The part of vesal.inference.runtime.choice.Runtime that is used here."""

    def load(self, path: Path, precision: str | None = None) -> Any:
        """A callable from named input arrays to named output arrays."""


class SentenceEncoder:
    """Encoder and bank of one folder. Nothing is read before the first use, and the bank needs no graph."""

    def __init__(self, folder: Path, runtime: Loader, check_digests: bool = True) -> None:
        """`check_digests`: files are those that the folder's manifest lists; not while these are made."""
        self.folder = folder
        self._check_digests = check_digests
        self._runtime = runtime

    @cached_property
    def _graph(self) -> Any:
        # The bank was made in fp32, and a sentence of ten words gains nothing from less.
        return self._runtime.load(self._checked(GRAPH), "fp32")

    @cached_property
    def _tokenizer(self) -> Any:
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(self._checked(TOKENIZER)))
        tokenizer.enable_truncation(MAX_TOKENS)
        # The published file pads everything to 128; the longest sentence of the batch is enough.
        tokenizer.enable_padding()
        return tokenizer

    @cached_property
    def bank(self) -> Bank:
        """Known texts with their vectors."""
        return read_bank(self._checked(BANK))

    @property
    def digest(self) -> str:
        """SHA-256 of the graph, as its manifest lists it: vectors of another one do not compare."""
        return _digests(self.folder)[GRAPH]

    def _checked(self, name: str) -> Path:
        """The path of a file of the folder, if it is the one that the manifest means. Raises ProfileError."""
        if not self._check_digests:
            return self.folder / name
        check_text_weights(self.folder)
        path, seen = self.folder / name, Digests(self.folder)
        came, wanted = seen.of(name), _digests(self.folder)[name]
        if came != wanted:
            raise ProfileError(
                f"{path} has sha256 {came[:12]}..., {MANIFEST} beside it says {wanted[:12]}...; the file was "
                "changed or cut. Install Vesal again."
            )
        seen.keep()
        return path

    def tokens(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Token ids and mask, both (N,L) int64, L the longest sentence but at most 256."""
        # A lone surrogate cannot be written as UTF-8, which the tokenizer asks for.
        clean = [text.encode("utf-8", "replace").decode("utf-8") for text in texts]
        rows = self._tokenizer.encode_batch(clean)
        ids = np.array([row.ids for row in rows], np.int64)
        return ids, np.array([row.attention_mask for row in rows], np.int64)

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Unit vectors (N,384) float32 of the sentences; (0,384) for none. Longer than 256 tokens is cut."""
        vectors = [np.zeros((0, WIDTH), np.float32)]
        for first in range(0, len(texts), BATCH):
            ids, mask = self.tokens(texts[first : first + BATCH])
            outputs = self._graph({"input_ids": ids, "attention_mask": mask})
            vectors.append(np.asarray(outputs["embedding"], np.float32))
        found = np.concatenate(vectors)
        # In bf16 the norm is only good to a percent.
        return found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-12)

    def vector(self, text: str) -> np.ndarray:
        """Unit vector (384,) float32: from the bank when the text stands there, else encoded."""
        row = self.bank.rows.get(text)
        return self.encode([text])[0] if row is None else self.bank.vectors[row]

    def nearest(self, text: str, excluded: Collection[str] = ()) -> tuple[str, float]:
        """The concept of the known text nearest to `text`, and their cosine; ties go to the first.

        The concept is empty where a text for something that is no target is nearer than that. Concepts that
        are ``excluded`` are no answers.
        """
        cosine = self.bank.factors @ factor(self.encode([text])[0], WIDTH)
        open_ = self.bank.answers & np.array([concept not in excluded for concept in self.bank.concepts])
        to_targets = np.where(open_, cosine, -1.0)
        best = int(np.argmax(to_targets))
        nearer = bool((cosine[self.bank.others] > to_targets[best]).any())
        return "" if nearer else self.bank.concepts[best], float(to_targets[best])


def check_text_weights(folder: Path) -> None:
    """Raise ProfileError where the manifest of the text encoder, or a file that it needs, is missing."""
    listed = _digests(folder)
    for name in (GRAPH, TOKENIZER, BANK):
        if name not in listed or not (folder / name).is_file():
            raise ProfileError(
                f"{folder / name} is missing, or {MANIFEST} beside it gives no sha256 for it; without it "
                "sentences cannot be understood. Install Vesal again."
            )


def _digests(folder: Path) -> dict[str, str]:
    """Hexadecimal SHA-256 by file, of the manifest. Raises ProfileError."""
    path = folder / MANIFEST
    try:
        files = json.loads(path.read_bytes())["files"]
        return {str(name): str(digest) for name, digest in files.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ProfileError(
            f"{path} is no list of the text encoder's files ({error!r}). Install Vesal again."
        ) from error


@dataclass(frozen=True)
class Bank:
    """Known texts with their vectors."""

    texts: tuple[str, ...]
    concepts: tuple[str, ...]
    """Concept each text stands for; `-` for none; empty where the text has a side, which no search should
    prefer."""
    vectors: np.ndarray
    """(N,384) float32, unit length."""

    @cached_property
    def rows(self) -> dict[str, int]:
        """Row of each text."""
        return {text: row for row, text in enumerate(self.texts)}

    @cached_property
    def factors(self) -> np.ndarray:
        """``vectors`` for products that are added exactly, (N,384) float64."""
        return factor(self.vectors, WIDTH)

    @cached_property
    def answers(self) -> np.ndarray:
        """(N,) bool: texts that may be the answer of a search."""
        return np.array([bool(concept) and concept != OTHER for concept in self.concepts])

    @cached_property
    def others(self) -> np.ndarray:
        """(N,) bool: texts for what is no target."""
        return np.array([concept == OTHER for concept in self.concepts])


def bank_texts(vocabulary: Vocabulary) -> dict[str, str]:
    """What the bank holds: targets, synonyms and paraphrases to their concept; to nothing if with a side.

    Names of what is no target stand for `-`.
    """
    others = dict.fromkeys(json.loads(OTHERS_FILE.read_text(encoding="utf-8")), OTHER)
    return {**others, **dict.fromkeys(vocabulary.targets(), ""), **vocabulary.terms, **vocabulary.means}


def write_bank(path: Path, texts: Mapping[str, str], vectors: np.ndarray) -> None:
    """Store texts with their concepts (N) and unit vectors (N,384) as fp16; readable without pickle."""
    if vectors.shape != (len(texts), WIDTH):
        raise ValueError(
            f"vectors have shape {vectors.shape}, wanted {(len(texts), WIDTH)}: one row for each text"
        )
    columns = {"texts": list(texts), "concepts": list(texts.values())}
    # As JSON in bytes: numpy pads every string to the longest, four bytes a letter.
    stored = np.frombuffer(json.dumps(columns).encode(), np.uint8)
    np.savez(path, names=stored, vectors=vectors.astype(np.float16))


def read_bank(path: Path) -> Bank:
    """Read a stored bank. Raises OSError where there is none, ValueError where it is none or does not fit."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            columns, vectors = json.loads(stored["names"].tobytes()), stored["vectors"].astype(np.float32)
    except (zipfile.BadZipFile, zlib.error, KeyError, EOFError, ValueError) as error:
        raise ValueError(f"{path} is no bank of sentences ({error}): export it again") from error
    if not len(vectors) == len(columns["texts"]) == len(columns["concepts"]):
        raise ValueError(
            f"{path.name} holds {len(vectors)} vectors for {len(columns['texts'])} texts: export it again"
        )
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return Bank(tuple(columns["texts"]), tuple(columns["concepts"]), vectors)

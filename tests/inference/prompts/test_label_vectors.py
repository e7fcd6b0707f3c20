"""The nearest label: stored vectors, one encoding a sentence, and nothing that contradicts."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from vesal.inference.data.errors import ProfileError
from vesal.inference.prompts.label_vectors import (
    LabelSearch,
    make_label_vectors,
    read_label_vectors,
    write_label_vectors,
)
from vesal.inference.prompts.sentence_encoder import WIDTH
from vesal.inference.prompts.vocabulary import load_vocabulary

LABELS = ("right deltoid", "left deltoid", "left tibia")
PLACES = {
    "right deltoid": (1.0, 0.0), "left deltoid": (0.9, 0.3), "left tibia": (0.0, 1.0),
    "left shoulder muscle": (1.0, 0.1), "left humbug": (-1.0, -1.0),
}  # fmt: skip
"""Two numbers of a text's vector; unknown ones are at (1, 0)."""


class Places:
    """A sentence encoder whose answers are known, and counted."""

    digest = "made"

    def __init__(self) -> None:
        """Nothing is encoded yet."""
        self.encoded: list[str] = []

    def encode(self, texts: Any) -> np.ndarray:
        """Unit vectors (N, 384)."""
        self.encoded += texts
        rows = np.zeros((len(texts), WIDTH), np.float32)
        rows[:, :2] = [PLACES.get(text, (1.0, 0.0)) for text in texts]
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def made_search(encoder: Any) -> LabelSearch:
    """A search over the labels."""
    return LabelSearch(LABELS, encoder.encode(LABELS), encoder, load_vocabulary())


def test_another_side_is_passed_over_and_told() -> None:
    encoder: Any = Places()
    search = made_search(encoder)
    encoder.encoded.clear()
    found = search.nearest("Show the left shoulder muscle in this CT", False, 0.85)
    assert encoder.encoded == ["left shoulder muscle"]
    assert found.best is not None
    assert (found.best.label, round(found.best.similarity, 2)) == ("left deltoid", 0.98)
    assert [str(near) for near in found.near] == [
        "`right deltoid` (1.00, another side)",
        "`left deltoid` (0.98)",
    ]


def test_what_is_far_is_told_all_the_same() -> None:
    found = made_search(Places()).nearest("right humbug of the tibia 7", False, 0.85)
    assert found.best is None
    assert len(found.near) == 3


def test_vectors_are_stored_as_bytes_that_repeat(tmp_path: Path) -> None:
    encoder: Any = Places()
    vectors = make_label_vectors(LABELS, encoder)
    for name in ("a.npz", "b.npz"):
        write_label_vectors(tmp_path / name, vectors, encoder)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    read = read_label_vectors(tmp_path / "a.npz", 3, encoder)
    assert vectors.dtype == np.float16
    assert np.abs(read - encoder.encode(LABELS)).max() < 1e-3
    assert np.allclose(np.linalg.norm(read, axis=1), 1)


def test_vectors_of_something_else_are_named(tmp_path: Path) -> None:
    encoder: Any = Places()
    path = tmp_path / "a.npz"
    write_label_vectors(path, make_label_vectors(LABELS, encoder), encoder)
    with pytest.raises(ProfileError, match="4 labels of 384"):
        read_label_vectors(path, 4, encoder)
    other: Any = SimpleNamespace(digest="other")
    with pytest.raises(ProfileError, match="another sentence encoder"):
        read_label_vectors(path, 3, other)
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(ProfileError, match="no vectors of labels"):
        read_label_vectors(path, 3, encoder)

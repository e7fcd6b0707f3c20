"""Queries of Medal S and SAT as vectors: stored, encoded, or named as missing."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from vesal.inference.data.errors import ProfileError
from vesal.inference.data.prompt import Query
from vesal.inference.families.query_bank import QueryBank, query_text

BANK = QueryBank(
    {"liver": np.array([1.0, 2.0], np.float32), "left kidney": np.array([3.0, 4.0], np.float32)},
    np.array([[0.0, 0.0], [10.0, 20.0]], np.float32),
)


def query(concept: str, side: str | None = None, modality: str = "CT", sentence: str = "") -> Query:
    """A query with only what the bank reads."""
    name = f"{side} {concept}" if side else concept
    return Query(1, name, concept, side, modality, "organ", sentence)


class Encoder:
    """Sentences to their length."""

    def encode(self, texts: list[str]) -> np.ndarray:
        """(N, 2)"""
        return np.array([[len(t), 0] for t in texts], np.float32)


def test_queries_add_the_modality_to_the_text() -> None:
    found = BANK.encode([query("liver"), query("kidney", "left", "MR")])
    assert found.text.tolist() == [[1, 2], [13, 24]]
    assert found.part([1]).text.tolist() == [[13, 24]]
    assert BANK.knows("liver") and not BANK.knows("spleen") and not BANK.knows(None)


def test_what_the_bank_lacks_is_encoded_or_named() -> None:
    able = replace(BANK, encoder=Encoder())
    assert able.knows("spleen") and not able.knows(None)
    assert able.encode([query("spleen")]).text.tolist() == [[6, 0]]
    with pytest.raises(ProfileError, match="'spleen'"):
        BANK.encode([query("spleen")])
    with pytest.raises(ProfileError, match="know the modalities CT, MR, not US"):
        BANK.encode([query("liver", None, "US")])


def test_a_sentence_comes_before_the_target() -> None:
    assert query_text(query("liver", sentence="the liver on CT")) == "the liver on CT"
    assert query_text(query("kidney", "left")) == "left kidney"


def test_a_bank_whose_parts_differ_is_named(tmp_path: Path) -> None:
    arrays = {"names": np.array(["a"]), "vectors": np.zeros((2, 3)), "modality_vectors": np.zeros((5, 3))}
    np.savez(tmp_path / "bank.npz", **arrays)
    with pytest.raises(ProfileError, match=r"1 names, vectors \(2, 3\), modality_vectors \(5, 3\)"):
        QueryBank.read(tmp_path / "bank.npz")
    np.savez(
        tmp_path / "bank.npz",
        **arrays | {"names": np.array(["a", "b"]), "modality_vectors": np.zeros((5, 4))},
    )
    with pytest.raises(ProfileError, match=r"modality_vectors \(5, 4\), which do not go together"):
        QueryBank.read(tmp_path / "bank.npz")

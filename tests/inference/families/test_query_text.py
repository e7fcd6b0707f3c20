"""Word pieces of Medal S and SAT: as recorded, and what cannot be read is named."""

import json
from pathlib import Path

import numpy as np
import pytest

from vesal.inference.data.errors import ProfileError
from vesal.inference.families.query_text import BATCH, MAX_TOKENS, QueryTextEncoder, WordPieces


@pytest.fixture(scope="module")
def folder(shared: Path) -> Path:
    """The recorded tokenizer."""
    return shared / "fixtures/medals/text_tiny"


@pytest.fixture(scope="module")
def tokens(folder: Path) -> WordPieces:
    """It, opened."""
    return WordPieces(folder / "BioLORD-tiny/tokenizer.json")


def test_recorded_ids(tokens: WordPieces, folder: Path) -> None:
    """Special words, the longest sentence that is read, other scripts."""
    rows = json.loads((folder / "tokens.json").read_text())
    assert len(rows) == 49
    for row in rows:
        assert tokens.ids(row["text"]) == row["ids"], row["text"]


def test_recorded_batch(tokens: WordPieces, folder: Path) -> None:
    stored = np.load(folder / "expected.npz")
    ids, mask = tokens.batch(json.loads((folder / "batch_texts.json").read_text()))
    assert np.array_equal(ids, stored["batch_ids"]) and np.array_equal(mask, stored["batch_mask"])


def test_long_and_broken_sentences(tokens: WordPieces) -> None:
    assert len(tokens.ids("liver " * 1000)) == MAX_TOKENS
    assert len(tokens.ids("")) == 2
    assert tokens.ids("\ud800 liver")[-2:] == tokens.ids("liver")[-2:]


@pytest.mark.parametrize("content", [None, "", "{}", '{"version": "1.0", "model": {"type": "BPE"}}'])
def test_a_file_that_is_no_tokenizer_is_named(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "tokenizer.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ProfileError, match="tokenizer.json"):
        WordPieces(path)


def test_sentences_are_encoded_in_batches(folder: Path) -> None:
    """Each graph call gets a bounded number of rows, and their order stays."""

    class Lengths:
        calls: list[int] = []

        def load(self, path: Path, precision: str | None = None, one_shape: bool | str = False) -> "Lengths":
            assert precision == "fp32"
            return self

        def __call__(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
            self.calls.append(len(inputs["ids"]))
            return {"embedding": inputs["mask"].sum(1, keepdims=True).astype(np.float32)}

    text = QueryTextEncoder(folder / "x.onnx", folder / "BioLORD-tiny/tokenizer.json", Lengths())
    found = text.encode(["liver"] * BATCH + ["left liver"])
    assert Lengths.calls == [BATCH, 1]
    assert found[:BATCH].std() == 0 and found[-1] > found[0]

"""Text vectors of the user: what cannot be used is found before anything is written."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vesal
from tests.inference.fakes import write_case
from vesal.inference.data.errors import TextEmbeddingsError, UsageError
from vesal.inference.runner.arguments import read_settings
from vesal.inference.runner.run import run
from vesal.inference.runner.settings import Settings

GOOD: dict[str, Any] = {"labels": np.array(["liver"]), "embeddings": np.ones((1, 4), np.float32)}


def test_it_is_a_flag_and_a_variable() -> None:
    assert read_settings(["--text-embeddings", "a.npz"], {}).text_embeddings == Path("a.npz")
    assert read_settings([], {"VESAL_TEXT_EMBEDDINGS": "b.npz"}).text_embeddings == Path("b.npz")
    assert read_settings([], {}).text_embeddings is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, "the weights nano .family nano. take none"),
        ({"labels": np.array(["liver"], object)}, "labels are object"),
        ({"embeddings": np.full((1, 4), np.nan, np.float32)}, "'liver' is not finite"),
        (None, "does not exist"),
    ],
)
def test_nothing_is_written(changes: dict[str, Any] | None, message: str, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    write_case(tmp_path / "in" / "a.npz")
    path = tmp_path / "own.npz"
    if changes is not None:
        np.savez(path, **GOOD | changes)
    settings = Settings(tmp_path / "in", tmp_path / "out", text_embeddings=path)
    with pytest.raises(TextEmbeddingsError, match=message):
        run(settings)
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "report.json").exists()
    with pytest.raises(UsageError, match=message):
        vesal.load("nano", text_embeddings=path)


def test_a_mapping_is_taken_in_python() -> None:
    with pytest.raises(TextEmbeddingsError, match="take none"):
        vesal.load("nano", text_embeddings={"liver": [1.0, 2.0]})
    with pytest.raises(TextEmbeddingsError, match="numbers of one length"):
        vesal.load("nano", text_embeddings={"liver": [1.0, 2.0], "spleen": [1.0]})

"""Text vectors by label: as published, our own, and a user's; what is none is named."""

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vesal.inference.data.errors import ProfileError, TextEmbeddingsError, VesalError
from vesal.inference.prompts.text_bank import (
    TextBank,
    bank_width,
    check_width,
    read_text_bank,
    text_embeddings,
    write_text_bank,
)

ROWS = np.arange(12, dtype=np.float16).reshape(4, 3)
LABELS = np.array(["liver", "Aorta", "left kidney", "aorta"])


def saved(folder: Path, **arrays: Any) -> Path:
    """An npz of arrays."""
    path = folder / "vectors.npz"
    np.savez(path, **arrays)
    return path


def test_labels_are_lower_case_and_the_later_row_counts(tmp_path: Path) -> None:
    bank = read_text_bank(saved(tmp_path, labels=LABELS, embeddings=ROWS))
    assert bank.labels == ("liver", "left kidney", "aorta")
    assert bank.find("AORTA") == 2
    assert bank.vector("aorta").tolist() == [9, 10, 11]
    assert bank.find(" aorta") is None


def test_what_is_written_is_read_and_has_the_same_bytes(tmp_path: Path) -> None:
    bank = TextBank.of(LABELS.tolist(), ROWS).part([2, 0])
    for name in ("a.npz", "b.npz"):
        write_text_bank(tmp_path / name, bank)
    again = read_text_bank(tmp_path / "a.npz")
    assert again.labels == ("aorta", "liver")
    assert np.array_equal(again.embeddings, ROWS[[3, 0]])
    assert again.embeddings.dtype == np.float16
    assert bank_width(tmp_path / "a.npz") == 3
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_the_published_form_is_looked_up_as_recorded(shared: Path) -> None:
    folder = shared / "fixtures/voxtell"
    path = folder / "model/embeddings/voxtell_v1.1/text_embeddings.npz"
    recorded = json.loads((folder / "units/units.json").read_text(encoding="utf-8"))["bank"]
    bank = read_text_bank(path)
    assert sorted(bank.labels) == recorded["list_available"]
    with np.load(path) as archive:
        published = archive["embeddings"]
    for text, row in recorded["query_row"].items():
        found = bank.find(text)
        assert found is not None
        assert np.array_equal(bank.embeddings[found], published[row]), text


OBJECTS = np.array(["liver", "spleen"], dtype=object)
BAD: dict[str, tuple[dict[str, Any], str]] = {
    "no labels": ({"embeddings": ROWS}, "no labels, but 'embeddings'"),
    "other arrays": ({"names": LABELS, "vectors": ROWS}, "no labels and no embeddings"),
    "object labels": ({"labels": OBJECTS, "embeddings": ROWS[:2]}, "labels are object"),
    "numbers as labels": ({"labels": np.arange(4), "embeddings": ROWS}, "labels are int64"),
    "object rows": ({"labels": LABELS, "embeddings": ROWS.astype(object)}, "embeddings are object"),
    "whole numbers": ({"labels": LABELS, "embeddings": ROWS.astype(np.int8)}, "embeddings are int8"),
    "one row": ({"labels": LABELS, "embeddings": ROWS[0]}, r"shape \(3,\)"),
    "fewer rows": ({"labels": LABELS, "embeddings": ROWS[:3]}, "4 labels for 3 rows"),
    "nothing": ({"labels": LABELS[:0], "embeddings": ROWS[:0]}, "0 labels for 0 rows"),
    "NaN": ({"labels": LABELS, "embeddings": ROWS + np.float16("nan")}, "the row of 'liver' is not finite"),
}


@pytest.mark.parametrize("which", BAD)
def test_what_is_no_bank_is_named(which: str, tmp_path: Path) -> None:
    arrays, message = BAD[which]
    path = saved(tmp_path, **arrays)
    with pytest.raises(ProfileError, match=message):
        read_text_bank(path)
    with pytest.raises(TextEmbeddingsError, match=message):
        text_embeddings(path)


def test_damage_is_named_and_nothing_is_unpickled(tmp_path: Path) -> None:
    whole = saved(tmp_path, labels=LABELS, embeddings=ROWS).read_bytes()
    damaged = tmp_path / "damaged.npz"
    for content in (b"", b"no zip", whole[:200], whole[:-40]):
        damaged.write_bytes(content)
        for read in (read_text_bank, text_embeddings):
            with pytest.raises(VesalError, match="damaged.npz") as raised:
                read(damaged)
            assert "imgs" not in str(raised.value)
    with pytest.raises(TextEmbeddingsError, match="does not exist"):
        text_embeddings(tmp_path / "absent.npz")


def test_a_header_that_promises_too_much_takes_no_memory(tmp_path: Path) -> None:
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        head, {"descr": "<f2", "fortran_order": False, "shape": (4, 1 << 40)}
    )
    labels = io.BytesIO()
    np.save(labels, LABELS)
    path = tmp_path / "huge.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("labels.npy", labels.getvalue())
        archive.writestr("embeddings.npy", head.getvalue() + bytes(8))
    with pytest.raises(TextEmbeddingsError, match="promises"):
        text_embeddings(path)


def test_a_mapping_is_as_good_as_a_file() -> None:
    bank = text_embeddings({"Liver": [1, 2, 3], "spleen": np.zeros(3)})
    assert bank.labels == ("liver", "spleen")
    assert bank.vector("liver").tolist() == [1, 2, 3]
    for given in ({}, {1: [1.0]}, {"a": [1.0], "b": [1.0, 2.0]}, {"a": ["x"]}, {"a": [np.nan]}, {"a": 1.0}):
        with pytest.raises(TextEmbeddingsError):
            text_embeddings(given)
    with pytest.raises(TextEmbeddingsError, match="int"):
        text_embeddings(3)


def test_another_width_is_refused() -> None:
    with pytest.raises(TextEmbeddingsError, match="have 3 numbers a label; the weights made want 20"):
        check_width(TextBank.of(LABELS.tolist(), ROWS), 20, "made")

"""Thresholds of the nearest label, on a handful of labels with the real encoder."""

import json
from pathlib import Path

import pytest

from vesal.evaluation.near_labels import (
    Known,
    Search,
    challenge_sentences,
    labelled_sentences,
    made_labels,
    made_text,
    whole_way,
)
from vesal.inference.prompts.sentence_encoder import SentenceEncoder
from vesal.inference.prompts.vocabulary import load_vocabulary
from vesal.inference.runtime.choice import choose_runtime

LABELS = ("liver", "left kidney", "right kidney", "spleen")


@pytest.fixture(scope="module")
def encoder(root: Path) -> SentenceEncoder:
    return SentenceEncoder(root / "weights" / "text", choose_runtime("onnxruntime", 1))


def test_what_is_left_out_is_taken_for_something_else(encoder: SentenceEncoder) -> None:
    search = Search(LABELS, encoder, load_vocabulary())
    asked = [Known("a CT scan showing the liver", frozenset({"liver"}))]
    ((cosine, right),) = search.similarities(asked, absent=False)
    assert right and cosine > 0.9
    ((other, right),) = search.similarities(asked, absent=True)
    assert not right and 0 < other < cosine


def test_the_whole_way_is_counted(encoder: SentenceEncoder, tmp_path: Path) -> None:
    text = made_text(LABELS, tmp_path, encoder, 0.85)
    asked = [
        Known("Hepatic parenchyma", frozenset({"liver"})),
        Known("left kidney", frozenset({"right kidney"})),
        Known("pancreas", frozenset({"pancreas"})),
    ]
    assert whole_way(text, asked, encoder) == (1, 1)


def test_sentences_come_with_their_targets(tmp_path: Path) -> None:
    path = tmp_path / "challenge.json"
    path.write_text(
        json.dumps({"CT_A": {"1": ["Liver", "Left lung in CT"], "instance_label": 0, "2": "spleen"}})
    )
    assert challenge_sentences(path, load_vocabulary()) == [
        Known("Liver", frozenset({"liver"})),
        Known("Left lung in CT", frozenset({"left lung"})),
        Known("spleen", frozenset({"spleen"})),
    ]
    assert {len(one.targets) for one in labelled_sentences()} == {0, 1}
    labels = made_labels(load_vocabulary())
    assert len(labels) == len(set(labels)) and "left renal" in labels

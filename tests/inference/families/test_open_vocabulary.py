"""Sentences of the user's own: read by weights with a text encoder, matched to a target by those without."""

from dataclasses import replace

import numpy as np
import pytest
from msgspec import structs

from tests.inference.fake_models import (
    FAKE_RUNTIME,
    made_image,
    make_engine,
    make_profile,
    make_prompt,
    make_stages,
    segment,
)
from tests.inference.families.query_graphs import Recorder
from vesal.inference.engine import Engine
from vesal.inference.families.query import QueryModel
from vesal.inference.families.query_bank import QueryBank
from vesal.inference.families.query_stage import QueryStage
from vesal.inference.geometry.layouts import Fit

CUBE = (slice(8, 24), slice(8, 24), slice(8, 24))
IMAGE = made_image((32, 32, 64), (CUBE, 200))
STRANGE = make_prompt(1, None, text="the shiny widget behind the liver")
KNOWN = make_prompt(2, "liver", text="Hepatic parenchyma in abdominal CT")


class Words:
    """A text encoder: the brightness that a sentence asks for is its length."""

    def __init__(self) -> None:
        self.read: list[str] = []

    def encode(self, texts: list[str]) -> np.ndarray:
        """(N, 2) float32"""
        self.read += texts
        return np.array([[len(text), 0] for text in texts], np.float32)


def engine(words: Words | None, modalities: int = 5, **known: float) -> Engine:
    """Weights of the family ``query`` with one stage."""
    rows = {name: np.array([value, 0], np.float32) for name, value in known.items()}
    bank = QueryBank(rows, np.zeros((modalities, 2), np.float32), words)
    profile = make_profile()
    layout = Fit(multiple=32, degrees=False)
    stages = tuple(structs.replace(rule, layout=layout) for rule in make_stages(names=("fine",)))
    profile = replace(profile, stages=stages)
    return Engine(
        profile,
        FAKE_RUNTIME,
        QueryModel({"fine": QueryStage(Recorder("encoder"), Recorder("embed"), None)}, bank, profile),
    )


def test_a_sentence_that_the_vocabulary_does_not_know_is_asked_as_it_stands() -> None:
    words = Words()
    result = segment(engine(words), IMAGE, [STRANGE, KNOWN])
    assert sorted(words.read) == sorted([STRANGE.text, KNOWN.text])
    found = result.prompts
    assert found[1].covered
    assert found[1].asked_as == found[2].asked_as == "sentence"
    assert "the sentence is asked as it stands" in found[1].why
    assert found[1].voxels or found[2].voxels


def test_weights_without_an_encoder_are_given_the_target() -> None:
    result = segment(engine(None, liver=1.0), IMAGE, [STRANGE, KNOWN])
    found = result.prompts
    assert not found[1].covered
    assert found[1].asked_as is None
    assert found[2].covered
    assert found[2].asked_as == "target"
    assert "asked as the target liver" in found[2].why


def test_a_closed_list_refuses_what_it_does_not_know() -> None:
    result = segment(make_engine(), IMAGE, [STRANGE, KNOWN])
    assert [result.prompts[i].asked_as for i in (1, 2)] == [None, "target"]


def test_a_modality_that_the_weights_do_not_know_is_refused_with_the_reason() -> None:
    cells = make_prompt(1, None, text="widgets in microscopy", modality="Microscopy")
    result = segment(engine(Words(), modalities=4), IMAGE, [cells])
    assert not result.prompts[1].covered
    assert "know CT, MR, US, PET, not Microscopy" in result.prompts[1].why


@pytest.mark.parametrize("length", [1, 300])
def test_any_length_of_sentence_goes_to_the_encoder(length: int) -> None:
    words = Words()
    segment(engine(words), IMAGE, [make_prompt(1, None, text="x" * length)])
    assert words.read == ["x" * length]

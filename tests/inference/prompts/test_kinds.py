"""Sentences by kind with what they ask for, written for the tests: `sentences_by_kind.json`.

Kind -> sentence -> names of targets in any order; none: nothing is to be run. A name behind `-` must not be
among several, one behind `+` must.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vesal.inference.prompts.guess import Encoder
from vesal.inference.prompts.parser import find_target
from vesal.inference.prompts.vocabulary import load_vocabulary

VOCABULARY = load_vocabulary()
KINDS: dict[str, dict[str, list[str]]] = json.loads(
    Path(__file__).with_name("sentences_by_kind.json").read_text(encoding="utf-8")
)
BY_MEANING = "described by what it does"
RULED = [(kind, text) for kind, texts in KINDS.items() if kind != BY_MEANING for text in texts]


def forbidden() -> Encoder:
    raise AssertionError("a rule or a term says what this is; the encoder must not be asked")


def check(wanted: list[str], found: set[str]) -> None:
    within = {name[1:] for name in wanted if name.startswith("+")}
    without = {name[1:] for name in wanted if name.startswith("-")}
    if within or without:
        assert found and within <= found and not without & found, found
    else:
        assert found == set(wanted)


@pytest.mark.parametrize(("kind", "text"), RULED)
def test_what_a_rule_or_a_term_says(kind: str, text: str) -> None:
    check(KINDS[kind][text], {target.name for target in find_target(text, VOCABULARY, None).targets})


def test_descriptions_are_asked_for_by_their_meaning() -> None:
    pytest.importorskip("onnxruntime")
    from vesal.evaluation.sentences import default_setup

    _, encoder = default_setup()
    wrong = {}
    for text, wanted in KINDS[BY_MEANING].items():
        found = {target.name for target in find_target(text, VOCABULARY, encoder).targets}
        if found != set(wanted):
            wrong[text] = found
    assert not wrong

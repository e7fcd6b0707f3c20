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


def is_right(wanted: list[str], found: set[str]) -> bool:
    within = {name[1:] for name in wanted if name.startswith("+")}
    without = {name[1:] for name in wanted if name.startswith("-")}
    if within or without:
        return bool(found) and within <= found and not without & found
    return found == set(wanted)


def wrong(kind: str, encoder: Encoder | None) -> dict[str, set[str]]:
    """Sentences of a kind that are read wrongly, with the names that they are read as."""
    read = {text: find_target(text, VOCABULARY, encoder).targets for text in KINDS[kind]}
    found = {text: {target.name for target in targets} for text, targets in read.items()}
    return {text: names for text, names in found.items() if not is_right(KINDS[kind][text], names)}


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != BY_MEANING])
def test_what_a_rule_or_a_term_says(kind: str) -> None:
    assert len(KINDS[kind]) >= 20 and not wrong(kind, None)


def test_a_wrong_reading_is_seen() -> None:
    assert is_right(["+liver", "-spleen"], {"liver", "kidney"}) and is_right([], set())
    assert not any(is_right(*case) for case in (([], {"liver"}), (["liver"], set()), (["-liver"], {"liver"})))


def test_descriptions_are_asked_for_by_their_meaning() -> None:
    pytest.importorskip("onnxruntime")
    from vesal.evaluation.sentences import default_setup

    _, encoder = default_setup()
    assert len(KINDS[BY_MEANING]) >= 20 and not wrong(BY_MEANING, encoder)

"""What contradicts a label that is near to a sentence."""

import json

import pytest

from vesal.inference.prompts.label_fit import (
    FILE,
    asked_words,
    contradiction,
    facts_of,
    load_contrasts,
)
from vesal.inference.prompts.vocabulary import load_vocabulary


def says_against(sentence: str, label: str) -> str:
    """What contradicts, where the sentence's targets are taken as they are read."""
    vocabulary = load_vocabulary()
    asked = facts_of(sentence, vocabulary)
    return contradiction(asked, facts_of(label, vocabulary), bool(asked.targets))


@pytest.mark.parametrize(
    ("sentence", "label", "why"),
    [
        ("left adrenal", "right adrenal gland", "side"),
        ("left adrenal", "adrenal gland", "side"),
        ("deltoid", "left deltoid", "side"),
        ("deltoid R", "left deltoid", "side"),
        ("eighth cranial nerve", "cranial nerve 7", "number"),
        ("cranial nerve VIII", "cranial nerve 7", "number"),
        ("nerve root C 6", "c7 nerve root", "number"),
        ("cranial nerve", "cranial nerve 7", "number"),
        ("popliteal artery", "popliteal vein", "place or kind"),
        ("internal oblique", "external oblique", "place or kind"),
        ("tibia", "proximal tibia", "place or kind"),
        ("non-calcified plaque of the tibia", "calcified plaque of the tibia", "place or kind"),
        ("tibia", "tibial osteosarcoma", "ill"),
        ("tibia", "tibial cortex", "place or kind"),
        ("cyst of the wrist", "tumor of the wrist", "place or kind"),
        ("wrist", "capsule of the wrist", "part"),
        ("tibia", "leg without the tibia", "denies"),
        ("left kidney", "left lung", "target"),
        ("fat around the kidney", "kidney", "not asked for"),
    ],
)
def test_what_contradicts_is_told(sentence: str, label: str, why: str) -> None:
    assert why in says_against(sentence, label)


@pytest.mark.parametrize(
    ("sentence", "label"),
    [
        ("Show the deltoid on the left in this CT scan", "left deltoid muscle"),
        ("CT scan of the head and neck with the masseter", "masseter"),
        ("cranial nerve VIII", "eighth cranial nerve"),
        ("nerve root C 6", "c6 nerve root"),
        ("intra-abdominal fat", "fat"),
        ("renal mass, left", "left kidney tumor"),
        ("T2-weighted MRI of the wrist", "wrist"),
        ("mass of the wrist", "wrist tumor"),
        ("lesion of the wrist", "wrist tumor"),
        ("bleeding in the wrist", "hemorrhage of the wrist"),
    ],
)
def test_what_is_the_same_thing_stays(sentence: str, label: str) -> None:
    assert says_against(sentence, label) == ""


@pytest.mark.parametrize(
    ("sentence", "words"),
    [
        ("CT imaging of the left cochlea in the head and neck region", "left cochlea"),
        ("Abdominal CT showing Right kidney", "right kidney"),
        ("Please segment the deltoid in the MRI", "deltoid"),
        ("abdomen", "abdomen"),
        ("CT", "ct"),
        ("", ""),
    ],
)
def test_the_encoder_sees_what_is_named(sentence: str, words: str) -> None:
    assert asked_words(sentence, load_vocabulary()) == words


def test_words_of_the_file_are_compared_as_sentences_are() -> None:
    stem, data = load_vocabulary().stem, json.loads(FILE.read_text(encoding="utf-8"))
    words = [
        word
        for name in ("groups", "loose")
        for group in data[name]
        for says in group.values()
        for word in says
    ]
    words += [says for name in ("groups", "loose") for group in data[name] for says in group]
    words += data["ill"]
    assert [word for word in words if stem(word) != word] == []
    contrasts = load_contrasts()
    assert len(contrasts.groups) == len(data["groups"])
    assert contrasts.numbers["viii"] == contrasts.numbers["eighth"] == "8"


@pytest.mark.parametrize(
    ("sentence", "denies"),
    [
        ("no deltoid", True),
        ("not the deltoid", True),
        ("all muscles except the deltoid", True),
        ("everything but the deltoid", True),
        ("the deltoid is not wanted", True),
        ("the deltoid without fat", True),
        ("the non-calcified plaque", False),
        ("the deltoid", False),
    ],
)
def test_a_sentence_that_denies_is_known(sentence: str, denies: bool) -> None:
    assert facts_of(sentence, load_vocabulary()).denies is denies

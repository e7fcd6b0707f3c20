"""Names: every prompt of the challenge, and the recorded tricky ones."""

import copy
import json
from pathlib import Path

import pytest

from tests.inference.families.published.recorded import PROFILE, names, rows, rules
from vesal.inference.data.errors import ProfileError
from vesal.inference.families.published.naming import Names, majority, read_names

NAMES = names()
CONTENT = json.loads((PROFILE / "names.json").read_text())


def test_all_3204_recorded_sentences_are_named_alike(shared):
    recorded = rows(shared, "extract_info")
    sentences = recorded["dataset_prompts"] + recorded["extra"]
    assert len(sentences) == 3204
    for _, _, instance, sentence, modality, class_id, class_name in sentences:
        named = NAMES.name(sentence, bool(instance))
        assert (named.modality, named.id, named.name) == (modality, class_id, class_name), named


def test_the_recorded_words_for_modalities_are_ours_in_the_same_order(shared):
    words = rows(shared, "extract_info")["modality_keywords"]
    assert list(NAMES.modalities.items()) == [(m, tuple(w)) for m, w in words.items()]


def test_the_side_may_stand_anywhere():
    assert NAMES.name("Kidney, left, CT", False).full_name == "CT_Left kidney"
    assert NAMES.name("Kidney in CT", False).name is None


def test_what_is_not_found_says_so():
    assert "no modality" in NAMES.name("liver", False).why
    assert "no instance class of CT" in NAMES.name("Spleen in CT", True).why


def test_our_own_target_finds_the_class_too():
    found = NAMES.of_target("left kidney", "CT", False)
    assert found is not None and found.name == "Left kidney"
    assert NAMES.of_target("left kidney", "PET", False) is None
    assert NAMES.of_target(None, "CT", False) is None


def test_every_class_of_the_rules_has_a_name():
    r = rules()
    known = {
        f"{m}_{c.name}" for m, groups in NAMES.classes.items() for found in groups.values() for c in found
    }
    used = {*r.spacing.unit_classes, *r.spacing.divisors, *r.spacing.fit_from, *r.spacing.factors}
    used |= {*r.region.factors, *r.stages.skip_coarse, *r.stages.skip_fine, *(r.components.classes or ())}
    used |= {name for group in r.rounds.never.values() for name in group}
    assert used <= known, used - known


def test_majority():
    assert majority(["CT", "MRI", "MRI"]) == "MRI"
    assert majority([None, "PET"]) == "PET"
    assert majority([None]) is None


def test_a_term_of_two_classes_is_refused():
    content = copy.deepcopy(CONTENT)
    content["classes"]["CT"]["semantic"][1]["terms"] = ["spleen"]
    with pytest.raises(ProfileError, match="spleen"):
        read_names(content)


LIVER = {"name": "Liver", "id": 1}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({}, "missing required field `modalities`"),
        ({"modalities": {}}, "missing required field `classes`"),
        ({"modalities": [], "classes": {}}, r"Expected `object`, got `array` - at `\$.modalities`"),
        ({"modalities": {"CT": "CT"}, "classes": {}}, r"`array`, got `str` - at `\$.modalities\[...\]`"),
        ({"modalities": {}, "classes": {"CT": {"semantic": [LIVER | {"id": "1"}]}}}, "`int`, got `str`"),
        ({"modalities": {}, "classes": {"CT": {"semantic": [LIVER | {"term": []}]}}}, "unknown field `term`"),
        ({"modalities": {}, "classes": {"CT": {"organs": [LIVER]}}}, "unknown field `organs`"),
    ],
)
def test_names_of_another_layout_are_refused(content, said):
    with pytest.raises(ProfileError, match=said) as caught:
        read_names(content, Path("some/names.json"))
    assert str(caught.value).startswith("some/names.json does not describe")


def test_a_modality_without_classes_names_nothing():
    assert Names({"CT": ("CT",)}, {}).name("Liver in CT", False).name is None

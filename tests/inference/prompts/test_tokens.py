"""A sentence as words: marks, CamelCase, numbers, abbreviations."""

import pytest

from vesal.inference.prompts.term_search import Stems
from vesal.inference.prompts.tokens import read_tokens

STEM = Stems({}, {})
KNOWN = {"kidney", "left", "gtvp", "liver", "rib"}


def words(text: str) -> list[str]:
    return [token.raw for token in read_tokens(text, STEM, KNOWN, {"GB": "gall bladder"})]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("LeftKidney", ["Left", "Kidney"]),
        ("kidneyL", ["kidney", "L"]),
        ("LVMyocardium", ["LV", "Myocardium"]),
        ("GTVp", ["GTVp"]),
        ("leftkidney", ["left", "kidney"]),
        ("kidneyleft", ["kidney", "left"]),
        ("rib4", ["rib", "4"]),
        ("T1w", ["T1w"]),
        ("18F", ["18F"]),
        ("kidney_left.nii.gz", ["kidney", "left", "nii", "gz"]),
        ("GB", ["gall", "bladder"]),
        ("gb", ["gall", "bladder"]),
        ("gb in the liver", ["gb", "in", "the", "liver"]),
        ("liver w/o tumor", ["liver", "without", "tumor"]),
        ("\uff2c\uff49\uff56\uff45\uff52", ["Liver"]),
        ("", []),
        ("?!", []),
    ],
)
def test_words_of_a_text(text: str, found: list[str]) -> None:
    assert words(text) == found


def test_marks_stay_with_the_word_behind_them() -> None:
    tokens = read_tokens("liver, kidney (left)-rib", STEM, KNOWN, {})
    assert [token.before for token in tokens] == ["", ",", "(", ")-"]


def test_no_more_than_256_words() -> None:
    assert len(read_tokens("lk " * 1000, STEM, KNOWN, {})) == 256

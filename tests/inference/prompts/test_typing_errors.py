"""Known words near to unknown ones, by edit distance."""

import pytest

from vesal.inference.prompts.typing_errors import KnownSpellings

KNOWN = KnownSpellings(["liver", "spleen", "pancreas", "mandible", "hippocampus", "rib", "shape"], ["river"])


@pytest.mark.parametrize(
    ("word", "near"),
    [
        ("lver", ("liver",)),
        ("liverr", ("liver",)),
        ("livre", ("liver",)),
        ("spleem", ("spleen",)),
        ("panceras", ("pancreas",)),
        ("hipocampos", ("hippocampus",)),
        ("mandlbie", ()),
        ("rob", ()),
        ("river", ()),
        ("shaped", ()),
        ("xyzzy", ()),
        ("12345", ()),
        ("l" * 1000, ()),
    ],
)
def test_one_error_or_two_in_a_long_word(word: str, near: tuple[str, ...]) -> None:
    assert KNOWN.near(word) == near


def test_all_words_that_are_as_near_are_found() -> None:
    assert KnownSpellings(["caudal", "caudate"]).near("caudat") == ("caudal", "caudate")

"""Which rows belong to which prompt, in both notations."""

from typing import Any

import pytest

from vesal.inference.data.errors import BoxError
from vesal.inference.io.user_values import Notation

NOTATION = Notation("boxes", ("low", "high"), "pairs of numbers", BoxError)
A, B, C = [1, 2], [3, 4], [5, 6]
ENTRY = {"low": 1, "high": 2}


@pytest.mark.parametrize(
    ("values", "rows"),
    [
        ({1: [A, B], 7: [C]}, {1: [A, B], 7: [C]}),
        ({"7": [C], " 1 ": [A]}, {1: [A], 7: [C]}),
        ({7: A}, {7: [A]}),
        ({7: (1, 2)}, {7: [(1, 2)]}),
        ({1: ENTRY, 7: [ENTRY, A]}, {1: [ENTRY], 7: [ENTRY, A]}),
        ({1: None, 7: []}, {1: [], 7: []}),
        ({1: {}, 7: [{}, A, None]}, {1: [{}], 7: [{}, A]}),
        ([ENTRY, ENTRY], {1: [ENTRY], 7: [ENTRY]}),
        ([None, ENTRY], {1: [], 7: [ENTRY]}),
        ({}, {}),
        ([], {}),
        (None, {}),
    ],
)
def test_of_two_prompts(values: Any, rows: dict[int, list[Any]]):
    assert NOTATION.by_prompt(values, (7, 1), "here") == rows
    assert list(NOTATION.by_prompt(values, (7, 1), "here")) == sorted(rows)


def test_one_entry_that_is_none_does_not_cost_the_others():
    problems: list[Any] = []
    assert NOTATION.by_prompt(["text", ENTRY], (1, 7), "here", problems) == {7: [ENTRY]}
    assert [str(problem) for problem in problems] == ["here, prompt 1: 'text'; wanted are pairs of numbers."]


@pytest.mark.parametrize("values", [[A, B], (A, B), [ENTRY, ENTRY], [A, None]])
def test_with_one_prompt_all_are_its_own(values: Any):
    assert NOTATION.by_prompt(values, (5,), "here") == {5: [v for v in values if v is not None]}


@pytest.mark.parametrize("value", [A, ENTRY])
def test_one_alone_will_do(value: Any):
    assert NOTATION.by_prompt(value, (5,), "here") == {5: [value]}


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({2: [A]}, r"2 is no prompt's id; the case has \[1, 7\]"),
        ({"x": [A]}, "'x' is no prompt's id"),
        ({10**5000: [A]}, "too large to print is no prompt's id"),
        ({None: [A]}, "None is no prompt's id"),
        ({1: [A], "1": [B]}, "prompt id 1 comes twice"),
        ([ENTRY], r"1 entries; one for each of the 2 prompts is wanted, in the order of their ids \[1, 7\]"),
        ([A, B], r"does not say to which prompts it belongs; a dict of prompt id -> list of boxes"),
        (ENTRY, "does not say to which prompts"),
        (5, "5 does not say to which prompts"),
        ({1: "text"}, "here, prompt 1: 'text'; wanted are pairs of numbers"),
    ],
)
def test_what_belongs_to_no_prompt_is_refused(values: Any, said: str):
    with pytest.raises(BoxError, match=said):
        NOTATION.by_prompt(values, (1, 7), "here")


@pytest.mark.parametrize(("value", "whole"), [(3, 3), (-3, -3), (3.0, 3)])
def test_whole_numbers_of_every_type(value: float, whole: int):
    found = NOTATION.whole(value, "here")
    assert found == whole and type(found) is int


@pytest.mark.parametrize("value", [0.5, float("nan"), float("inf"), "3", None, True, [3], 10**18, 1e300])
def test_no_whole_number_is_named(value: Any):
    with pytest.raises(BoxError, match="here: .* is no whole number; wanted are pairs of numbers"):
        NOTATION.whole(value, "here")


@pytest.mark.parametrize(
    ("values", "classes"),
    [
        ([ENTRY, None, [ENTRY]], {1: ENTRY, 2: None, 3: [ENTRY]}),
        ({"2": A, 1: B}, {1: B, 2: A}),
        (ENTRY, {1: ENTRY}),
        ([A, B], {1: [A, B]}),
        ([[A], [B, C]], {1: [A], 2: [B, C]}),
        (A, {1: A}),
        (None, {}),
        ([], {}),
        ({"low": [1, 3], "high": [2, 4]}, {1: {"low": 1, "high": 2}, 2: {"low": 3, "high": 4}}),
    ],
)
def test_classes_where_there_are_no_sentences(values: Any, classes: dict[int, Any]):
    assert NOTATION.by_class(values, "here") == classes


def test_rows_may_be_one_a_class():
    one = Notation("boxes", ("low", "high"), "pairs", BoxError, one_a_class=True)
    assert one.by_class([A, B], "here") == {1: A, 2: B}


def test_what_is_no_class_is_told_and_the_rest_stays():
    problems: list[Any] = []
    assert NOTATION.by_class({"x": A, "2": B, 2: C}, "here", problems) == {2: B}
    assert len(problems) == 2
    with pytest.raises(BoxError, match="'x' is not a whole number"):
        NOTATION.by_class({"x": A}, "here")

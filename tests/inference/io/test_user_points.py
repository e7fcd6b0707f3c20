"""A user's points: both notations, and what is refused."""

from typing import Any

import pytest

from vesal.inference.data.errors import CaseError, PointError
from vesal.inference.data.user_prompts import Point
from vesal.inference.io.user_points import parse_points

SHAPE = (6, 7, 8)


def parse(values: Any, ids: tuple[int, ...] = (1, 7)) -> Any:
    return parse_points(values, ids, SHAPE, "here")


def test_without_a_label_a_point_is_foreground():
    found = parse({7: [(1, 2, 3), (5, 6, 7, 0), (0, 0, 0, 1)]})
    assert found == {7: (Point((1, 2, 3), True), Point((5, 6, 7), False), Point((0, 0, 0), True))}


def test_clicks_of_the_challenge_are_indices_of_the_array():
    found = parse([{"fg": [[1, 2, 7]], "bg": []}, {"fg": [], "bg": [[5, 6, 0], [0, 0, 7]]}])
    assert found == {1: (Point((1, 2, 7), True),), 7: (Point((5, 6, 0), False), Point((0, 0, 7), False))}


def test_with_one_prompt_all_clicks_are_its_own():
    clicks = [{"fg": [[1, 2, 3]]}, {"bg": [[3, 2, 1]]}]
    assert parse(clicks, (5,)) == {5: (Point((1, 2, 3), True), Point((3, 2, 1), False))}


@pytest.mark.parametrize("values", [None, [], {1: []}, [{"fg": [], "bg": []}, {"fg": None}]])
def test_prompts_without_a_point_are_left_out(values: Any):
    assert parse(values) == {}


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ((1, 2), r"\(1, 2\) is no voxel; wanted are whole numbers \(d, h, w\)"),
        ((1, 2, 3, 1, 1), "is no voxel"),
        ((1, 2, 3, 2), "2 is no label"),
        ((1, 2, 3, float("nan")), "nan is no label"),
        ((1, 2, 3, "fg"), "'fg' is no label"),
        ((1, 2, float("nan")), "nan is no whole number"),
        ((6, 2, 3), r"the point \(6, 2, 3\) lies outside of the volume, \(6, 7, 8\)"),
        ((1, -1, 3), "lies outside of the volume"),
        ({"fg": [[1, 2]]}, "is no voxel"),
        ({"fg": 5}, "{'fg': 5}; wanted"),
        ({"fg": [], "scribble": []}, "scribble"),
        ("point", "'point' is no voxel"),
    ],
)
def test_what_cannot_be_used_is_named(row: Any, said: str):
    with pytest.raises(PointError, match=f"here, prompt 7: .*{said}") as raised:
        parse({7: [row]})
    assert isinstance(raised.value, CaseError)


def test_a_point_in_the_order_xyz_is_told_as_one():
    said = r"lies outside of the volume.*; read as \(x,y,z\) it would be the voxel \(1, 2, 7\)"
    with pytest.raises(PointError, match=said):
        parse({7: [(7, 2, 1)]})


def test_signs_are_labels():
    assert parse({7: [(1, 2, 3, "+"), (1, 2, 3, " - ")]}) == {
        7: (Point((1, 2, 3), True), Point((1, 2, 3), False))
    }


def test_a_point_between_voxels_is_the_nearest_one():
    notes: list[str] = []
    found = parse_points({7: [(0.6, -0.4, 3.0)]}, (1, 7), SHAPE, "here", notes=notes)
    assert found == {7: (Point((1, 0, 3), True),)}
    assert notes == ["here, prompt 7: 1 points between voxels are taken as the nearest voxel"]


def test_one_wrong_point_leaves_the_others():
    problems: list[Any] = []
    clicks = [{"fg": [[1, 2, 3], [6, 0, 0]], "bg": "none"}, {"fg": [[1, 2, 3], [float("inf"), 0, 0]]}]
    found = parse_points(clicks, (1, 7), SHAPE, "here", problems)
    assert found == {7: (Point((1, 2, 3), True),)} and len(problems) == 2

"""A user's boxes: both notations, what is clipped, and what is refused."""

from typing import Any

import pytest

from vesal.inference.data.errors import BoxError, CaseError
from vesal.inference.data.user_prompts import VoxelBox
from vesal.inference.io.user_boxes import parse_boxes

SHAPE = (6, 7, 8)
CHALLENGE = {
    "z_min": 1,
    "z_max": 2,
    "z_mid": 1,
    "z_mid_x_min": 3,
    "z_mid_y_min": 2,
    "z_mid_x_max": 5,
    "z_mid_y_max": 3,
}


def parse(values: Any, ids: tuple[int, ...] = (1, 7)) -> Any:
    return parse_boxes(values, ids, SHAPE, "here")


def test_the_stop_of_six_numbers_is_exclusive():
    boxes, notes = parse({7: [(1, 2, 3, 3, 4, 6), (0, 0, 0, 6, 7, 8)]})
    assert boxes == {7: (VoxelBox((1, 2, 3), (3, 4, 6)), VoxelBox((0, 0, 0), SHAPE))} and notes == ()


def test_the_maxima_of_the_challenge_belong_to_its_box():
    """z, y and x are D, H and W."""
    assert parse([CHALLENGE, None])[0] == {1: (VoxelBox((1, 2, 3), (3, 4, 6)),)}


def test_a_box_partly_outside_is_clipped_with_a_note():
    boxes, notes = parse({1: (-2, 0, 3, 2, 9, 6)})
    assert boxes == {1: (VoxelBox((0, 0, 3), (2, 7, 6)),)}
    assert notes == (
        "here, prompt 1: the box from (-2, 0, 3) to (2, 9, 6) is clipped to the volume, (6, 7, 8)",
    )


@pytest.mark.parametrize("values", [None, {}, {1: []}, [None, None]])
def test_prompts_without_a_box_are_left_out(values: Any):
    assert parse(values) == ({}, ())


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (
            (1, 2, 3, 3, 4),
            r"\(1, 2, 3, 3, 4\) is no box; wanted are whole numbers \(d0, h0, w0, d1, h1, w1\)",
        ),
        ((1, 2, 3, 3, 4, 6, 1), "is no box"),
        (((1, 2, 3), (3, 4, 6)), "is no box"),
        ((1, 2, 3, 1, 4, 6), r"holds no voxel, from \(1, 2, 3\) to \(1, 4, 6\)"),
        ((3, 4, 6, 1, 2, 3), "holds no voxel"),
        ((1, 2, 3, 3, 4, float("nan")), "nan is no whole number"),
        ((1, 2, 3.5, 3, 4, 6), "3.5 is no whole number"),
        ((6, 2, 3, 9, 4, 6), r"lies outside of the volume, \(6, 7, 8\). Give voxels in the order"),
        ((-3, 2, 3, 0, 4, 6), "lies outside of the volume"),
        (CHALLENGE | {"z_max": 0}, "holds no voxel"),
        ({"z_min": 1, "z_max": 2}, "a box without z_mid_y_min, z_mid_x_min, z_mid_y_max, z_mid_x_max"),
        (CHALLENGE | {"z_min": None}, "None is no whole number"),
    ],
)
def test_what_cannot_be_used_is_named(row: Any, said: str):
    with pytest.raises(BoxError, match=f"here, prompt 7: .*{said}") as raised:
        parse({7: [row]})
    assert isinstance(raised.value, CaseError)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ((20, 10, 2, 30, 18, 8), r"lies outside of the volume, \(10, 20, 40\)"),
        ((4, 10, 2, 30, 18, 8), "most of the box .* lies outside"),
        (
            {
                "z_min": 20,
                "z_max": 29,
                "z_mid_y_min": 10,
                "z_mid_y_max": 17,
                "z_mid_x_min": 2,
                "z_mid_x_max": 7,
            },
            "lies outside",
        ),
    ],
)
def test_a_box_in_the_order_xyz_is_told_as_one(row: Any, said: str):
    with pytest.raises(
        BoxError, match=rf"{said}.*; read as \(x,y,z\) it would fit, as the box from \(2, 10,"
    ):
        parse_boxes({1: row}, [1], (10, 20, 40), "here")


def test_a_box_that_is_a_little_too_wide_is_clipped_though_another_order_fits():
    boxes, notes = parse_boxes({1: (6, 10, 2, 12, 18, 8)}, [1], (10, 20, 40), "here")
    assert boxes == {1: (VoxelBox((6, 10, 2), (10, 18, 8)),)}
    assert notes[0].endswith("; read as (x,y,z) it would fit, as the box from (2, 10, 6) to (8, 18, 12)")


def test_no_other_order_is_told_where_none_fits():
    with pytest.raises(BoxError, match=r"in the order \(D,H,W\)\.$"):
        parse_boxes({1: (20, 10, 12, 30, 18, 18)}, [1], (10, 20, 40), "here")


def test_one_wrong_box_leaves_the_others():
    problems: list[Any] = []
    boxes, _ = parse_boxes(
        {1: [(0, 0, 0, 1, 1, 1), (9, 9, 9, 9, 9, 9)], 2: [(0, 0, 0, 1, 1, 1)], 7: "box"},
        [1, 7],
        SHAPE,
        "here",
        problems,
    )
    assert boxes == {1: (VoxelBox((0, 0, 0), (1, 1, 1)),)}
    said = ["here: 2 is no prompt's id", "here, prompt 7: 'box'", "here, prompt 1: the box"]
    assert len(problems) == 3
    assert all(str(error).startswith(start) for error, start in zip(problems, said, strict=True))


@pytest.mark.parametrize("values", [{1: {}}, {1: [{}]}, [{}, None]])
def test_an_empty_dict_is_a_wrong_box(values: Any):
    """Nothing at all is None or an empty list."""
    problems: list[Any] = []
    assert parse_boxes(values, [1, 7], SHAPE, "here", problems) == ({}, ())
    (problem,) = problems
    assert str(problem).startswith(
        "here, prompt 1: {} is a box without z_min, z_mid_y_min, z_mid_x_min, z_max"
    )


def test_what_is_wanted_is_said_in_the_form_of_the_place():
    with pytest.raises(
        BoxError, match=r"here, prompt 1: \[1, 2\] is no box; wanted are the numbers of --box\."
    ):
        parse_boxes({1: [[1, 2]]}, [1], SHAPE, "here", wanted="the numbers of --box")


@pytest.mark.parametrize(
    ("row", "malformed"),
    [
        ((1, 2, 3, 1, 4, 6), False),
        ((9, 9, 9, 10, 10, 10), False),
        ((1, 2, 3, 3, 4, float("nan")), False),
        ((1, 2, 3, 3, 4, 6.5), False),
        ((1, 2, 3, 3, 4, "6"), True),
        ((1, 2, 3), True),
        ({}, False),
        ({"z_min": 1}, False),
    ],
)
def test_what_has_no_form_is_told_from_what_does_not_fit(row: Any, malformed: bool):
    with pytest.raises(BoxError) as raised:
        parse({1: [row]})
    assert raised.value.malformed is malformed


def test_start_and_stop_may_be_named():
    assert parse({1: {"start": [1, 2, 3], "stop": [3, 4, 6]}})[0] == {1: (VoxelBox((1, 2, 3), (3, 4, 6)),)}


def test_columns_of_all_classes_are_read():
    columns = {key: [value, value] for key, value in CHALLENGE.items()}
    assert list(parse(columns)[0]) == [1, 7]

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

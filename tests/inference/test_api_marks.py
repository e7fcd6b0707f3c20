"""Boxes and points in a call from Python: whose they are, what does not fit, what is not used."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.inference.fake_models import Bright, made_image, make_model
from vesal.inference.api import Model
from vesal.inference.call_arguments import make_case
from vesal.inference.data.user_prompts import Point, UserPrompts, VoxelBox

SPACING = (2.0, 1.0, 1.0)


@pytest.fixture
def image() -> np.ndarray:
    """(32, 32, 32) uint8 with a liver and a spleen."""
    liver, spleen = (slice(4, 14),) * 3, (slice(18, 26), slice(18, 28), slice(6, 16))
    return made_image((32,) * 3, (liver, 200), (spleen, 120))


@pytest.fixture
def model() -> Model:
    return make_model(Bright())


INSIDE = (4, 4, 4, 14, 14, 14)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"boxes": {1: [INSIDE, (40, 0, 0, 41, 1, 1)]}}, r"boxes, prompt 1: the box .* lies outside of the"),
        ({"boxes": {1: [INSIDE, INSIDE[::-1]]}}, r"the box \[14, 14, 14, 4, 4, 4\] holds no voxel"),
        ({"boxes": {1: [INSIDE, (3, 3, 3, 3, 3, 3)]}}, "holds no voxel"),
        ({"boxes": {1: [INSIDE, (np.nan, 0, 0, 9, 9, 9)]}}, r"nan is no whole number, of \[nan, 0, 0, 9,"),
        ({"boxes": {1: [INSIDE, (np.inf, 0, 0, 9, 9, 9)]}}, "inf is no whole number"),
        ({"boxes": {1: [INSIDE], 2: [INSIDE]}}, r"boxes: 2 is no prompt's id; the case has \[1\]"),
        ({"boxes": {1: [INSIDE, {}]}}, r"prompt 1: \{\} is a box without z_min"),
        ({"points": {1: [(5, 5, 5), (0, 0, 99)]}}, r"the point \(0, 0, 99\) lies outside of the volume"),
        ({"points": {1: [(5, 5, 5), (0, 0, np.nan)]}}, "nan is no whole number"),
        ({"points": np.array([[5, 5, 5, 1], [1, 1, 1, np.nan]])}, "nan is no label"),
        ({"points": {1: [(5, 5, 5)], 7: [(5, 5, 5)]}}, "points: 7 is no prompt's id"),
    ],
)
def test_what_does_not_fit_the_volume_is_left_out_and_told(
    model: Model, image: np.ndarray, given: dict[str, Any], said: str
) -> None:
    """The rest of the same prompt is used."""
    (kind,) = given
    alone = {kind: [INSIDE]} if kind == "boxes" else {kind: [(5, 5, 5)]}
    wanted = model.segment(image, SPACING, ["liver"], modality="CT", **alone)
    result = model.segment(image, SPACING, ["liver"], modality="CT", **given)
    np.testing.assert_array_equal(result.labels, wanted.labels)
    (told,) = result.report["fallbacks"]
    assert re.match(f"one of the user's {kind} is not used: (Box|Point)Error: .*{said}", told), told
    assert not wanted.report["fallbacks"]


def test_a_box_of_which_only_another_order_of_axes_fits_is_told() -> None:
    image = np.full((10, 20, 40), 20, np.uint8)
    result = make_model(Bright()).segment(image, SPACING, ["liver"], boxes=[(20, 10, 2, 30, 18, 8)])
    (told,) = result.report["fallbacks"]
    assert told.startswith("the user's boxes are not used: BoxError: boxes, prompt 1: the box from")
    assert "read as (x,y,z) it would fit, as the box from (2, 10, 20) to (8, 18, 30)" in told


@pytest.mark.parametrize("array", [list, np.array, lambda rows: tuple(map(tuple, rows))])
def test_boxes_and_points_go_by_the_ids_of_the_label_map(array: Callable[[Any], Any]) -> None:
    boxes, points = array([[0, 1, 2, 3, 4, 5]]), array([[1, 2, 3, 0]])
    given: dict[str, Any] = {"boxes": {np.int64(2): boxes}, "points": {"1": points, 2: [np.array([3, 2, 1])]}}
    image = np.zeros((8, 8, 8), np.uint8)
    user = make_case(image, SPACING, ["liver", "spleen"], **given).user
    clicks = {1: (Point((1, 2, 3), False),), 2: (Point((3, 2, 1), True),)}
    assert user == UserPrompts(None, {2: (VoxelBox((0, 1, 2), (3, 4, 5)),)}, clicks)
    alone = make_case(image, SPACING, {7: "liver"}, boxes=boxes, points=points).user
    assert (set(alone.boxes), set(alone.points)) == ({7}, {7})


def test_what_the_weights_cannot_use_is_told(image: np.ndarray) -> None:
    model = make_model(Bright())
    model.engine.mask_stage = "off"  # weights without spatial prompts
    plain = model.segment(image, SPACING, ["liver"], modality="CT")
    given: dict[str, Any] = {"boxes": [(4, 4, 4, 14, 14, 99)], "points": [(5, 5, 5)]}
    result = model.segment(image, SPACING, ["liver"], modality="CT", **given)
    np.testing.assert_array_equal(result.labels, plain.labels)
    assert result.report["fallbacks"] == []
    assert [note for note in result.report["notes"] if "not used" in note] == [
        "the user's boxes are not used: the weights fakes take none",
        "the user's points are not used: the weights fakes take none",
    ]
    assert any("clipped to the volume" in note for note in result.report["notes"])

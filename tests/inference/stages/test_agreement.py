"""How well what was found by a name agrees with marks: hand-made probabilities."""

import numpy as np
import pytest

from vesal.inference.data.user_prompts import Point, UserMask, UserPrompts, VoxelBox
from vesal.inference.geometry.views import View
from vesal.inference.stages.agreement import CORRECTION, ByName, agreement, certainty, highest

SHAPE = (16, 16, 16)
CUBE = (slice(4, 12),) * 3
VIEW = View((0.0, 0.0, 0.0), (1.0, 1.0, 1.0), SHAPE, 0, 0)
CLICK = UserPrompts(points={1: (Point((8, 8, 8), True),)})
BOX = UserPrompts(boxes={1: (VoxelBox((4, 4, 4), (12, 12, 12)),)})


def by_name(part: tuple[slice, ...] = CUBE, probability: float = 1.0) -> ByName:
    out = np.zeros(SHAPE, np.float32)
    out[part] = probability
    return ByName(out, 0.5, VIEW)


def labels(part: tuple[slice, ...]) -> UserMask:
    out = np.zeros(SHAPE, np.uint16)
    out[part] = 1
    return UserMask(out, (1,), "here")


@pytest.mark.parametrize("user", [CLICK, BOX, UserPrompts(labels(CUBE))], ids=["click", "box", "mask"])
def test_the_whole_component_counts_and_not_its_middle_alone(user: UserPrompts) -> None:
    sure, unsure = by_name(), by_name(probability=0.6)
    unsure.probability[6:11, 6:11, 6:11] = 1
    assert agreement(sure, user, 1) == pytest.approx(1)
    assert 0.6 < agreement(unsure, user, 1) < 0.8


def test_a_target_that_another_one_has_more_of_agrees_less() -> None:
    shown, other = by_name(), by_name(probability=0.8)
    other.probability[7:10, 7:10, 7:10] = 1
    most = highest([shown, other])[shown.grid]
    assert agreement(shown, CLICK, 1, most) == pytest.approx(1)
    assert agreement(other, CLICK, 1, most) < agreement(other, CLICK, 1) - 0.2


def test_mask_and_box_are_on_one_scale_with_either_alone() -> None:
    half = (slice(4, 12), slice(4, 12), slice(4, 8))
    mask = UserPrompts(labels(half))
    both = UserPrompts(labels(half), BOX.boxes)
    by_mask, by_both = agreement(by_name(), mask, 1), agreement(by_name(), both, 1)
    assert by_mask == pytest.approx(2 / 3) and by_both == pytest.approx((2 / 3) ** 0.5)
    apart = UserPrompts(labels((slice(0, 2),) * 3), BOX.boxes)
    assert agreement(by_name(), apart, 1) == 0


def test_clicks_beside_a_mask_say_nothing_of_the_name_and_beside_a_box_little() -> None:
    wrong = {1: (Point((8, 8, 8), False), Point((1, 1, 1), True))}
    masked = UserPrompts(labels(CUBE), points=wrong)
    assert agreement(by_name(), masked, 1) == agreement(by_name(), UserPrompts(labels(CUBE)), 1)
    boxed = agreement(by_name(), UserPrompts(boxes=BOX.boxes, points=wrong), 1)
    assert boxed == pytest.approx(1 - CORRECTION)


def test_a_box_of_one_slice_is_compared_with_the_largest_slice() -> None:
    leaning = np.zeros(SHAPE, np.float32)
    for d in range(4, 12):
        leaning[d, 4 : 8 if d != 8 else 9, d : d + 4] = 1
    found = ByName(leaning, 0.5, VIEW)
    open_box = VoxelBox((4, 4, 8), (12, 9, 12), (1, 2))
    closed = UserPrompts(boxes={1: (VoxelBox(open_box.start, open_box.stop),)})
    assert agreement(found, UserPrompts(boxes={1: (open_box,)}), 1) == pytest.approx(1)
    assert agreement(found, closed, 1) < 0.5


def test_what_is_found_only_faintly_agrees_little() -> None:
    for user in (CLICK, BOX):
        assert 0 < agreement(by_name(probability=0.3), user, 1) < 0.3
    assert agreement(by_name(probability=0.05), BOX, 1) == 0
    assert agreement(by_name(), UserPrompts(), 1) == 0
    assert certainty(np.ones(SHAPE, np.float32), np.zeros(SHAPE, bool)) == pytest.approx(0.1)

"""User prompts as one value: what there is of them, parts of it, and the same turned around."""

import numpy as np

from vesal.inference.data.user_prompts import Point, UserMask, UserPrompts, VoxelBox, not_used

SHAPE = (3, 4, 5)
LABELS = np.zeros(SHAPE, np.uint16)
LABELS[0, 1, 2], LABELS[2, 3, 4] = 1, 7
BOX, POINT = VoxelBox((0, 1, 2), (1, 3, 5)), Point((0, 1, 4), True)
USER = UserPrompts(UserMask(LABELS, (1, 7), "here"), {1: (BOX,), 7: (BOX, BOX)}, {7: (POINT,)})


def test_kinds_and_ids_are_those_that_there_are():
    assert USER.kinds() == ("mask", "boxes", "points")
    assert [USER.ids(kind) for kind in USER.kinds()] == [(1, 7), (1, 7), (7,)]
    assert UserPrompts().kinds() == () and UserPrompts().ids("mask") == ()


def test_a_part_of_the_prompts_keeps_what_is_theirs():
    part = USER.of([1])
    assert part.mask.ids == (1,) and part.mask.labels is LABELS
    assert part.boxes == {1: (BOX,)} and not part.points
    assert USER.of([2]) == UserPrompts()


def test_kinds_are_left_out():
    assert USER.without(("mask", "points")) == UserPrompts(boxes=USER.boxes)
    assert USER.without(()) == USER and USER.without(("boxes",)).kinds() == ("mask", "points")


def test_reversed_boxes_and_points_hold_the_same_voxels():
    """Seen on an array in which every voxel has its own number."""
    volume = np.arange(60).reshape(SHAPE)
    turned = USER.reversed(SHAPE, (0, 2))
    box, point = turned.boxes[1][0], turned.points[7][0]
    assert box == VoxelBox((2, 1, 0), (3, 3, 3)) and point == Point((2, 1, 0), True)
    inside = tuple(slice(a, b) for a, b in zip(box.start, box.stop, strict=True))
    assert set(volume[::-1, :, ::-1][inside].flat) == set(volume[0:1, 1:3, 2:5].flat)
    assert volume[::-1, :, ::-1][point.voxel] == volume[POINT.voxel]
    assert np.array_equal(turned.mask.labels, LABELS[::-1, :, ::-1]) and turned.mask.labels.flags.c_contiguous


def test_reversed_twice_is_as_before():
    twice = USER.reversed(SHAPE, (1,)).reversed(SHAPE, (1,))
    assert (twice.boxes, twice.points) == (USER.boxes, USER.points)
    assert np.array_equal(twice.mask.labels, LABELS)
    assert USER.reversed(SHAPE, ()).mask is USER.mask


def test_what_is_not_used_is_said_in_one_sentence():
    assert not_used("mask", "why") == "the user's mask is not used: why"
    assert not_used("boxes", "why") == "the user's boxes are not used: why"

"""Targets that lie together share a view; those of which it would be coarser do not."""

import pytest

from vesal.inference.geometry.fit import fit_view
from vesal.inference.geometry.view_groups import bounding_box, group, spacing_over
from vesal.inference.geometry.views import Box

VOXELS = 32**3


def cube(start: float, side: float) -> Box:
    """A cube on the diagonal."""
    return Box((start,) * 3, (start + side,) * 3)


def test_the_box_around_some_holds_each() -> None:
    boxes = [Box((1.0, 5.0, 2.0), (3.0, 6.0, 9.0)), Box((0.0, 7.0, 4.0), (2.0, 8.0, 5.0))]
    assert bounding_box(boxes) == Box((0.0, 5.0, 2.0), (3.0, 8.0, 9.0))


@pytest.mark.parametrize(
    ("box", "spacing", "finest", "expected"),
    [
        (cube(0, 64), (1.0, 1.0, 1.0), 0.0, 2.0),  # 64 mm in 32 voxels
        (cube(0, 16), (1.0, 1.0, 1.0), 0.0, 1.0),  # never finer than acquired
        (cube(0, 16), (1.0, 1.0, 1.0), 1.5, 1.5),  # nor than wanted
        # 8 slices of 8 mm keep their spacing: 4,096 voxels are left for 128 x 128 mm, so 2 mm.
        (Box((0.0, 0.0, 0.0), (8.0, 128.0, 128.0)), (8.0, 1.0, 1.0), 0.0, 2.0),
        (Box((0.0, 0.0, 0.0), (2.0, 2.0, 2.0)), (8.0, 1.0, 1.0), 0.0, 1.0),
    ],
)
def test_a_spacing_follows_from_the_box(
    box: Box, spacing: tuple[float, float, float], finest: float, expected: float
) -> None:
    assert spacing_over(box, spacing, VOXELS, finest) == pytest.approx(expected)


def test_the_spacing_is_about_that_of_the_view_itself() -> None:
    """But for the rounding of sides up to multiples of 16, which costs at most a multiple an axis."""
    box, spacing = Box((3.0, 10.0, 0.0), (90.0, 170.0, 140.0)), (2.5, 0.9, 0.9)
    view = fit_view(box, spacing, 56**3)
    assert 1 <= min(view.spacing_mm(spacing)) / spacing_over(box, spacing, 56**3) < 1.35


def test_neighbours_share_a_view_and_far_ones_do_not() -> None:
    boxes = [cube(0, 10), cube(100, 10), cube(12, 10), cube(112, 10)]
    native = (1.0, 1.0, 1.0)
    assert group(boxes, native, 16**3, 8, 1.25) == [(0,), (1,), (2,), (3,)], "22 voxels a pair are too many"
    assert group(boxes, native, 16**3, 8, 1.4) == [(0, 2), (1, 3)], "22 / 16 times coarser"
    assert group(boxes, native, VOXELS, 8, 1.25) == [(0, 2), (1, 3)], "each pair at its own grid"
    assert group(boxes, native, 128**3, 8, 1.25) == [(0, 1, 2, 3)], "everything at its own grid"


def test_a_small_target_inside_a_large_one_keeps_its_own_view() -> None:
    boxes = [cube(0, 200), cube(90, 10)]
    assert group(boxes, (1.0, 1.0, 1.0), VOXELS, 8, 1.25) == [(0,), (1,)]
    assert group(boxes, (1.0, 1.0, 1.0), VOXELS, 8, 7.0) == [(0, 1)]


def test_a_view_holds_no_more_targets_than_allowed() -> None:
    assert group([cube(0, 10)] * 5, (1.0, 1.0, 1.0), VOXELS, 2, 1.25) == [(0, 1), (2, 3), (4,)]


def test_what_nothing_is_known_of_joins_the_view_that_shows_most() -> None:
    boxes = [cube(0, 10), None, cube(100, 60)]
    assert group(boxes, (1.0, 1.0, 1.0), VOXELS, 8, 1.25) == [(0,), (1, 2)]
    assert group([None, None, None], (1.0, 1.0, 1.0), VOXELS, 2, 1.25) == [(0, 1), (2,)]
    assert group([cube(0, 10), None, None], (1.0, 1.0, 1.0), VOXELS, 2, 1.25) == [(0, 1), (2,)]
    assert group([], (1.0, 1.0, 1.0), VOXELS, 2, 1.25) == []


def test_every_target_is_in_one_group_whatever_their_order() -> None:
    boxes = [cube(7 * i % 50, 5 + 3 * (i % 4)) if i % 5 else None for i in range(40)]
    groups = group(boxes, (1.0, 1.0, 1.0), VOXELS, 8, 1.25)
    assert sorted(i for members in groups for i in members) == list(range(40))
    assert max(map(len, groups)) <= 8

"""Round objects that touch are separated; what is small beside them is a speck."""

import subprocess
import sys

import numpy as np
import pytest

from vesal.postprocess.round_objects import RoundObjects, cut_round_objects
from vesal.postprocess.rule import ClassPart

MM = (1.0, 1.0, 1.0)
RULE = RoundObjects()


def balls(*centres_and_radii, shape=(24, 40, 60), spacing_dhw_mm=MM) -> np.ndarray:
    """(D, H, W) bool; centres and radii in mm."""
    grid = [np.arange(n) * mm for n, mm in zip(shape, spacing_dhw_mm, strict=True)]
    z, y, x = np.meshgrid(*grid, indexing="ij")
    found = [(z - a) ** 2 + (y - b) ** 2 + (x - c) ** 2 <= radius**2 for a, b, c, radius in centres_and_radii]
    return np.any(found, axis=0)


@pytest.mark.parametrize("scale", [1, 2])
def test_two_balls_that_touch_are_two_of_any_size(scale: int) -> None:
    """Depth and specks are shares of the size: twice as large, the same answer."""
    shape = (12 * scale, 20 * scale, 32 * scale)
    mask = balls(*((6 * scale, 10 * scale, x * scale, 5 * scale) for x in (8, 17)), shape=shape)
    cut = cut_round_objects(mask, MM, RULE)
    assert len(cut.sizes) == 2
    assert np.array_equal(cut.pieces > 0, mask)
    assert cut.pieces[6 * scale, 10 * scale, 8 * scale] != cut.pieces[6 * scale, 10 * scale, 17 * scale]


def test_the_distance_is_in_millimetres() -> None:
    """The same balls in slices three times as thick."""
    spacing = (3.0, 1.0, 1.0)
    mask = balls((18, 18, 18, 11), (18, 18, 38, 11), shape=(12, 36, 58), spacing_dhw_mm=spacing)
    assert len(cut_round_objects(mask, spacing, RULE).sizes) == 2


def test_one_ball_and_a_volume_full_of_foreground_stay_one() -> None:
    assert len(cut_round_objects(balls((12, 20, 30, 9)), MM, RULE).sizes) == 1
    full = cut_round_objects(np.ones((4, 5, 6), bool), MM, RULE)
    assert len(full.sizes) == 1 and full.pieces.all()
    assert len(cut_round_objects(np.zeros((4, 5, 6), bool), MM, RULE).sizes) == 0


def test_a_speck_is_dropped_but_half_an_object_at_the_border_is_none() -> None:
    mask = balls((12, 20, 20, 8), (12, 33, 45, 2), (12, 20, 61, 4))
    cut = cut_round_objects(mask, MM, RULE)
    assert len(cut.sizes) == 2
    assert cut.pieces[12, 33, 45] == 0
    assert cut.pieces[12, 20, 59] > 0


def test_without_time_components_stay_whole_and_are_counted() -> None:
    mask = balls((12, 20, 12, 7), (12, 20, 24, 7), (12, 20, 46, 7))
    asked = []
    cut = cut_round_objects(mask, MM, RULE, lambda seconds: bool(asked.append(seconds)))
    assert (len(cut.sizes), cut.left_whole) == (2, 2)
    assert asked == sorted(asked, reverse=True) and min(asked) > 0
    assert np.array_equal(cut.pieces > 0, mask)


def test_only_the_largest_is_separated_where_time_is_for_one() -> None:
    mask = balls((12, 20, 12, 7), (12, 20, 24, 7), (12, 20, 46, 7))
    times = iter([True, False])
    cut = cut_round_objects(mask, MM, RULE, lambda seconds: next(times))
    assert (len(cut.sizes), cut.left_whole) == (3, 1)


def test_the_rule_takes_its_own_class_alone() -> None:
    labels = balls((12, 20, 12, 7), (12, 20, 24, 7)).astype(np.uint8) * 3
    labels[12, 20, 40:50] = 9
    before = labels.copy()
    cut = RULE.cut(ClassPart(labels, labels.astype(np.float16), 3, MM), lambda seconds: True)
    assert len(cut.sizes) == 2
    assert np.array_equal(labels, before)
    assert np.array_equal(cut.pieces > 0, labels == 3)


def test_the_same_mask_gives_the_same_bytes_turned_or_not_it_gives_as_many() -> None:
    mask = balls((9, 12, 12, 7), (12, 20, 22, 7), (14, 28, 32, 6), (12, 20, 36, 7))
    first, again = (cut_round_objects(mask.copy(), MM, RULE).pieces.tobytes() for _ in range(2))
    assert first == again
    assert len(cut_round_objects(mask[::-1].copy(), MM, RULE).sizes) == len(
        cut_round_objects(mask, MM, RULE).sizes
    )


def test_distances_are_imported_only_where_objects_are_cut() -> None:
    """The cold start of other cases does not pay for it."""
    code = "import sys, vesal.postprocess, vesal.inference.api; sys.exit('edt' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_sizes_are_those_of_the_pieces() -> None:
    cut = cut_round_objects(balls((12, 20, 12, 7), (12, 20, 24, 7), (12, 20, 46, 6)), MM, RULE)
    assert cut.sizes.tolist() == np.bincount(cut.pieces.ravel())[1:].tolist()


def test_a_small_hole_splits_no_object_but_stays_a_hole() -> None:
    """Holes in the middle of a ball make a shell of it, whose distance has many maxima."""
    mask = balls((12, 20, 20, 9), shape=(24, 40, 40))
    mask[11:14, 18:21, 18:24] = False
    cut = cut_round_objects(mask, MM, RULE)
    assert len(cut.sizes) == 1
    assert np.array_equal(cut.pieces > 0, mask)


def test_large_objects_are_cut_on_blocks_into_connected_pieces() -> None:
    import cc3d

    at = [(16, 20, 20), (17, 47, 21), (16, 33, 43), (17, 60, 44)]
    mask = balls(*((*centre, 14) for centre in at), shape=(34, 78, 62))
    asked: list[float] = []
    cut = cut_round_objects(mask, MM, RULE, lambda seconds: not asked.append(seconds))
    assert len(cut.sizes) == 4
    assert len({int(cut.pieces[centre]) for centre in at} - {0}) == 4
    _, parts = cc3d.connected_components(cut.pieces, connectivity=6, return_N=True)
    assert parts == 4
    assert cut.sizes.sum() >= 0.999 * mask.sum()
    whole = cut_round_objects(mask, (1.0, 1.0, 1.0), RULE, lambda seconds: False)
    assert whole.left_whole == 1
    assert asked[0] < 2e-7 * mask.size, "the blocks are what takes time"


def test_a_component_that_was_left_whole_makes_no_specks_of_the_others() -> None:
    mask = balls((12, 20, 12, 7), (12, 20, 24, 7), (12, 20, 46, 7))
    times = iter([False, True])
    cut = cut_round_objects(mask, MM, RULE, lambda seconds: next(times))
    assert (len(cut.sizes), cut.left_whole) == (2, 1)

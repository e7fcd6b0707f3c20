"""Distances to the border, and the faces where objects touch, by hand."""

import numpy as np

from vesal.training.object_targets import border_distance, touching_faces

MM = (1.0, 1.0, 1.0)


def slabs(text: str) -> np.ndarray:
    """A row of objects, a digit each, in the middle of a wide volume: no other border is as near."""
    row = np.array([int(c) for c in text], np.uint8)
    return np.broadcast_to(row, (9, 9, len(row))).copy()


def test_another_object_is_a_border_and_the_longest_way_is_one() -> None:
    inner = border_distance(slabs("0111112220"), MM)[4, 4]
    np.testing.assert_allclose(inner, [0, 1 / 3, 2 / 3, 1, 2 / 3, 1 / 3, 0.5, 1, 0.5, 0])


def test_what_the_volume_cuts_goes_on() -> None:
    np.testing.assert_allclose(border_distance(slabs("11100"), MM)[4, 4], [1, 2 / 3, 1 / 3, 0, 0])


def test_thick_slices_are_longer_ways() -> None:
    labels = np.zeros((5, 9, 9), np.uint8)
    labels[1:4, 2:7, 2:7] = 1
    inner = border_distance(labels, (4.0, 1.0, 1.0))
    np.testing.assert_allclose(inner[2, 4, 2:7], [1 / 3, 2 / 3, 1, 2 / 3, 1 / 3])
    np.testing.assert_allclose(inner[1, 4, 2:7], [1 / 3, 2 / 3, 1, 2 / 3, 1 / 3])
    np.testing.assert_allclose(border_distance(labels, MM)[1, 4, 4], 0.5)


def test_nothing_and_everything() -> None:
    assert not border_distance(np.zeros((3, 3, 3), np.uint8), MM).any()
    assert (border_distance(np.full((3, 3, 3), 7, np.uint16), MM) == 1).all()
    assert not touching_faces(slabs("0110220")).any()


def test_numbers_need_not_follow_each_other() -> None:
    sparse = slabs("0111112220").astype(np.uint32) * 60000
    np.testing.assert_array_equal(border_distance(sparse, MM), border_distance(slabs("0111112220"), MM))


def test_faces_are_on_both_sides() -> None:
    assert touching_faces(slabs("0112203"))[4, 4].tolist() == [False, False, True, True, False, False, False]

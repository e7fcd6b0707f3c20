"""Specks: the published code's results, and its edges."""

import numpy as np
import pytest

from vesal.postprocess.checks import ArrayShapeError
from vesal.postprocess.specks import Specks, remove_small, remove_specks


def test_all_8_recorded_masks_are_reproduced(shared):
    known = np.load(shared / "fixtures" / "medals" / "small_objects.npz")
    assert len(known.files) == 16
    for i in range(8):
        assert np.array_equal(remove_specks(known[f"in{i}"], 10), known[f"out{i}"]), i


def test_ten_voxels_stay_and_nine_go():
    mask = np.zeros((1, 3, 30), np.uint8)
    mask[0, 0, :10] = 1
    mask[0, 0, 11:20] = 1
    assert remove_specks(mask).sum() == 10
    assert remove_specks(mask)[0, 0, :10].all()


def test_labels_count_together():
    labels = np.zeros((1, 1, 12), np.uint8)
    labels[0, 0, :9] = 1
    labels[0, 0, 9] = 2
    assert remove_specks(labels).sum() == 10


def test_touching_corners_do_not_join():
    mask = np.zeros((1, 2, 20), bool)
    mask[0, 0, :9] = mask[0, 1, 9:18] = True
    assert not remove_specks(mask).any()


def test_an_empty_mask_stays_empty_and_one_voxel_may_be_wanted():
    assert not remove_specks(np.zeros((3, 3, 3), bool)).any()
    one = np.zeros((3, 3, 3), bool)
    one[1, 1, 1] = True
    assert remove_specks(one, 1).sum() == 1


def test_two_axes_are_refused():
    with pytest.raises(ArrayShapeError):
        remove_specks(np.zeros((3, 3), bool))


def test_components_small_beside_the_largest_of_their_class_go() -> None:
    labels = np.zeros((1, 1, 40), np.uint8)
    labels[..., :20], labels[..., 22:24], labels[..., 26:27], labels[..., 30:31] = 2, 2, 2, 5
    remove_small(labels, 2, 0.1)
    assert np.flatnonzero(labels[0, 0] == 2).tolist() == [*range(20), 22, 23]
    assert labels[0, 0, 30] == 5
    remove_small(labels, 7, 0.1)
    assert Specks(kinds=("organ",)).min_share == 0.1

"""Competition between classes in one slice."""

import numpy as np
import pytest

from vesal.postprocess.checks import ArrayShapeError
from vesal.postprocess.slice_nms import SliceNms, slice_nms


def two_classes(first, second):
    """(2,1,1,n) probabilities of two classes in one slice."""
    return np.array([first, second], np.float32)[:, None, None, :]


def test_of_two_overlapping_masks_the_stronger_stays():
    same = two_classes([0.9, 0.9, 0.9], [0.8, 0.8, 0.8])
    assert slice_nms(same).ravel().tolist() == [True, False]
    assert slice_nms(same, np.array([[0.5], [1.0]])).ravel().tolist() == [False, True], ".45 against .8"


def test_masks_that_share_half_of_their_union_or_less_both_stay():
    half = two_classes([0.9, 0.9, 0.9, 0.0], [0.0, 0.8, 0.8, 0.8])
    assert slice_nms(half).all(), "2 of 4 voxels shared is not above 0.5"
    assert not slice_nms(half, iou_threshold=0.49).all()


def test_a_dropped_class_suppresses_no_other():
    a, b, c = [1.0, 1.0, 1.0, 0, 0], [0, 0.9, 0.9, 0.9, 0], [0, 0, 0.8, 0.8, 0.8]
    chain = np.array([a, b, c], np.float32)[:, None, None, :]
    assert slice_nms(chain, iou_threshold=0.4).ravel().tolist() == [True, False, True]


def test_slices_are_judged_one_by_one():
    strong_then_weak = np.stack([two_classes([0.9], [0.6])[:, 0], two_classes([0.6], [0.9])[:, 0]], axis=1)
    assert slice_nms(strong_then_weak).tolist() == [[True, False], [False, True]]


def test_equal_strength_keeps_the_first_and_empty_masks_stay():
    assert slice_nms(two_classes([0.9], [0.9])).ravel().tolist() == [True, False]
    assert slice_nms(two_classes([0.0], [0.0])).all()
    assert slice_nms(np.ones((1, 2, 1, 1))).all()
    assert slice_nms(np.zeros((2, 0, 3, 3))).shape == (2, 0)


def test_shapes_that_do_not_fit_are_named():
    with pytest.raises(ArrayShapeError, match=r"presence has shape \(1, 2\), but probabilities"):
        slice_nms(np.zeros((1, 3, 1, 1)), np.zeros((1, 2)))
    with pytest.raises(ArrayShapeError, match=r"wanted 4 axes"):
        slice_nms(np.zeros((3, 1, 1)))


def test_the_rule_hands_its_threshold_on():
    half = two_classes([0.9, 0.9, 0.9, 0.0], [0.0, 0.8, 0.8, 0.8])
    present = np.ones((2, 1))
    assert SliceNms(iou=0.5).keep(half, present).all()
    assert SliceNms(iou=0.49).keep(half, present).ravel().tolist() == [True, False]
    assert SliceNms().competes and not SliceNms().needs_presence

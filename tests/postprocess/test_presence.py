"""Presence per slice."""

import numpy as np
import pytest

from vesal.postprocess.checks import ArrayShapeError
from vesal.postprocess.presence import Presence, present_slices


def test_the_threshold_itself_means_absent():
    assert present_slices(np.array([[0.2, 0.3]]), threshold=0.2).tolist() == [[False, True]]


def test_what_nobody_measured_is_present():
    assert present_slices(np.array([[0.9, 0.5, 0.51], [0.0, 1.0, np.nan]])).tolist() == [
        [True, False, True],
        [False, True, True],
    ]
    assert present_slices(np.zeros((0, 2))).shape == (0, 2)


def test_shapes_that_do_not_fit_are_named():
    with pytest.raises(ArrayShapeError, match=r"presence has shape \(3,\); wanted 2 axes"):
        present_slices(np.zeros(3))


def test_the_rule_asks_presence_alone():
    planes = np.zeros((1, 3, 2, 2), np.float32)
    rule = Presence(threshold=0.2)
    assert rule.keep(planes, np.array([[0.1, 0.2, 0.3]])).tolist() == [[False, False, True]]
    assert rule.needs_presence and not rule.competes

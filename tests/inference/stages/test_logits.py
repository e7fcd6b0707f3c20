"""Windows whose logits are averaged, and regions that a family takes itself."""

import numpy as np
import pytest

from vesal.inference.geometry.tilings import SliceTiling
from vesal.inference.geometry.views import View
from vesal.inference.planning.rules import NativeLabels
from vesal.inference.stages.label_map import LabelMap
from vesal.inference.stages.logits import to_logits, to_probabilities
from vesal.inference.stages.sliding_window import Prediction, Slices, run_windows


def test_logits_are_averaged_and_not_probabilities() -> None:
    view = View((0.0,) * 3, (1.0,) * 3, (3, 1, 1), 0, 0, SliceTiling(0, 2, 0))
    answers = {0: 8.0, 1: -2.0}

    def predict(at: Slices) -> Prediction:
        return np.full((1, 2, 1, 1), answers[at[1].start], np.float32), None, None

    corners = view.tiling.corners(view, (2, 1, 1), 0.0)
    found = run_windows(predict, view, (2, 1, 1), corners, 1, finish=to_probabilities).probability
    wanted = 1 / (1 + np.exp(-np.array([8.0, 3.0, -2.0])))
    np.testing.assert_allclose(np.asarray(found).ravel(), wanted, rtol=1e-6)


def test_a_single_window_is_finished_too() -> None:
    view = View((0.0,) * 3, (1.0,) * 3, (2, 1, 1), 0, 0)
    answer = np.zeros((1, 2, 1, 1), np.float32)
    found = run_windows(
        lambda at: (answer, None, None), view, (2, 1, 1), [(0, 0, 0)], 1, finish=to_probabilities
    )
    np.testing.assert_array_equal(np.asarray(found.probability), 0.5)


def test_logits_and_back() -> None:
    values = np.array([0.0, 0.01, 0.5, 0.99, 1.0], np.float32)
    np.testing.assert_allclose(to_probabilities(to_logits(values)), values, atol=2e-7)
    with np.errstate(all="raise"):
        assert to_probabilities(np.array([-1e4, 1e4], np.float32)).tolist() == [0.0, 1.0]


@pytest.mark.parametrize(("second", "wins"), [(0.6, 1), (0.9, 2)])
def test_labels_that_are_laid_over_others_win_where_they_are_more_probable(second: float, wins: int) -> None:
    labels = LabelMap((1, 1, 2), 2)
    for label, probability in ((1, 0.8), (2, second)):
        here = np.full((1, 1, 1), label, np.uint8)
        labels.put(NativeLabels((0, 0, 0), here, np.full((1, 1, 1), probability, np.float32)))
    assert labels.labels.ravel().tolist() == [wins, 0]

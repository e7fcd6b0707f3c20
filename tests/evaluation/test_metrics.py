"""Scores that a hand can compute."""

from math import isnan

import numpy as np
import pytest

from vesal.evaluation.errors import PredictionError
from vesal.evaluation.metrics import dice, score_case, score_instances, score_semantic

ONE_MM = (1.0, 1.0, 1.0)


def volume(**voxels):
    """A (4,4,4) uint16 map; `at_zyx=id` sets one voxel."""
    labels = np.zeros((4, 4, 4), np.uint16)
    for place, label in voxels.items():
        labels[tuple(int(c) for c in place.removeprefix("at_"))] = label
    return labels


def test_dice_is_twice_the_shared_voxels_over_all():
    a, b = np.array([True, True, True, False]), np.array([False, True, True, True])
    assert dice(a, b) == pytest.approx(4 / 6)
    assert dice(a, a) == 1.0
    assert dice(a, ~a & False) == 0.0
    assert isnan(dice(a & False, a & False))


def test_classes_have_ids_above_255_and_may_be_absent():
    truth = volume(at_000=300, at_001=300, at_011=7)
    prediction = volume(at_000=300)
    classes = score_semantic(prediction, truth, [7, 200, 300], ONE_MM).classes
    assert classes[300].dsc == pytest.approx(2 / 3)
    assert classes[7].dsc == 0.0
    assert isnan(classes[200].dsc)


def test_a_class_that_is_only_predicted_scores_zero_and_one_that_neither_has_is_left_out():
    truth, prediction = volume(at_111=1), volume(at_111=1, at_222=2)
    score = score_semantic(prediction, truth, [1, 2, 3], ONE_MM)
    assert score.dsc == 0.5 and score.nsd == 0.5
    assert (score.classes[2].dsc, score.classes[2].nsd) == (0.0, 0.0)
    assert isnan(score.classes[3].dsc) and isnan(score.classes[3].nsd)
    assert isnan(score.f1)


def test_labels_that_nobody_asked_for_are_ignored():
    score = score_semantic(volume(at_111=1, at_000=9), volume(at_111=1, at_333=8), [1], ONE_MM)
    assert (score.dsc, score.nsd, list(score.classes)) == (1.0, 1.0, [1])


def test_empty_against_empty_has_no_score():
    score = score_semantic(volume(), volume(), [1], ONE_MM)
    assert isnan(score.dsc) and isnan(score.nsd)


def test_objects_are_found_invented_and_missed():
    truth = volume(at_000=1, at_001=1, at_003=2, at_333=300)
    prediction = volume(at_000=9, at_001=9, at_333=4, at_222=5)
    score = score_instances(prediction, truth)
    assert (score.tp, score.fp, score.fn) == (2, 1, 1)
    assert score.f1 == pytest.approx(2 / 3)
    assert score.dsc_tp == 1.0
    assert isnan(score.dsc)


def test_an_overlap_of_exactly_one_half_counts():
    truth, prediction = volume(at_000=1, at_001=1), volume(at_001=1)
    score = score_instances(prediction, truth)
    assert score.tp == 1
    assert score.dsc_tp == pytest.approx(2 / 3)
    assert score_instances(prediction, volume(at_000=1, at_001=1, at_002=1)).tp == 0


def test_matching_is_optimal_not_greedy():
    row = np.zeros((3, 1, 1, 8), np.uint8)
    truth, prediction = row[0], row[1]
    truth[0, 0] = [1, 1, 1, 1, 2, 2, 2, 2]
    prediction[0, 0] = [1, 1, 1, 1, 1, 1, 2, 2]
    score = score_instances(prediction, truth)
    assert (score.tp, score.fp, score.fn) == (2, 0, 0), "4/6 and 2/4 both reach one half"
    assert score.dsc_tp == pytest.approx((8 / 10 + 4 / 6) / 2)


def test_empty_maps_of_objects():
    empty, one = volume(), volume(at_000=1)
    missed = score_instances(empty, one)
    assert (missed.tp, missed.fp, missed.fn, missed.f1, missed.dsc_tp) == (0, 0, 1, 0.0, 0.0)
    invented = score_instances(one, empty)
    assert (invented.tp, invented.fp, invented.fn, invented.f1) == (0, 1, 0, 0.0)
    assert isnan(invented.dsc_tp)
    assert isnan(score_instances(empty, empty).f1)


def test_objects_without_background_are_all_counted():
    full = np.ones((1, 1, 2), np.uint8)
    full[0, 0, 1] = 2
    assert score_instances(full, full).tp == 2


def test_score_case_chooses_the_kind():
    one = volume(at_000=1)
    assert score_case(one, one, [1], ONE_MM, instance=True).f1 == 1.0
    assert score_case(one, one, [1], ONE_MM, instance=False).dsc == 1.0


def test_a_wrong_shape_is_named():
    with pytest.raises(PredictionError, match=r"has shape \(3, 4, 4\), the ground truth \(4, 4, 4\)"):
        score_instances(volume()[1:], volume())

"""The official script's scores, quirks included, against what its own functions returned."""

import json
from math import isnan

import numpy as np
import pytest

from vesal.evaluation.errors import OfficialScriptError
from vesal.evaluation.metrics import score_case
from vesal.evaluation.official import score_case_as_official

ONE_MM = (1.0, 1.0, 1.0)


def same(ours, theirs):
    """Equal to 1e-6; null stands for NaN."""
    return isnan(ours) if theirs is None else ours == pytest.approx(theirs, abs=1e-6)


@pytest.fixture(scope="module")
def recorded(shared):
    folder = shared / "fixtures" / "scorer"
    arrays = np.load(folder / "scorer.npz")
    rows = json.loads((folder / "scorer.json").read_text())
    return [(row, arrays[row["name"] + "_seg"], arrays[row["name"] + "_gt"]) for row in rows]


def score(row, prediction, truth, how):
    spacing_dhw_mm = tuple(row["spacing"][::-1])
    return how(prediction, truth, row["ids"], spacing_dhw_mm, bool(row["instance_label"]))


def test_every_recorded_semantic_case_agrees(recorded):
    cases = [r for r in recorded if not r[0]["instance_label"]]
    assert len(cases) == 16
    for row, prediction, truth in cases:
        official, ours = row["official"], score(row, prediction, truth, score_case_as_official)
        assert same(ours.dsc, official["DSC"]) and same(ours.nsd, official["NSD"]), row["name"]
        assert {str(i): None for i in ours.classes} == dict.fromkeys(official["per_class"]), row["name"]
        for class_id, (dsc, nsd) in official["per_class"].items():
            of_class = ours.classes[int(class_id)]
            assert same(of_class.dsc, dsc) and same(of_class.nsd, nsd), (row["name"], class_id)


def test_every_recorded_instance_case_agrees(recorded):
    cases = [r for r in recorded if r[0]["instance_label"] and "error" not in r[0]["official"]]
    assert len(cases) == 13
    for row, prediction, truth in cases:
        official, ours = row["official"], score(row, prediction, truth, score_case_as_official)
        assert (ours.tp, ours.fp, ours.fn) == (official["tp"], official["fp"], official["fn"]), row["name"]
        assert same(ours.f1, official["F1"]) and same(ours.dsc_tp, official["DSC_TP"]), row["name"]


def test_cases_on_which_the_script_raises_are_named(recorded):
    cases = [r for r in recorded if "error" in r[0]["official"]]
    assert len(cases) == 2
    for row, prediction, truth in cases:
        with pytest.raises(OfficialScriptError, match="overflows uint8"):
            score(row, prediction, truth, score_case_as_official)
        assert score(row, prediction, truth, score_case).tp is not None


def test_without_quirks_both_modes_agree(recorded):
    for row, prediction, truth in recorded:
        cubic = len(set(row["spacing"])) == 1
        if row["instance_label"] or not cubic or row["name"] in {"sem_gt_empty", "sem_extra_class_in_pred"}:
            continue
        right, official = (score(row, prediction, truth, how) for how in (score_case, score_case_as_official))
        assert same(right.dsc, None if isnan(official.dsc) else official.dsc), row["name"]
        assert same(right.nsd, None if isnan(official.nsd) else official.nsd), row["name"]


def test_the_axes_of_the_nsd_are_swapped():
    a, b = np.zeros((2, 4, 4, 4), np.uint8)
    a[1, 1, 1] = b[1, 1, 2] = 1
    spacing_dhw_mm = (5.0, 1.0, 1.0)
    assert score_case(a, b, [1], spacing_dhw_mm, False).nsd == 1.0, "one step of 1 mm"
    official = score_case_as_official(a, b, [1], spacing_dhw_mm, False)
    assert official.nsd == pytest.approx(0.5), "measured as 5 mm"


def test_ids_wrap_to_uint8():
    truth = np.array([[[300, 44, 0]]], np.uint16)
    prediction = np.array([[[300, 0, 0]]], np.uint16)
    assert score_case(prediction, truth, [44], ONE_MM, False).dsc == 0.0
    assert score_case_as_official(prediction, truth, [44], ONE_MM, False).dsc == pytest.approx(2 / 3)


def test_a_class_that_is_only_predicted_costs_nothing():
    truth, prediction = np.array([[[1, 0, 0]]]), np.array([[[1, 2, 2]]])
    assert score_case(prediction, truth, [1, 2], ONE_MM, False).dsc == 0.5
    assert score_case_as_official(prediction, truth, [1, 2], ONE_MM, False).dsc == 1.0


def test_without_background_the_smallest_label_is_skipped():
    truth = np.array([[[1, 2]]])
    assert list(score_case_as_official(truth, truth, [1, 2], ONE_MM, False).classes) == [2]
    assert list(score_case(truth, truth, [1, 2], ONE_MM, False).classes) == [1, 2]


def test_a_binary_map_is_split_only_by_the_official_script():
    truth, prediction = np.array([[[1, 0, 2]]]), np.array([[[1, 0, 1]]])
    assert score_case(prediction, truth, [1], ONE_MM, True).tp == 1, "one id is one object of two voxels"
    assert score_case_as_official(prediction, truth, [1], ONE_MM, True).tp == 2


def test_an_empty_instance_prediction_misses_nothing_officially():
    truth, empty = np.array([[[1, 0, 2]]]), np.zeros((1, 1, 3), int)
    assert score_case(empty, truth, [1], ONE_MM, True).fn == 2
    assert score_case_as_official(empty, truth, [1], ONE_MM, True).fn == 0


def test_254_objects_are_counted_and_255_are_not():
    truth = np.zeros((1, 1, 600), np.uint16)
    truth[0, 0, : 2 * 254 : 2] = np.arange(1, 255)
    assert score_case_as_official(truth, truth, [1], ONE_MM, True).f1 == 1.0
    truth[0, 0, 520] = 255
    with pytest.raises(OfficialScriptError, match="255 objects in the ground truth"):
        score_case_as_official(truth, truth, [1], ONE_MM, True)

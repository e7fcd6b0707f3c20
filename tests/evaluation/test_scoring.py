"""Whole files: what is read, what becomes a reason, and what both modes say."""

from math import isnan

import numpy as np
import pytest

from vesal.evaluation.errors import EvaluationError, GroundTruthError, PredictionError
from vesal.evaluation.files import as_labels, find_cases, read_prediction, read_truth
from vesal.evaluation.scoring import score_files
from vesal.evaluation.tables import case_rows, lost_officially
from vesal.evaluation.targets import Asked


def scored(folders):
    """Score all cases with fixed names for their targets."""
    cases = find_cases(folders["images"], folders["predictions"], folders["groundtruth"])
    return [score_files(case, lambda _: Asked("CT", {1: "liver", 300: "spleen"})) for case in cases]


def test_a_good_case_has_scores_and_no_reason(folders, put, cube):
    put("a", cube(), cube(), spacing=(0.5, 1.0, 4.0))
    (result,) = scored(folders)
    assert (result.plain.dsc, result.official.dsc, result.reason) == (1.0, 1.0, "")
    assert result.voxel_ml == pytest.approx(0.002)
    assert not result.differs


def test_both_modes_stand_side_by_side_where_they_differ(folders, put, cube):
    put(
        "a", cube(300, dtype=np.uint16), cube(300, dtype=np.uint16), prompts={300: "CT imaging of the spleen"}
    )
    (result,) = scored(folders)
    assert result.plain.dsc == 1.0
    assert isnan(result.official.dsc)
    assert result.differs


def test_a_missing_prediction_scores_zero_with_the_reason(folders, put, cube):
    put("a", cube(), None)
    put("b", cube(), None, instance=1)
    semantic, instance = scored(folders)
    assert "no prediction a.npz" in semantic.reason and semantic.plain.dsc == 0.0
    assert instance.plain.f1 == 0.0 and instance.plain.fn == 1
    assert isnan(semantic.official.dsc) and semantic.official_reason == semantic.reason


@pytest.mark.parametrize(
    ("prediction", "reason"),
    [
        (np.zeros((6, 6, 5), np.uint8), "shape (6, 6, 5)"),
        (np.zeros((6, 6), np.uint8), "shape (6, 6)"),
        (np.full((6, 6, 6), 0.5), "between whole numbers"),
        (np.full((6, 6, 6), np.nan), "values from nan"),
        (np.full((6, 6, 6), -1), "values from -1"),
        (np.full((6, 6, 6), 1j), "type complex128"),
        (np.full((6, 6, 6), "1"), "type <U1"),
        (np.full((6, 6, 6), None), "objects"),
    ],
)
def test_what_is_no_label_map_is_named_and_scores_zero(folders, put, cube, prediction, reason):
    put("a", cube(), prediction)
    (result,) = scored(folders)
    assert reason in result.reason
    assert result.plain.dsc == 0.0


def test_a_file_that_is_no_archive_or_lacks_the_key_is_named(folders, put, cube):
    put("a", cube(), None)
    (folders["predictions"] / "a.npz").write_bytes(b"not a zip")
    assert "not the zip archive" in scored(folders)[0].reason
    np.savez(folders["predictions"] / "a.npz", masks=cube())
    assert "'segs'" in scored(folders)[0].reason


def test_an_unusable_ground_truth_or_volume_has_no_score_at_all(folders, put, cube):
    put("a", None, cube())
    put("b", cube()[:5], cube())
    put("c", cube(), cube())
    np.savez(folders["groundtruth"] / "b.npz", gts=cube())
    (folders["images"] / "c.npz").write_bytes(b"")
    for result, reason in zip(
        scored(folders), ["no ground truth a.npz", "different cases", "0 bytes"], strict=True
    ):
        assert reason in result.reason
        assert isnan(result.plain.dsc) and not result.plain.classes


def test_floats_that_are_whole_numbers_pass():
    labels = as_labels(np.full((1, 1, 2), 3.0), "it")
    assert labels.dtype == np.uint8 and labels.tolist() == [[[3, 3]]]
    assert as_labels(np.zeros((0, 1, 1)), "it").dtype == np.uint8


def test_absurd_labels_are_refused_before_a_table_is_made_of_them():
    with pytest.raises(PredictionError, match=r"wanted labels 0\.\."):
        as_labels(np.full((1, 1, 1), 2**31), "it")


def test_readers_raise_their_own_errors(tmp_path):
    with pytest.raises(PredictionError, match="every case needs one"):
        read_prediction(tmp_path / "a.npz")
    np.savez(tmp_path / "a.npz", gts=np.full((1, 1, 1), 0.5))
    with pytest.raises(GroundTruthError, match="between whole numbers"):
        read_truth(tmp_path / "a.npz")


def test_cases_come_sorted_and_their_absence_is_named(folders, put, cube, tmp_path):
    with pytest.raises(EvaluationError, match=r"no NAME\.npz"):
        find_cases(*folders.values())
    put("b", cube(), cube())
    put("a", cube(), cube())
    assert [case.name for case in find_cases(*folders.values())] == ["a", "b"]
    one = find_cases(folders["images"] / "b.npz", folders["predictions"], folders["groundtruth"])
    assert [case.truth.name for case in one] == ["b.npz"]
    with pytest.raises(EvaluationError, match="no folder of predictions"):
        find_cases(folders["images"], tmp_path / "nowhere", folders["groundtruth"])


def test_side_files_are_no_cases_for_the_scorer_either(folders, put, cube):
    put("a", cube(), cube())
    for name in ("._a.npz", "~a.npz", "a.prompt.npz"):
        (folders["images"] / name).write_bytes(b"no case")
    assert [case.name for case in find_cases(*folders.values())] == ["a"]


def test_255_objects_score_0_officially_and_the_cases_after_them_count(folders, put, cube):
    objects = np.zeros((1, 1, 600), np.uint16)
    objects[0, 0, : 2 * 255 : 2] = np.arange(1, 256)
    put("a", objects, objects, instance=1)
    put("b", cube(), cube())
    many, after = scored(folders)
    assert (many.plain.f1, many.official.f1, many.official.dsc_tp) == (1.0, 0.0, 0.0)
    assert many.official_reason == ""
    assert "overflows uint8" in many.official_note
    assert after.official.dsc == 1.0 and lost_officially([many, after]) == []
    assert case_rows([many], official=True)[0]["Reason"] == many.official_note

"""Resampling: the recorded volumes of Medal S and SAT, label by label."""

import numpy as np

from tests.inference.families.published.recorded import arrays, rows
from vesal.inference.families.published.resampling import corner_resample, resample, resample_labels
from vesal.inference.families.published.spacing import separate_axis

LAST_DIGITS = 5e-5
"""Of 0..255: float32 sums in another order differ in their last digits."""
OTHER_ORDER = {"aniso_cur_z"}
"""Small planes, which torch sums in another order."""


def test_all_12_recorded_volumes_go_to_the_network_as_recorded(shared):
    known = arrays(shared, "resample")
    forward = [row for row in rows(shared, "resample") if "kind" not in row]
    assert len(forward) == 12
    for row in forward:
        name, shape = row["name"], tuple(row["new_shape"])
        axis = separate_axis(row["current"], row["target"], 3.0)
        assert axis == row["axis"] and (axis is not None) == row["separate_z"], name
        image = resample(known[f"{name}_img"][0], shape, axis)
        most = LAST_DIGITS if name in OTHER_ORDER else 0.0
        assert np.abs(image - known[f"{name}_img_out"][0]).max() <= most, name
        labels = resample_labels(known[f"{name}_lab"][0], shape, axis)
        assert np.array_equal(labels, known[f"{name}_seg_out"][0]), name


def test_all_7_recorded_results_come_back_as_recorded(shared):
    known = arrays(shared, "resample")
    back = [row for row in rows(shared, "resample") if "kind" in row]
    assert len(back) == 7
    for row in back:
        name, shape = row["name"], tuple(row["new_shape"])
        labels = resample_labels(known[f"{name}_lab"], shape)
        assert np.array_equal(labels, known[f"{name}_lab_out"]), name
        probability = resample(known[f"{name}_prob"], shape)
        assert np.array_equal(probability, known[f"{name}_prob_out"]), name


def test_all_4_recorded_respacings_of_sat_are_reproduced(shared):
    known = arrays(shared, "sat/respace")
    for i in range(4):
        volume, spacing = known[f"in{i}"], known[f"sp{i}"]
        shape = tuple(round(n * s) for n, s in zip(volume.shape, spacing / (1, 1, 3), strict=True))
        respaced = corner_resample(volume, shape)
        assert respaced.shape == known[f"out{i}"].shape
        assert np.abs(respaced - known[f"out{i}"]).max() < LAST_DIGITS
        back = corner_resample(known[f"lab{i}"], volume.shape, nearest=True)
        assert np.array_equal(back, known[f"labback{i}"])
        assert back.dtype == known[f"labback{i}"].dtype


def test_one_voxel_fills_everything():
    one = np.full((1, 1, 1), 7, np.uint8)
    assert (resample(one, (2, 3, 4)) == 7).all()
    assert (resample_labels(one, (2, 3, 4)) == 7).all()
    assert (corner_resample(one, (2, 3, 4)) == 7).all()


def test_labels_keep_their_type():
    labels = np.zeros((4, 4, 4), np.uint16)
    labels[2:] = 300
    out = resample_labels(labels, (8, 8, 8))
    assert out.dtype == np.uint16 and set(np.unique(out)) == {0, 300}

"""Turning of the brain, its labels, and the way of a case into the challenge's format."""

from pathlib import Path

import numpy as np
import pytest

from tests.demo.made import made_case
from vesal.demo.cases import ORIGIN_X, _as_freesurfer, _tissue_labels
from vesal.demo.convert import write_challenge_case
from vesal.demo.score import score_table
from vesal.inference.io.formats import read_case


def test_brain_axes_run_to_left_inferior_anterior() -> None:
    stored = np.zeros((2, 3, 4), np.uint8)
    stored[1, 2, 3] = 7  # the most superior, anterior, right voxel
    turned = _as_freesurfer(stored)
    assert turned.shape == (4, 2, 3)
    assert turned[0, 0, 2] == 7


def test_tissues_get_their_sides() -> None:
    width = 2 * ORIGIN_X + 1
    white, grey = np.zeros((2, width, 1, 2), np.uint8)
    white[:, 0, 0] = grey[:, 0, 1] = 255
    labels = _tissue_labels(grey, white)[:, 0]
    np.testing.assert_array_equal(labels[0], [2, 4])  # right: the axis runs to the left
    np.testing.assert_array_equal(labels[-1], [1, 3])
    np.testing.assert_array_equal(labels[ORIGIN_X], [1, 3])
    assert np.count_nonzero(labels[:, 0] == 2) == ORIGIN_X


def test_case_goes_through_the_projects_reader(tmp_path: Path) -> None:
    case = write_challenge_case(made_case(), tmp_path)
    assert case.image.dtype == np.uint8
    assert set(np.unique(case.image)) == {0, 255}
    again = read_case(tmp_path / "made.npz")
    np.testing.assert_array_equal(again.image, case.image)
    assert again.spacing_dhw_mm == (1.0, 2.0, 3.0)
    assert again.sentences == {1: "Left kidney in abdominal CT"}
    assert not again.instance


def test_score_of_half_a_box() -> None:
    demo = made_case()
    half = demo.truth.copy()
    half[3] = 0
    lines = score_table(demo, half).splitlines()
    cells = lines[1].split()[-4:]
    assert cells[0] == "0.667"  # 2 * 24 / (24 + 48)
    assert cells[2:] == ["0.1", "0.3"]  # ml: 24 and 48 voxels of 6 mm3


def test_score_only_where_there_is_a_reference() -> None:
    demo = made_case(scored=(slice(0, 5), slice(None), slice(None)))
    labels = demo.truth.copy()
    labels[5:] = 1
    assert score_table(demo, labels).splitlines()[1].split()[-4] == "1.000"


@pytest.mark.parametrize(("found", "f1"), [(1, "1.000"), (0, "0.000")])
def test_score_of_objects(found: int, f1: str) -> None:
    demo = made_case(instance=True)
    lines = score_table(demo, demo.truth * found).splitlines()
    assert lines[1].split()[-1] == str(found)
    assert lines[2].split()[-1] == f1

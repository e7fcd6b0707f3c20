"""The picture: which slices, which way up, and that a file comes out."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.demo.made import made_case
from vesal.demo.picture import _round_length, save_picture
from vesal.demo.views import make_views


def test_planes_of_a_brain() -> None:
    titles = [view.title for view in make_views(made_case())]
    assert [title.split(",")[0] for title in titles] == ["sagittal", "axial", "coronal"]


def test_a_radiologist_sees_left_on_the_right_and_the_head_on_top() -> None:
    demo = made_case()
    marked = np.zeros(demo.truth.shape, np.uint8)
    coronal = make_views(demo)[2]
    marked[-1, 0, coronal.index] = 1  # leftmost, most superior
    np.testing.assert_array_equal(np.argwhere(coronal.cut(marked)), [[0, 7]])
    assert coronal.letters() == [(0.04, 0.5, "R"), (0.96, 0.5, "L"), (0.5, 0.96, "S"), (0.5, 0.04, "I")]


def test_the_front_is_on_top_in_an_axial_slice() -> None:
    demo = made_case()
    marked = np.zeros(demo.truth.shape, np.uint8)
    axial = make_views(demo)[1]
    marked[0, axial.index, -1] = 1  # rightmost, most anterior
    np.testing.assert_array_equal(np.argwhere(axial.cut(marked)), [[0, 0]])
    assert (axial.width, axial.height) == (8.0, 36.0)


def test_without_directions_nothing_is_turned() -> None:
    demo = made_case(directions=None)
    view = make_views(demo)[0]
    np.testing.assert_array_equal(view.cut(demo.truth), demo.truth[view.index])
    assert view.letters() == []


def test_slices_lie_in_the_middle_of_the_reference() -> None:
    truth = np.zeros((8, 10, 12), np.uint8)
    truth[0:8, 4, 4] = 1
    truth[0] = 1  # the fullest slice, but at the border
    assert 2 <= make_views(made_case(truth=truth))[0].index <= 5


@pytest.mark.parametrize(("length", "wanted"), [(66, 50), (20, 20), (0.7, 0.5), (9.9, 5)])
def test_scale_bar_has_a_round_length(length: float, wanted: float) -> None:
    assert _round_length(length) == pytest.approx(wanted)


@pytest.mark.parametrize("instance", [True, False])
def test_result_shows_in_the_third_column_only(tmp_path: Path, instance: bool) -> None:
    demo = made_case(instance=instance, scored=(slice(None), slice(0, 8), slice(None)))
    image = np.zeros(demo.truth.shape, np.uint8)
    pictures = []
    for name, labels in (("without", demo.truth * 0), ("with", demo.truth)):
        save_picture(tmp_path / f"{name}.png", demo, image, labels)
        pictures.append(np.asarray(Image.open(tmp_path / f"{name}.png").convert("RGB")).astype(int))
    rows = slice(0, int(pictures[0].shape[0] * 0.85))  # above the legend
    changed = np.flatnonzero(np.abs(pictures[0] - pictures[1])[rows].sum(axis=(0, 2)))
    assert changed.size > 0
    assert changed.min() > pictures[0].shape[1] * 0.6

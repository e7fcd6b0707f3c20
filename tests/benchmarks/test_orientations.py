"""Files that say how an array lies: written as they say, and the truth told by landmarks."""

from pathlib import Path

import nibabel
import numpy as np
import pytest

from benchmarks.orientations import CLAIMS, STORED, _write, affine_of, true_axes
from tests.inference.fake_models import make_case, make_prompt
from tests.inference.io.written import load
from vesal.inference.data.orientation import CANONICAL, AxisCodes, towards
from vesal.inference.io.formats import open_case

NAMES = {1: "right kidney", 2: "left kidney", 3: "liver", 4: "stomach", 5: "urinary bladder"}
SPACING_DHW_MM = (5.0, 0.8, 0.5)


def body() -> np.ndarray:
    """(D,H,W) uint8 on the engine's axes: a voxel of each of NAMES."""
    labels = np.zeros((20, 20, 20), np.uint8)
    for id_, place in enumerate(((10, 15, 4), (10, 15, 16), (14, 8, 5), (14, 5, 12), (2, 10, 10)), 1):
        labels[place] = id_
    return labels


@pytest.mark.parametrize("codes", [*CLAIMS.values(), CANONICAL, ("I", "P", "R")], ids="".join)
def test_landmarks_tell_how_an_array_lies(codes: AxisCodes) -> None:
    labels = towards(CANONICAL, codes).turn(body())
    assert true_axes(labels, NAMES, instance=False) == "".join(codes[::-1])


def test_without_landmarks_it_is_not_known() -> None:
    assert true_axes(body(), {1: "liver"}, instance=False) == "???"
    assert true_axes(body(), NAMES, instance=True) == "???"


@pytest.mark.parametrize("stored", STORED, ids="".join)
@pytest.mark.parametrize("codes", CLAIMS.values(), ids="".join)
def test_a_file_says_what_it_should(tmp_path: Path, codes: AxisCodes, stored: AxisCodes) -> None:
    case = make_case(body(), [make_prompt(1, "liver")], SPACING_DHW_MM)
    path = _write(tmp_path, case, codes, stored)
    affine = load(path).affine
    assert nibabel.aff2axcodes(affine) == stored[::-1]
    np.testing.assert_allclose(affine, affine_of(stored, towards(codes, stored).axes(SPACING_DHW_MM)))
    with open_case(path) as reader:
        np.testing.assert_array_equal(reader.read().image, towards(codes).turn(case.image))

"""The output of a case has the shape of its file's volume."""

from pathlib import Path

import numpy as np
import pytest

from vesal.inference.data.errors import LabelMapError
from vesal.inference.output.case_output import CaseOutput

LABELS = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)


@pytest.mark.parametrize("shape", [(1, 2, 3, 4), (2, 3, 4, 1), (2, 3, 4)])
def test_axes_of_one_voxel_are_put_back(tmp_path: Path, shape: tuple[int, ...]) -> None:
    output = CaseOutput(tmp_path / "a.npz")
    output.write_zeros(shape)
    for write in (output.write_so_far, output.write_labels):
        write(LABELS)
        with np.load(tmp_path / "a.npz") as file:
            np.testing.assert_array_equal(file["segs"], LABELS.reshape(shape))


@pytest.mark.parametrize("shape", [(2, 4, 3), (3, 2, 4), (24,)])
def test_labels_of_another_shape_are_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    output = CaseOutput(tmp_path / "a.npz")
    output.write_zeros(shape)
    with pytest.raises(LabelMapError):
        output.write_labels(LABELS)

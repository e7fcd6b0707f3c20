"""`Model.segment_file` and `Result.save`: arrays as the file stores them, files with its geometry."""

from pathlib import Path

import numpy as np
import pytest

import vesal
from tests.inference.runner.own_scans import AFFINE, nifti, volume, write_scan
from vesal.inference.data.errors import NoPromptsError, UsageError


@pytest.fixture(scope="module")
def model() -> vesal.Model:
    return vesal.load("nano", threads=1)


def test_a_file_is_segmented_as_its_array_is(tmp_path: Path, model: vesal.Model) -> None:
    """Turned to the engine's axes and back: AFFINE has the rows the other way round."""
    d, h, w = np.mgrid[:12, :40, :44]
    bright = ((d - 6) / 3) ** 2 + ((h - 15) / 8) ** 2 + ((w - 25) / 9) ** 2 < 1
    noise = np.random.default_rng(1).integers(0, 16, bright.shape)
    image = np.flip(np.where(bright, 200, 40) + noise, 1).astype(np.uint8)
    scan = write_scan(tmp_path / "a.nii.gz", image)
    found = model.segment_file(scan, ["prostate"], modality="MR")
    canonical = np.ascontiguousarray(np.flip(image, 1))
    expected = model.segment(canonical, (4.0, 0.75, 0.5), ["prostate"], modality="MR")
    assert expected.labels.any()
    np.testing.assert_array_equal(found.labels, np.flip(expected.labels, 1))
    np.testing.assert_array_equal(found.mask(0), np.flip(expected.mask(0), 1))
    np.testing.assert_allclose(found.probability(0), np.flip(expected.probability(0), 1), atol=1e-6)

    found.save(tmp_path / "out.nii.gz")
    saved = nifti(tmp_path / "out.nii.gz")
    np.testing.assert_allclose(saved.affine, AFFINE)
    np.testing.assert_array_equal(np.asarray(saved.dataobj).transpose(), found.labels)
    assert (tmp_path / "out.ctbl").read_text().splitlines()[3].startswith("1 prostate ")


def test_prompts_come_from_the_file_beside_it(tmp_path: Path, model: vesal.Model) -> None:
    scan = write_scan(tmp_path / "a.nii.gz", np.tile(volume(), (3, 4, 4)))
    with pytest.raises(NoPromptsError):
        model.segment_file(scan)
    (tmp_path / "a.json").write_text('{"7": "left atrium", "instance_label": 0}')
    assert model.segment_file(scan, modality="MR").prompts[7].text == "left atrium"


def test_what_is_marked_in_the_file_and_beside_it_counts(tmp_path: Path, model: vesal.Model) -> None:
    """As with the command; a wrong box is told and costs nothing else."""
    scan, shape = tmp_path / "MR_a.npz", (12, 40, 44)
    before = np.zeros(shape, np.uint8)
    before[2:5, 5:20, 5:20] = 2
    np.savez(scan, imgs=np.zeros(shape, np.uint8), spacing=np.ones(3), prev_pred=before)
    (tmp_path / "MR_a.prompt.json").write_text('{"1": {"box": [90, 0, 0, 95, 5, 5]}}')
    found = model.segment_file(scan)
    assert [prompt.id for prompt in found.prompts] == [1, 2]
    np.testing.assert_array_equal(found.labels, before)
    (told,) = found.report["fallbacks"]
    assert "MR_a.prompt.json, prompt 1: the box from (90, 0, 0) to (95, 5, 5) lies outside" in told


def test_an_array_is_saved_with_its_spacing(tmp_path: Path, model: vesal.Model) -> None:
    model.segment(volume(), (4.0, 0.75, 0.5), ["prostate"], modality="MR").save(tmp_path / "out.nii.gz")
    saved = nifti(tmp_path / "out.nii.gz")
    assert saved.header.get_zooms() == pytest.approx((0.5, 0.75, 4.0)) and saved.shape == (10, 8, 6)


@pytest.mark.parametrize("name", ["a.nii.gz", "out.dcm", "out.foo", "out", "out.mhd", "out.zarr"])
def test_a_result_is_saved_under_a_name_that_fits(tmp_path: Path, model: vesal.Model, name: str) -> None:
    """Not over the scan itself, nor as what it is not."""
    scan = write_scan(tmp_path / "a.nii.gz", np.tile(volume(), (3, 4, 4)))
    stored = scan.read_bytes()
    found = model.segment_file(scan, ["prostate"], modality="MR")
    with pytest.raises(UsageError):
        found.save(tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["a.nii.gz"] and scan.read_bytes() == stored

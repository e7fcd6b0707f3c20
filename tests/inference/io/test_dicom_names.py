"""DICOM files whose names are in capital letters, as exports have them."""

import zipfile
from pathlib import Path

import numpy as np

from tests.inference.io.test_dicom_case import numbers, written
from tests.inference.io.written import with_prompts
from vesal.inference.io.formats import case_name, is_case_folder, is_claimed, label_suffix, read_case
from vesal.inference.runner.case_paths import list_cases


def test_names_in_capital_letters(tmp_path: Path) -> None:
    """Of a series, of a file with frames, of an archive."""
    folder = written(tmp_path, name="STUDY")
    for path in list(folder.iterdir()):
        path.rename(path.with_name(f"{path.name}.DCM"))
    assert is_case_folder(folder) and list_cases(tmp_path) == [folder]
    np.testing.assert_array_equal(numbers(folder), numbers(written(tmp_path / "other")))
    single = next(folder.iterdir()).rename(tmp_path / "ONE.DCM")
    assert (case_name(single), label_suffix(single)) == ("ONE", ".nii.gz")
    with_prompts(single)
    assert read_case(single).image.shape[0] == 1
    with zipfile.ZipFile(tmp_path / "ALL.ZIP", "w") as archive:
        for path in folder.iterdir():
            archive.write(path, path.name)
    assert (case_name(tmp_path / "ALL.ZIP"), is_claimed(tmp_path / "ALL.ZIP")) == ("ALL", True)


def test_a_damaged_image_in_capital_letters_is_told(tmp_path: Path) -> None:
    folder = written(tmp_path)
    (folder / "LAST.DCM").write_bytes(b"cut")
    assert "1 DICOM files are damaged and left out: LAST.DCM" in " ".join(read_case(folder).notes)

"""What changes a result is a warning of report and page; what was chosen and means nothing is a note."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.inference.io.test_dicom_case import written
from tests.inference.io.written import canonical_axes, with_prompts
from tests.inference.io.written_dicom import changed, write_series
from tests.inference.output.page.made import made_report, written_page
from tests.inference.runner.own_scans import BoxOpener, write_scan
from vesal.inference.io.formats import unused_choices
from vesal.inference.io.read_options import ReadOptions
from vesal.inference.output.logs import spacing_text
from vesal.inference.output.page.markup import spacing
from vesal.inference.runner.arguments import read_settings
from vesal.inference.runner.run import run


def case_of(folder: Path, *line: object) -> tuple[dict[str, Any], str]:
    """The case in the report of a run, and its page."""
    assert run(read_settings([str(each) for each in line], {}), BoxOpener()) == 0
    place = folder / "report" / "report.json"
    return json.loads(place.read_text())["cases"][0], place.with_suffix(".html").read_text()


def boxed(page: str, kind: str) -> str:
    """What stands in the frame of warnings or of notes of the one case."""
    start = page.index(f'<div class="{kind}"')
    return page[start : page.index("</div>", start)]


def test_slices_that_are_missing_are_a_warning(tmp_path: Path) -> None:
    folder = with_prompts(write_series(tmp_path / "scan", np.zeros((10, 6, 7), np.int16), canonical_axes()))
    changed(folder, 3).unlink()
    case, page = case_of(tmp_path, "-i", folder)
    (warning,) = (each for each in case["warnings"] if "1 slices are missing" in each)
    assert warning in case["notes"]
    assert "interpolated" in boxed(page, "warnings") and "interpolated" not in boxed(page, "notes")


def test_a_scan_that_cannot_be_read_is_told_so_and_not_that_nothing_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "scan.nii").write_bytes(b"no NIfTI")
    assert run(read_settings(["-i", str(tmp_path / "scan.nii")], {}), BoxOpener()) == 1
    case = json.loads((tmp_path / "report" / "report.json").read_text())["cases"][0]
    assert case["error"].startswith("NiftiError: scan.nii")


def test_one_series_of_several_is_a_warning(tmp_path: Path) -> None:
    folder = written(tmp_path)
    stored = np.zeros((2, 6, 7), np.int16)
    write_series(folder, stored, canonical_axes(), series=2)
    case, page = case_of(tmp_path, "-i", folder)
    assert any("the largest of 2 series is taken" in each for each in case["warnings"])
    assert "The largest of 2 series" in boxed(page, "warnings")


def test_what_was_only_done_with_the_file_is_a_note(tmp_path: Path) -> None:
    case, page = case_of(tmp_path, "-i", written(tmp_path))
    assert any("numbers came as" in each for each in case["notes"])
    assert not any("numbers came as" in each for each in case["warnings"])
    assert "numbers came as" in boxed(page, "notes")


def test_warnings_of_a_case_stand_at_the_top_of_a_folder(tmp_path: Path) -> None:
    told = "the header has no affine"
    odd = made_report("odd", notes=("a note", told), warnings=(told,))
    page = written_page(tmp_path / "report.html", made_report("a"), odd, made_report("b"))
    assert "Warnings in 1 of 3 cases" in page
    assert "The header has no affine." in boxed(page, "warnings")
    assert told not in boxed(page, "notes") and "a note" in boxed(page, "notes")


@pytest.mark.parametrize(
    ("name", "unused"),
    [
        ("a.nii.gz", ["series", "level"]),
        ("a.npz", ["series", "level", "volume"]),
        ("a.dcm", ["level"]),
        ("a.ome.zarr", ["series"]),
        ("a.nrrd", ["series", "level"]),
        ("a.tif", ["series", "level"]),
    ],
)
def test_choices_that_mean_nothing_for_a_format_are_told(name: str, unused: list[str]) -> None:
    notes = unused_choices(Path(name), ReadOptions("1.2", 0, 0))
    assert [note.split("`")[1] for note in notes] == unused
    assert all(name in note for note in notes) and unused_choices(Path(name), ReadOptions()) == ()


def test_they_are_notes_of_the_report(tmp_path: Path) -> None:
    scan = with_prompts(write_scan(tmp_path / "a.nii.gz"))
    case, page = case_of(tmp_path, "-i", scan, "--series", "1.2.3", "--level", "1", "--volume", "0")
    told = [each for each in case["notes"] if "means nothing" in each]
    assert ["1.2.3" in told[0], "`level` 1" in told[1], len(told)] == [True, True, 2]
    assert "1.2.3 was chosen" in boxed(page, "notes")


def test_lengths_of_micrometres_are_told_in_micrometres() -> None:
    assert spacing_text((0.002, 0.0004, 0.0004)) == "2 x 0.4 x 0.4 µm"
    assert spacing_text((5.0, 0.7031, 0.7031)) == "5.00 x 0.70 x 0.70 mm"
    assert (spacing((0.002, 0.0004, 0.0004)), spacing((5.0, 0.7031, 0.7031))) == (
        "2 × 0.4 × 0.4 µm",
        "5 × 0.703 × 0.703 mm",
    )

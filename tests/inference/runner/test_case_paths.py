"""Wrong paths on the command line are said before anything is written."""

from pathlib import Path

import pytest

from vesal.inference.data.errors import UsageError
from vesal.inference.runner.case_paths import CasePaths, find_cases


@pytest.fixture
def case(tmp_path: Path) -> Path:
    """A file that looks like a case, in a folder of its own."""
    path = tmp_path / "inputs" / "a.npz"
    path.parent.mkdir()
    path.write_bytes(b"not read here")
    return path


def test_folder_to_folder(case: Path, tmp_path: Path) -> None:
    """One job a file, sorted; the folder of the outputs is made with its parents."""
    (case.parent / "B.npz").write_bytes(b"")
    outputs = tmp_path / "x" / "y"
    assert find_cases(case.parent, outputs) == (
        CasePaths(case.parent / "B.npz", outputs / "B.npz"),
        CasePaths(case, outputs / "a.npz"),
    )
    assert outputs.is_dir()


def test_a_mask_beside_its_case_is_no_case(case: Path, tmp_path: Path) -> None:
    """`a.prompt.npz` belongs to `a.npz`; without that it is a case like any other."""
    for name in ("a.prompt.npz", "b.prompt.npz"):
        (case.parent / name).write_bytes(b"")
    assert [paths.name for paths in find_cases(case.parent, tmp_path / "out")] == ["a", "b.prompt"]


def test_a_folder_that_is_named_like_a_file(case: Path, tmp_path: Path) -> None:
    """An existing folder stays a folder, whatever its name."""
    outputs = tmp_path / "results.npz"
    outputs.mkdir()
    assert find_cases(case, outputs) == (CasePaths(case, outputs / "a.npz"),)


@pytest.mark.parametrize(
    ("inputs", "outputs", "message"),
    [
        ("absent", "out", "absent does not exist"),
        ("empty", "out", "empty holds no NAME.npz"),
        ("text.txt", "out", r"text.txt is not a \.npz, \.nii\.gz"),
        ("inputs", "out.npz", "inputs is a folder but .*out.npz names one file"),
        ("inputs", "inputs", "a.npz would replace the case"),
        ("inputs/a.npz", "inputs", "a.npz would replace the case"),
        ("inputs/a.npz", "inputs/../inputs/a.npz", "a.npz would replace the case"),
        ("inputs", "text.txt", "text.txt cannot be made"),
        ("inputs", "taken", "taken/a.npz is a folder"),
    ],
)
def test_wrong_paths(case: Path, tmp_path: Path, inputs: str, outputs: str, message: str) -> None:
    """Each says what came; no folder is left behind."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "taken" / "a.npz").mkdir(parents=True)
    (tmp_path / "text.txt").write_text("")
    with pytest.raises(UsageError, match=message):
        find_cases(tmp_path / inputs, tmp_path / outputs)
    assert not (tmp_path / "out").exists()


def test_a_suffix_in_capitals_is_one(case: Path, tmp_path: Path) -> None:
    """Its label map has the usual suffix, unless that is another case's."""
    for name in ("A.NPZ", "b.Npz", "a.NPZ"):
        (case.parent / name).write_bytes(b"")
    outputs = tmp_path / "out"
    found = {paths.input.name: paths.output.name for paths in find_cases(case.parent, outputs)}
    assert found == {"A.NPZ": "A.npz", "a.NPZ": "a.NPZ", "a.npz": "a.npz", "b.Npz": "b.npz"}


def test_volumes_in_other_formats_are_told(
    case: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("b.MGZ", "c.NPY", "a.prompt.nii.gz", ".d.nii", "notes.txt", "a.json"):
        (case.parent / name).write_bytes(b"")
    assert len(find_cases(case.parent, tmp_path / "out")) == 1
    assert [r.message for r in caplog.records] == [
        "2 files are no cases in a format that is read: b.MGZ, c.NPY"
    ]


def test_each_case_has_a_label_map_of_its_own(case: Path, tmp_path: Path) -> None:
    """In its own format, also where only the suffix tells two cases apart."""
    for name in ("a.nii.gz", "a.nii", "b.NII.GZ"):
        (case.parent / name).write_bytes(b"")
    found = {paths.input.name: paths.output.name for paths in find_cases(case.parent, tmp_path / "out")}
    assert found == {"a.npz": "a.npz", "a.nii.gz": "a.nii.gz", "a.nii": "a.nii", "b.NII.GZ": "b.nii.gz"}

"""Where the report goes, and that everything in it becomes JSON."""

import json
from pathlib import Path

import numpy as np
import pytest

from vesal.inference.data.results import RunReport
from vesal.inference.output.report import report_places, to_json, write_report


def made_report() -> RunReport:
    """A run without cases."""
    return RunReport(
        version="1",
        weights="nano",
        runtime={},
        processor=None,
        settings={"inputs": Path("in")},
        started="now",
        seconds=1.25,
        peak_mb=9.0,
        exit_code=0,
        ended="all cases done",
    )


def test_numpy_and_infinity_become_json() -> None:
    """numpy's numbers become plain, NaN and infinity None, tuples lists, paths text."""
    values = {
        "a": np.float32(0.5),
        2: (np.int64(3), np.nan, np.inf),
        "c": Path("x/y"),
        "d": np.array([1, 2]),
    }
    assert to_json(values) == {"a": 0.5, "2": [3, None, None], "c": "x/y", "d": [1, 2]}
    assert to_json([np.bool_(True), None, True]) == [True, None, True]


def test_report_lies_beside_the_outputs(tmp_path: Path) -> None:
    """Not in them, also where the outputs are the current folder or end in a slash."""
    outputs = tmp_path / "outputs"
    outputs.mkdir()
    assert write_report(made_report(), outputs) == tmp_path / "report.json"
    assert json.loads((tmp_path / "report.json").read_text())["settings"] == {"inputs": "in"}
    assert list(outputs.iterdir()) == []


def test_report_of_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`.` has a parent too."""
    (tmp_path / "outputs").mkdir()
    monkeypatch.chdir(tmp_path / "outputs")
    assert write_report(made_report(), Path(".")) == tmp_path / "report.json"


def test_report_goes_where_it_is_asked_for(tmp_path: Path) -> None:
    """Anywhere, in a folder that is made for it, also among the outputs."""
    wanted = tmp_path / "outputs" / "deep" / "r.json"
    assert write_report(made_report(), tmp_path / "outputs", wanted) == wanted
    assert not (tmp_path / "report.json").exists()


def test_report_moves_on_where_it_cannot_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder in its place stands for a read-only container: the folder for temporary files takes it."""
    (tmp_path / "report.json").mkdir()
    spare = tmp_path / "spare"
    spare.mkdir()
    monkeypatch.setenv("TMPDIR", str(spare))
    assert write_report(made_report(), tmp_path / "outputs") == spare / "vesal-report.json"
    assert [path.name for path in spare.iterdir()] == ["vesal-report.json"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.json", "spare"]


def test_no_place_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing is raised, and the log says what to do."""
    (tmp_path / "file").write_text("")
    place = tmp_path / "file" / "report.json"
    monkeypatch.setattr("vesal.inference.output.report.report_places", lambda *_: (place,))
    assert write_report(made_report(), tmp_path) is None
    assert "name another file for it" in caplog.text


def test_report_replaces_nobodys_prompts(tmp_path: Path) -> None:
    """Beside a case `report.npz` the name report.json belongs to its prompts."""
    (tmp_path / "report.npz").write_bytes(b"")
    assert tmp_path / "report.json" not in report_places(tmp_path / "outputs", None)


def test_small_numbers_keep_digits() -> None:
    """Volumes of nuclei in ml, voxels in mm."""
    assert to_json([9.2632e-10, 0.00012345678, 1.23456789, 0.0]) == [9.2632e-10, 0.000123457, 1.234568, 0.0]

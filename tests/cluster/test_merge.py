"""`--merge`, and what a table tells where records, label maps or the folder are not as they should be."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.cluster.made import PROMPTS, rows, run_batch, write_scan


@pytest.fixture
def run(tmp_path: Path) -> tuple[object, ...]:
    """The arguments of a run of two scans, which was run."""
    for name in ("site/a", "b"):
        write_scan(tmp_path / "in" / f"{name}.nii.gz")
    arguments = ("-i", tmp_path / "in", "-o", tmp_path / "out")
    assert run_batch(*arguments, "-p", *PROMPTS) == 0
    return arguments


def states(out: Path) -> dict[str, str]:
    return {row["case"]: row["state"] for row in rows(out)}


def test_nothing_is_made_where_there_is_no_record(tmp_path: Path) -> None:
    assert run_batch("-o", tmp_path / "typo", "--merge") == 2
    assert not (tmp_path / "typo").exists()


def test_a_label_map_that_is_gone_is_told(run: tuple[object, ...], tmp_path: Path) -> None:
    (tmp_path / "out" / "site" / "a_seg.nii.gz").unlink()
    for arguments in ((*run, "-p", *PROMPTS), ("-o", tmp_path / "out")):
        assert run_batch(*arguments, "--merge") == 1
        assert states(tmp_path / "out") == {"b": "ok", "site/a": "failed"}
    (row,) = (row for row in rows(tmp_path / "out") if row["case"] == "site/a")
    assert row["reason"] == "its label map is not there any more; run it again"
    assert (row["voxels"], row["sha256"]) == ("", "")
    assert run_batch(*run, "-p", *PROMPTS) == 0


def test_a_copy_of_a_record_is_no_second_case(run: tuple[object, ...], tmp_path: Path) -> None:
    cases = tmp_path / "out" / "batch" / "cases"
    shutil.copy(cases / "b.json", cases / "b (copy).json")
    assert run_batch("-o", tmp_path / "out", "--merge") == 0
    assert [row["case"] for row in rows(tmp_path / "out")] == ["b", "b", "site/a", "site/a"]


def test_a_folder_that_was_moved_is_merged(
    run: tuple[object, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.move(tmp_path / "out", tmp_path / "moved")
    monkeypatch.chdir(tmp_path / "moved")
    assert run_batch("-o", ".", "--merge") == 0


def test_results_of_other_prompts_are_told(run: tuple[object, ...], tmp_path: Path) -> None:
    """Of shards of which only some were run again."""
    assert run_batch(*run, "-p", "kidney", "--merge") == 1
    assert states(tmp_path / "out") == {"b": "not run", "site/a": "not run"}
    assert rows(tmp_path / "out")[0]["reason"] == "its result is of other prompts: liver; spleen"
    assert run_batch(*run, "-p", *PROMPTS, "--merge") == 0
    assert run_batch(*run, "--merge") == 0, "it does not say which"


def test_a_record_that_cannot_be_written_is_told_all_the_same(
    run: tuple[object, ...], tmp_path: Path
) -> None:
    """Where it was, a case before was good."""
    record = tmp_path / "out" / "batch" / "cases" / "b.json"
    record.unlink()
    record.mkdir()
    (tmp_path / "out" / "b_seg.nii.gz").unlink()
    assert run_batch(*run, "-p", *PROMPTS) == 1
    (row,) = (row for row in rows(tmp_path / "out") if row["case"] == "b")
    assert row["state"] == "failed"
    assert "Is a directory" in row["reason"]


def test_a_table_that_cannot_be_written(
    run: tuple[object, ...], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "out" / "batch" / "table.csv"
    table.unlink()
    table.mkdir()
    for arguments in ((*run, "-p", *PROMPTS), ("-o", tmp_path / "out", "--merge")):
        capfd.readouterr()
        assert run_batch(*arguments) == 1
        told = capfd.readouterr().err
        assert "table and page cannot be written to" in told
        assert "Traceback" not in told

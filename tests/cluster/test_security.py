"""Nothing of an input is run, and nothing of it leads out of the folders of a run."""

from __future__ import annotations

import json
import os
import pickle
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tests.cluster.made import PROMPTS, records, rows, run_batch, write_scan
from vesal.cluster import places
from vesal.cluster.places import PlaceError, fetch
from vesal.cluster.scratch import Scratch


class Touches:
    """A pickle that makes a file when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str, int]]:
        return os.mkdir, (str(self.path), 0o700)


def test_a_pickle_in_a_case_is_not_run(tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    (tmp_path / "in").mkdir()
    prompts = np.empty((), object)
    prompts[()] = Touches(trap)
    image = np.zeros((6, 7, 8), np.uint8)
    np.savez(tmp_path / "in" / "case.npz", imgs=image, spacing=np.ones(3), text_prompts=prompts)
    np.save(tmp_path / "proof.npy", prompts)
    assert run_batch("-i", tmp_path / "in", "-o", tmp_path / "out") == 1
    assert "UnsafePickleError" in str(records(tmp_path / "out")["case"].reason)
    assert not trap.exists()
    np.load(tmp_path / "proof.npy", allow_pickle=True)
    assert trap.exists(), "it would have been"


def test_a_pickle_in_a_table_is_not_run(tmp_path: Path) -> None:
    """An extension type of Python, as Arrow knew them: its metadata are a pickle."""
    arrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed: it is of the extra `cluster`")
    trap = tmp_path / "trap"
    write_scan(tmp_path / "a.nii.gz")
    metadata = {
        "ARROW:extension:name": "arrow.py_extension_type",
        "ARROW:extension:metadata": pickle.dumps(Touches(trap)),
    }
    schema = arrow.schema([arrow.field("path", arrow.string(), metadata=metadata)])
    table = arrow.table([arrow.array(["a.nii.gz"])], schema=schema)
    import_module("pyarrow.parquet").write_table(table, tmp_path / "cases.parquet")
    run_batch("-i", tmp_path / "cases.parquet", "-o", tmp_path / "out", "-p", *PROMPTS)
    assert not trap.exists()


def test_keys_of_a_store_do_not_lead_out_of_the_scratch_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = ["b/series/1.dcm", "b/series/../../../out.dcm"]
    system = SimpleNamespace(find=lambda _: keys, get_file=lambda _, target: Path(target).write_bytes(b""))
    monkeypatch.setattr(places, "opened", lambda _: (system, "b/series/"))
    with pytest.raises(PlaceError, match="leads out"):
        fetch("s3://b/series/", tmp_path / "scratch" / "in" / "series")
    assert not list(tmp_path.rglob("out.dcm"))


def test_a_record_that_is_damaged_or_not_ours_costs_nothing(tmp_path: Path) -> None:
    write_scan(tmp_path / "in" / "a.nii.gz")
    cases = tmp_path / "out" / "batch" / "cases"
    cases.mkdir(parents=True)
    (cases / "a.json").write_bytes(b"\xff\xfe[[[")
    (cases / "other.json").write_text('{"name": "../../x"}')
    wrong = {"name": "", "source": "", "output": "/", "state": "ok"}
    (cases / "types.json").write_text(json.dumps(wrong | {"name": "types", "attempts": "1"}))
    (cases / "empty.json").write_text(json.dumps(wrong))
    assert run_batch("-i", tmp_path / "in", "-o", tmp_path / "out", "-p", *PROMPTS) == 0
    assert run_batch("-o", tmp_path / "out", "--merge") == 0
    assert {row["case"] for row in rows(tmp_path / "out")} == {"a"}


def test_scratch_of_a_worker_that_was_killed_goes_and_that_of_another_stays(tmp_path: Path) -> None:
    left, other = tmp_path / "vesal-batch-0123", Scratch(tmp_path)
    other.new_folder()
    (left / "case").mkdir(parents=True)
    (left / "lock").touch()
    mine = Scratch(tmp_path)
    assert left.exists(), "nothing is made or swept before it is needed"
    mine.new_folder()
    assert not left.exists()
    assert other.path.is_dir()
    assert mine.path.stat().st_mode & 0o077 == 0, "nobody else reads the scans"
    for each in (mine, other):
        each.close()
    assert not list(tmp_path.iterdir())

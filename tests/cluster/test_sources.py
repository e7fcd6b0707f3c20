"""Folder trees, patterns and tables: which scans there are, and what they are called."""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path

import pytest

from tests.cluster.made import PROMPTS, records, rows, run_batch, write_scan
from vesal.cluster.costs import with_costs
from vesal.cluster.job import Job
from vesal.cluster.sources import Asked, read_jobs
from vesal.inference.data.errors import UsageError

ASKED = Asked(("liver",), "CT")


def names(*inputs: object, out: object = "/out") -> list[str]:
    return [job.name for job in read_jobs([str(each) for each in inputs], str(out), ASKED)]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Scans in folders, and much that is none."""
    top = tmp_path / "in"
    for name in ("a.nii.gz", "site 1/CT.nii.gz", "site 2/CT.nii.gz", "site 2/deep/ünï 🫁.NII.GZ"):
        write_scan((top / name).with_name(Path(name).name.lower())).rename(top / name)
    for name in ("notes.txt", ".hidden.nii.gz", "~tmp.nii", "a.json", "a.prompt.npz", ".git/x.nii.gz"):
        (top / name).parent.mkdir(exist_ok=True)
        (top / name).touch()
    return top


FOUND = ["a", "site 1/CT", "site 2/CT", "site 2/deep/ünï 🫁"]


def test_a_tree(tree: Path) -> None:
    assert names(tree) == FOUND
    job = read_jobs([str(tree)], "/out", ASKED)[1]
    assert job == Job(
        "site 1/CT",
        str(tree / "site 1/CT.nii.gz"),
        "/out/site 1/CT_seg.nii.gz",
        ("liver",),
        "CT",
        job.cost,
    )
    assert Job.from_json(job.to_json()) == job


def test_a_pattern_is_named_from_where_it_begins(tree: Path) -> None:
    assert names(tree / "**" / "CT.nii.gz") == ["site 1/CT", "site 2/CT"]
    assert names(tree / "site [12]" / "*") == ["site 1/CT", "site 2/CT"]
    with pytest.raises(UsageError, match="no scan"):
        names(tree / "*.mha")


def test_folders_that_are_named_as_scans_are_looked_into(tmp_path: Path) -> None:
    """As some archives unpack: `a.nii/a.nii`."""
    write_scan(tmp_path / "in" / "a.nii" / "a.nii")
    write_scan(tmp_path / "in" / "b.nii.gz")
    assert names(tmp_path / "in") == ["a.nii/a", "b"]
    write_scan(tmp_path / "in" / "batch" / "run.nii.gz")
    assert names(tmp_path / "in") == ["a.nii/a", "b", "batch/run"], "its label map is run_seg"
    assert names(tmp_path / "in" / "a.nii") == ["a"]


def test_links(tmp_path: Path) -> None:
    """A pattern finds what a tree does: a link that leads nowhere, and nothing behind one that leads back."""
    write_scan(tmp_path / "in" / "a.nii.gz")
    (tmp_path / "in" / "lost.nii.gz").symlink_to("nowhere.nii.gz")
    (tmp_path / "in" / "back").symlink_to(".")
    for place in ("in", "in/**", "in/*"):
        assert names(tmp_path / place) == ["a", "lost"]
    assert names(tmp_path / "in" / "back" / "*.nii.gz") == ["a", "lost"], "this one is meant"


@pytest.mark.parametrize("name", ["cases.xlsx", "cases.csv.gz", "notes"])
def test_a_file_that_is_neither_scan_nor_table(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"PK")
    with pytest.raises(UsageError, match=r"neither a scan \(.npz, .*\) nor a table \(.csv, .tsv, .parquet\)"):
        names(tmp_path / name)


def test_what_looks_like_a_scan_and_is_none_is_told(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write_scan(tmp_path / "in" / "a.nii.gz")
    (tmp_path / "in" / "b.mgz").touch()
    os.mkfifo(tmp_path / "in" / "c.nii.gz")
    assert run_batch("-i", tmp_path / "in", "-o", tmp_path / "out", "-p", *PROMPTS) == 0
    told = capfd.readouterr().err
    assert "1 files are no cases in a format that is read: b.mgz" in told
    assert "c.nii.gz is a FIFO and no case" in told


def test_a_fifo_in_a_table_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.nii.gz")
    write_scan(tmp_path / "b.nii.gz")
    os.mkfifo(tmp_path / "b.json")
    table = write_table(tmp_path / "x.csv", ["path"], ["a.nii.gz"], ["b.nii.gz"])
    assert run_batch("-i", table, "-o", tmp_path / "out", "-p", *PROMPTS) == 1
    found = records(tmp_path / "out")
    assert "is a FIFO" in str(found["a"].reason)
    assert found["b"].state == "ok"


def test_results_are_no_scans(tree: Path) -> None:
    """Neither below the input, nor beside the scans, where a second run would find them."""
    (tree / "a.prompt.npz").unlink()
    for out in (tree / "results", tree):
        assert run_batch("-i", tree, "-o", out, "-p", *PROMPTS) == 0
        assert names(tree, out=out) == FOUND


def test_a_series_is_one_case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pydicom = pytest.importorskip("pydicom")
    folder = tmp_path / "in" / "patient" / "series.1"
    folder.mkdir(parents=True)
    data = pydicom.Dataset()
    data.file_meta = pydicom.dataset.FileMetaDataset()
    data.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    data.SOPClassUID, data.SOPInstanceUID = pydicom.uid.CTImageStorage, "1.2.3"
    pydicom.dcmwrite(folder / "1.dcm", data, enforce_file_format=True)
    (job,) = read_jobs([str(tmp_path / "in")], "/out", ASKED)
    assert (job.name, job.output) == ("patient/series.1", "/out/patient/series.1_seg.nii.gz")
    monkeypatch.chdir(folder)
    (job,) = read_jobs(["."], "/out", ASKED)
    assert (job.name, job.source) == ("series.1", str(folder)), "it has to have a name"


def test_bytes_that_are_no_utf8_in_a_name(tmp_path: Path) -> None:
    write_scan(tmp_path / "in" / "x.nii.gz").rename(
        os.fsdecode(os.fsencode(tmp_path / "in") + b"/\xff.nii.gz")
    )
    assert run_batch("-i", tmp_path / "in", "-o", tmp_path / "out", "-p", *PROMPTS) in (0, 1)
    assert [row["case"] for row in rows(tmp_path / "out")][0] == "\\udcff"
    assert list(records(tmp_path / "out")) == ["\udcff"]
    assert run_batch("-o", tmp_path / "out", "--merge") in (0, 1)


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet"])
def test_a_table(tree: Path, suffix: str) -> None:
    table = write_table(
        tree / f"cases{suffix}",
        ["path", "prompts", "modality", "output"],
        ["site 1/CT.nii.gz", "left kidney; right, upper lobe", "MR", "p/first"],
        ["a.nii.gz", "", "", ""],
        [str(tree / "site 2/CT.nii.gz"), "spleen", "", "second.nii.gz"],
    )
    found = {job.name: job for job in read_jobs([str(table)], "/out", ASKED)}
    assert sorted(found) == ["a", "p/first", "second"]
    assert found["p/first"].prompts == ("left kidney", "right, upper lobe")
    assert (found["p/first"].modality, found["p/first"].output) == ("MR", "/out/p/first.nii.gz")
    assert (found["a"].prompts, found["a"].modality) == (("liver",), "CT")
    assert (found["a"].output, found["second"].output) == ("/out/a_seg.nii.gz", "/out/second.nii.gz")


@pytest.mark.parametrize(
    ("columns", "prompts"),
    [
        ({"path": [b"a.nii.gz"], "prompts": [["spleen", None, " "]]}, ("spleen",)),
        ({"path": ["a.nii.gz", None], "prompts": [float("nan")] * 2, "modality": [None, None]}, ("liver",)),
    ],
)
def test_cells_of_parquet_that_are_missing(
    tmp_path: Path, columns: dict[str, list[object]], prompts: tuple[str, ...]
) -> None:
    arrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed: it is of the extra `cluster`")
    import_module("pyarrow.parquet").write_table(arrow.table(columns), tmp_path / "x.parquet")
    (job,) = read_jobs([str(tmp_path / "x.parquet")], "/out", ASKED)
    assert (job.name, job.prompts, job.modality) == ("a", prompts, "CT")


def test_a_cell_of_parquet_that_is_no_text(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed: it is of the extra `cluster`")
    table = arrow.table({"path": [["a.nii.gz"]]})
    import_module("pyarrow.parquet").write_table(table, tmp_path / "x.parquet")
    with pytest.raises(UsageError, match=r"row 1: its path is \['a.nii.gz'\], no text"):
        names(tmp_path / "x.parquet")


def write_table(path: Path, *lines: list[str]) -> Path:
    """In the format that its name says."""
    if path.suffix == ".parquet":
        pyarrow = pytest.importorskip(
            "pyarrow", reason="pyarrow is not installed: it is of the extra `cluster`"
        )
        columns = {name: [line[number] for line in lines[1:]] for number, name in enumerate(lines[0])}
        import_module("pyarrow.parquet").write_table(pyarrow.table(columns), path)
        return path
    between = "," if path.suffix == ".csv" else "\t"
    quoted = [[f'"{cell}"' if "," in cell else cell for cell in line] for line in lines]
    path.write_text("".join(between.join(line) + "\r\n" for line in quoted), encoding="utf-8-sig")
    return path


def test_paths_of_a_table_that_lead_out_of_its_folder(tmp_path: Path) -> None:
    table = write_table(
        tmp_path / "t" / "x.csv" if (tmp_path / "t").mkdir() is None else tmp_path,
        ["path"],
        ["../in/CT.nii.gz"],
        ["s3://bucket/a/CT.nii.gz"],
        ["https://host/b/CT%201.nii.gz?sig=1"],
    )
    at = str(tmp_path / "in/CT").lstrip("/")
    assert names(table) == sorted([at, "bucket/a/CT", "host/b/CT 1"])


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        (["path,prompt", "a.nii.gz,liver"], "columns are 'path', 'prompt'"),
        (["prompts", "liver"], "columns are 'prompts'"),
        (["path,path", "a.nii.gz,b.nii.gz"], "columns are"),
        ([], "nothing"),
        (["path,prompts"], "no row"),
        (["path,prompts", ",liver"], "row 1: its path is empty"),
        (["path,prompts", "a.nii.gz,liver,spleen"], "more cells"),
        (["path,output", "a.nii.gz,../b"], "would be called"),
        (["path,output", "a.nii.gz,/b"], "would be called"),
        (["path,output", "a.nii.gz,s3://b/c"], "would be called"),
        (["path,output", "a.nii.gz,batch/cases/a"], "would be called"),
        (["path,output", "a.nii.gz,batch/run.nii.gz"], "would be called"),
        (["path,output", "a.nii.gz,../b"], "cases.csv, row 1: "),
        (["path,modality", "a.nii.gz,XRAY"], "cases.csv, row 1: modality"),
        (["path;prompts", "a.nii.gz;liver"], "in .csv commas are between the cells"),
        (["path,prompts", "a.nii.gz,", " , ", "", ",liver"], "cases.csv, row 4: its path is empty"),
        (["path,output", "a.nii.gz,x", "b.nii.gz,x"], "both be called 'x'"),
        (["path,output", "a.nii.gz,x", "b.nii.gz,x"], "cases.csv, row 1) and "),
        (["path,output", "a.nii.gz,x", "b.nii.gz,x.nii"], "both be called 'x'"),
        (["path,output", "a.nii.gz,", "b.nii.gz,a_seg"], "both be called 'a_seg'"),
        (["path,prompts", "a.nii.gz,liver", "a.nii.gz,spleen"], "All prompts of a scan go into one row"),
        (["path", "https://user:pass-word@host/a.nii.gz"], "row 1: a URL of https:// holds a user"),
        (["path,prompts", 'a.nii.gz,"liver'], "unexpected end of data"),
    ],
)
def test_a_table_that_is_wrong(
    tmp_path: Path, lines: list[str], told: str, capfd: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "cases.csv"
    table.write_text("".join(line + "\n" for line in lines))
    assert run_batch("-i", table, "-o", tmp_path / "out", "-p", *PROMPTS) == 2
    error = capfd.readouterr().err
    assert told in error
    assert "pass-word" not in error
    assert not (tmp_path / "out").exists(), "nothing is written"


def test_rows_that_cannot_be_run_cost_themselves_alone(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write_scan(tmp_path / "good.nii.gz")
    (tmp_path / "text.nii.gz").write_text("no scan")
    (tmp_path / "letter.txt").write_text("no scan")
    table = tmp_path / "cases.csv"
    table.write_text("path\ngood.nii.gz\ntext.nii.gz\nletter.txt\nabsent.nii.gz\n")
    assert run_batch("-i", table, "-o", tmp_path / "out", "-p", *PROMPTS) == 1
    found = records(tmp_path / "out")
    assert {name: record.state for name, record in found.items()} == {
        "good": "ok",
        "text": "failed",
        "letter.txt": "failed",
        "absent": "failed",
    }
    assert "does not exist" in str(found["absent"].reason)
    told = capfd.readouterr().err
    assert "case absent failed: " in told
    assert "fell back" not in told, "there is no result"
    assert all(record.reason for name, record in found.items() if name != "good")


@pytest.mark.parametrize("what", ["absent", "empty"])
def test_nothing_to_run(tmp_path: Path, what: str, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    assert run_batch("-i", tmp_path / what, "-o", tmp_path / "out", "-p", *PROMPTS) == 2
    assert "give a scan, a folder, a pattern or a table" in capfd.readouterr().err


def test_costs_are_voxels_times_prompts(tree: Path) -> None:
    jobs = with_costs(read_jobs([str(tree)], "/out", Asked(PROMPTS)))
    assert [job.cost for job in jobs] == [960.0] * 4
    (tree / "a.nii.gz").write_bytes(b"broken")
    assert with_costs(jobs)[0].cost == 960.0, "that of the others' median"

"""Records, table, page and progress."""

from __future__ import annotations

import csv
import json
import logging
from dataclasses import replace
from html.parser import HTMLParser
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.cluster.made import PROMPTS, run_batch, write_scan
from vesal.cluster.finish import write_results
from vesal.cluster.job import Job
from vesal.cluster.progress import Progress, Shown
from vesal.cluster.record import Record, TargetRow
from vesal.cluster.table import COLUMNS

HOSTILE = '<script>alert("1")</script> & Ünï\n🫁'
LIVER = TargetRow(1, "the liver", "liver", 1200, 1.5, 0.9, "read so")
GOOD = Record("a", "/in/a", "/out/a", "ok", (LIVER, TargetRow(2, "x")), 1.25, "w1", warnings=("small",))
FAILED = Record(HOSTILE, f"s3://b/{HOSTILE}", "/out", "failed", worker="w2", attempts=3, reason=HOSTILE)
NOT_RUN = Record("z", "/in/z", "/out/z", "not run", attempts=0)


def test_a_record_comes_back_as_it_was() -> None:
    for record in (GOOD, FAILED, NOT_RUN, replace(GOOD, sha256="ab", marks={"scan a": "1"}, prompts=("x",))):
        assert Record.from_json(record.to_json()) == record
    later = json.loads(GOOD.to_json()) | {"new field": 1}
    assert Record.from_json(json.dumps(later)) == GOOD


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "null",
        "{}",
        '{"name": 1}',
        "[" * 100_000,
        '{"name":"a","source":"","output":"","state":"x"}',
        '{"name":"a","source":"","output":"","state":"ok","attempts":"x"}',
        '{"name":"a","source":"","output":"","state":"ok","targets":[{"id":1,"text":"x","voxels":"y"}]}',
    ],
)
def test_what_is_no_record(text: str) -> None:
    with pytest.raises(ValueError):
        Record.from_json(text)


def test_the_table(tmp_path: Path) -> None:
    write_results([GOOD, FAILED, NOT_RUN], str(tmp_path))
    with (tmp_path / "batch" / "table.csv").open(encoding="utf-8", newline="") as file:
        first, second, third, fourth = csv.DictReader(file)
    assert list(first) == list(COLUMNS)
    assert (first["case"], first["target"], first["volume_ml"], first["mean_probability"]) == (
        *("a", "liver", "1.5", "0.9"),
    )
    assert (first["seconds"], first["worker"], first["reason"], first["warnings"]) == (
        *("1.25", "w1", "read so", "small"),
    )
    assert (second["prompt"], second["target"], second["voxels"]) == ("2", "", "")
    assert (third["case"], third["reason"], third["attempts"], third["prompt"]) == (HOSTILE, HOSTILE, "3", "")
    assert fourth["state"] == "not run"


def test_parquet_and_csv_hold_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pyarrow", reason="pyarrow is not installed: it is of the extra `cluster`")
    parquet = import_module("pyarrow.parquet")
    monkeypatch.setattr("vesal.cluster.table.ROWS_AT_ONCE", 3)
    write_results([GOOD, FAILED, NOT_RUN, GOOD], str(tmp_path))
    with (tmp_path / "batch" / "table.csv").open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    table = parquet.read_table(tmp_path / "batch" / "table.parquet")
    assert {field.name: str(field.type) for field in table.schema} == {
        name: kind.replace("float64", "double") for name, kind in COLUMNS.items()
    }
    rows = [
        {name: "" if value is None else str(value) for name, value in row.items()}
        for row in table.to_pylist()
    ]
    assert rows == lines
    write_results([], str(tmp_path / "none"))
    assert parquet.read_table(tmp_path / "none" / "batch" / "table.parquet").num_rows == 0


@pytest.mark.parametrize("name", ["~", "s3:x", "a b#c?d"])
def test_a_folder_with_an_odd_name(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_results([GOOD], name)
    found = {path.name for path in (tmp_path / name / "batch").iterdir()}
    assert {"table.csv", "report.html"} <= found
    assert ("table.parquet" in found) == (find_spec("pyarrow") is not None)


class Page(HTMLParser):
    """Text and tags of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: object) -> None:
        """Count it."""
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        """Keep it."""
        self.text += data


def test_the_page(tmp_path: Path) -> None:
    others = [
        replace(GOOD, name=f"b{number}", targets=(replace(LIVER, volume_ml=2.0 + number),))
        for number in range(3)
    ]
    summary = write_results([GOOD, FAILED, NOT_RUN, *others], str(tmp_path))
    assert (summary.total, summary.good, summary.again) == (6, 4, 1)
    page = Page(tmp_path / "batch" / "report.html")
    assert page.tags.count("script") == 1, "only its own"
    assert page.tags.count("svg") == 1, "volumes of the liver"
    for text in (
        "Segmentation of 6 cases",
        "1 failed, 1 not run, 4 ok",
        "2 of 6 cases are not good",
        "small (4 cases)",
    ):
        assert text in page.text
    assert '<script>alert("1")</script>' in page.text
    again = tmp_path / "again"
    write_results([GOOD, FAILED, NOT_RUN, *others], str(again))
    for name in ("report.html", "table.csv"):
        assert (again / "batch" / name).read_bytes() == (tmp_path / "batch" / name).read_bytes()


def test_a_page_of_very_many_cases_stays_small(tmp_path: Path) -> None:
    many = (replace(GOOD, name=str(number), state="failed", reason="x") for number in range(5000))
    assert write_results(many, str(tmp_path)).total == 5000
    page = Page(tmp_path / "batch" / "report.html")
    assert "and 4800 more" in page.text
    assert "and 3000 more cases, in the table" in page.text
    assert len((tmp_path / "batch" / "table.csv").read_text().splitlines()) == 10_001


class FakeClock:
    """Seconds that tests set."""

    at = 0.0

    def __call__(self) -> float:
        """Now."""
        return self.at


def jobs(*costs: float) -> list[Job]:
    return [Job(str(number), "", "", cost=cost) for number, cost in enumerate(costs)]


def test_time_left_follows_the_costs() -> None:
    clock = FakeClock()
    progress = Progress(jobs(100, 300, 50, 50, 1000), clock)
    assert progress.text() == "0 of 5 cases"
    progress.add(replace(GOOD, name="4", state="skipped"))
    assert progress.text() == "1 of 5 cases, 1 done before", "it says nothing of how long the others take"
    clock.at = 60.0
    progress.add(replace(GOOD, name="0"))
    assert progress.left_s == pytest.approx(240.0)
    progress.add(replace(FAILED, name="1"))
    assert progress.left_s == pytest.approx(15.0)
    assert progress.text() == "3 of 5 cases, 2.0 a minute, 15 s left, 1 done before, 1 failed"
    for name in "23":
        progress.add(replace(GOOD, name=name))
    assert progress.text() == "5 of 5 cases, 4.0 a minute, 1 done before, 1 failed"


def test_without_a_terminal_a_line_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    clock = FakeClock()
    with caplog.at_level(logging.INFO, "vesal.batch"), Shown(Progress(jobs(1, 1, 1), clock), clock) as shown:
        shown.add(replace(GOOD, name="0"))
        clock.at = 61.0
        shown.add(replace(GOOD, name="1"))
        shown.add(replace(GOOD, name="2"))
    assert caplog.messages == ["2 of 3 cases, 2.0 a minute, 30 s left"]


def test_on_a_terminal_a_bar(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("vesal.cluster.progress.on_terminal", lambda: True)
    write_scan(tmp_path / "in" / "a.nii.gz")
    assert run_batch("-i", tmp_path / "in", "-o", tmp_path / "out", "-p", *PROMPTS) == 0
    assert "1 of 1 cases" in capsys.readouterr().err
    assert run_batch("-i", tmp_path / "in", "-o", tmp_path / "out", "-p", *PROMPTS, "-q") == 0
    assert capsys.readouterr().err == ""

"""`docs/report.schema.json` tells the reports that runs write, and the dataclasses they are made of."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jsonschema import Draft202012Validator

from tests.inference.fakes import Opener, write_case
from tests.inference.output.page.made import made_report, made_run, unfinished
from vesal.inference.data import results
from vesal.inference.output.report import to_json
from vesal.inference.runner.run import run
from vesal.inference.runner.settings import Settings

SCHEMA = json.loads((Path(__file__).parents[3] / "docs" / "report.schema.json").read_text(encoding="utf-8"))
RECORDS = [
    record
    for record in vars(results).values()
    if dataclasses.is_dataclass(record) and record.__module__ == results.__name__
]


def errors_of(report: Any) -> list[str]:
    """What the schema says against a report."""
    return [
        f"{error.json_path}: {error.message}" for error in Draft202012Validator(SCHEMA).iter_errors(report)
    ]


def test_the_schema_is_one() -> None:
    """Of JSON Schema's draft 2020-12."""
    Draft202012Validator.check_schema(SCHEMA)
    assert {record.__name__ for record in RECORDS} == set(SCHEMA["$defs"])


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.__name__)
def test_every_field_is_described(record: type) -> None:
    """One that is added, renamed or removed in `data.results` has to be here too, with its meaning."""
    described = SCHEMA["$defs"][record.__name__]
    names = [item.name for item in dataclasses.fields(record)]
    assert list(described["properties"]) == names and described["required"] == names
    assert described["additionalProperties"] is False
    for name, item in described["properties"].items():
        assert "description" in item or "$ref" in str(item), name


def test_made_reports_are_valid() -> None:
    """A good case, and one that fell back."""
    assert errors_of(to_json(made_run(made_report(), unfinished()))) == []


def test_reports_of_runs_are_valid(tmp_path: Path) -> None:
    """Good, fallen back, without memory, unread, and with an uncovered target."""
    (tmp_path / "in").mkdir()
    for level in (200, 201, 202, 203, 204, 206):
        write_case(tmp_path / "in" / f"case{level}.npz", level)
    (tmp_path / "in" / "torn.npz").write_bytes(b"PK nothing")
    np.savez(tmp_path / "in" / "empty.npz", imgs=np.zeros((2, 2, 2), np.uint8))
    told = tmp_path / "report.json"
    run(Settings(inputs=tmp_path / "in", outputs=tmp_path / "out", report=told), Opener())
    report = json.loads(told.read_text(encoding="utf-8"))
    assert len(report["cases"]) == 8 and {case["state"] for case in report["cases"]} == {"ok", "fell back"}
    assert errors_of(report) == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("cases", 0, "state"), "fine"),
        (("cases", 0, "prompts", 0, "voxels"), "12"),
        (("cases", 0, "prompts", 0, "new"), 1),
        (("cases", 0, "spacing_dhw_mm"), [1.0, 1.0]),
        (("exit_code",), 7),
    ],
)
def test_a_wrong_report_is_refused(path: tuple[str | int, ...], value: object) -> None:
    """The schema is strict enough to find it."""
    report = to_json(made_run(made_report()))
    part = report
    for key in path[:-1]:
        part = part[key]
    part[path[-1]] = value
    assert errors_of(report) != []

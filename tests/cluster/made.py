"""Small scans and runs of `vesal batch` in this process, with a network that finds bright boxes."""

from __future__ import annotations

import csv
import logging
import os
from pathlib import Path
from unittest import mock

import pytest

from tests.inference.runner.own_scans import BoxOpener, write_scan
from vesal.cluster.command import batch
from vesal.cluster.record import Record

PROMPTS = ("liver", "spleen")
SUFFIXES = (".nii.gz", ".json", ".ctbl", ".label")
"""Of the files of one result."""

__all__ = [
    "PROMPTS",
    "SUFFIXES",
    "BoxOpener",
    "needs",
    "records",
    "result",
    "rows",
    "run_batch",
    "write_scan",
]


def run_batch(*arguments: object, opener: BoxOpener | None = None) -> int:
    """The command in this process; its exit code. What it sets in the environment and of logs is put back."""
    log = logging.getLogger("vesal")
    level = log.level
    try:
        with mock.patch.dict(os.environ):
            return batch([str(argument) for argument in arguments], opener or BoxOpener())
    finally:
        log.setLevel(level)


def rows(out: Path) -> list[dict[str, str]]:
    """The table of a run."""
    with (out / "batch" / "table.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def records(out: Path) -> dict[str, Record]:
    """The records of a run by name."""
    found = [Record.from_json(path.read_bytes()) for path in (out / "batch" / "cases").rglob("*.json")]
    return {record.name: record for record in found}


def result(out: Path, name: str) -> dict[str, bytes]:
    """All files of a result."""
    return {suffix: (out / f"{name}_seg{suffix}").read_bytes() for suffix in SUFFIXES}


def needs(*packages: str) -> None:
    """Skip a module where a package of the extra `cluster`, or of its tests, is not installed."""
    for package in packages:
        pytest.importorskip(package, reason=f"{package} is not installed: it is of the extra `cluster`")

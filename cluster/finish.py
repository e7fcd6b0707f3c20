"""What is made of the records when a run ends, and by `--merge`: the table, and the page."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from vesal import __version__
from vesal.cluster.job import Job
from vesal.cluster.page import page_of
from vesal.cluster.places import joined, local_path, put, read_bytes, write_bytes
from vesal.cluster.record import FOLDER, RUN_FILE, Record, record_place
from vesal.cluster.summary import Summary
from vesal.cluster.table import Tables
from vesal.inference.io.temporary import replacing, sweep

PAGE = f"{FOLDER}/report.html"
PIECE = 1 << 20


def write_run(output: str, weights: str) -> None:
    """Write `RUN_FILE`; all shards of a run write the same. Raises what system or store raise."""
    content = {"version": __version__, "weights": Path(weights).name}
    write_bytes(joined(output, RUN_FILE), (json.dumps(content, indent=1) + "\n").encode())


def remove_leftovers(jobs: Sequence[Job], output: str) -> None:
    """Remove what workers that were killed left unfinished on this machine's disks; what a process still
    writes stays.
    """
    folders = {local_path(job.output) for job in jobs}
    records = {local_path(record_place(output, job.name)) for job in jobs}
    for folder in sorted({path.parent for path in folders | records if path is not None}):
        sweep(folder)


def write_results(records: Iterable[Record], output: str) -> Summary:
    """Write table and page of records, which are read once; return what they come to."""
    summary, here = Summary(), local_path(joined(output, FOLDER))
    if here is not None:
        here.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".vesal-table-", dir=here) as folder:
        with Tables(Path(folder)) as tables:
            for record in records:
                tables.add(record)
                summary.add(record)
        for file in tables.files:
            _give(file, joined(output, f"{FOLDER}/{file.name}"))
        page = page_of(summary, [file.name for file in tables.files], _run(output))
    write_bytes(joined(output, PAGE), page.encode("utf-8", "backslashreplace"))
    return summary


def _run(output: str) -> Mapping[str, Any]:
    try:
        content = json.loads(read_bytes(joined(output, RUN_FILE)) or b"{}")
    except (ValueError, OSError):
        return {}
    return content if isinstance(content, dict) else {}


def _give(file: Path, place: str) -> None:
    path = local_path(place)
    if path is None:
        put(file, place)
        return
    with replacing(path) as target, file.open("rb") as source:
        while piece := source.read(PIECE):
            target.write(piece)

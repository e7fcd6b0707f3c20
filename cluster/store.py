"""The records of a run, read one by one: a million of them are never in memory at once."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from vesal.cluster.job import Job
from vesal.cluster.places import find, joined, local_path, read_bytes, shown
from vesal.cluster.record import CASES, Record, record_place
from vesal.inference.data.results import NOT_RUN

log = logging.getLogger("vesal")

AT_ONCE = 256
"""Records that are read ahead; from a store each of them is a question."""
THREADS = 32


def all_records(output: str) -> Iterator[Record]:
    """All records below a folder of label maps, in the order of their paths."""
    yield from (record for record in _read(list(_places(output))) if record is not None)


def records_of(jobs: Sequence[Job], output: str) -> Iterator[Record]:
    """The record of each job, in their order; one that has none was not run."""
    places = [record_place(output, job.name) for job in jobs]
    for job, record in zip(jobs, _read(places), strict=True):
        if record is None or record.name != job.name:
            reason = "there is no record of it: its shard, or the run, has not come to it"
            record = Record(
                job.name, shown(job.source), shown(job.output), NOT_RUN, attempts=0, reason=reason
            )
        yield record


def _places(output: str) -> Iterator[str]:
    folder = joined(output, CASES)
    path = local_path(folder)
    if path is None:
        yield from (url for url, _ in find(folder) if url.endswith(".json"))
        return
    found = [Path(place, name) for place, _, names in os.walk(path) for name in names]
    yield from (str(each) for each in sorted(found) if each.name.endswith(".json"))


def _read(places: Sequence[str]) -> Iterator[Record | None]:
    with ThreadPoolExecutor(THREADS) as pool:
        for first in range(0, len(places), AT_ONCE):
            yield from pool.map(_record, places[first : first + AT_ONCE])


def _record(place: str) -> Record | None:
    try:
        content = read_bytes(place)
        return None if content is None else Record.from_json(content)
    except Exception as error:  # of a store, whatever it has against it
        log.warning("%s is no record and is left out: %s", shown(place), type(error).__name__)
        return None

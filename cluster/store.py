"""The records of a run, read one by one: a million of them are never in memory at once."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path, PurePosixPath

from vesal.cluster.job import Job
from vesal.cluster.places import HIDDEN, base_name, find, is_there, joined, local_path, read_bytes, shown
from vesal.cluster.record import CASES, FAILED, Record, record_place
from vesal.inference.data.results import NOT_RUN

log = logging.getLogger("vesal")

AT_ONCE = 256
"""Records that are read ahead; from a store each of them is a question."""
THREADS = 32


def all_records(output: str) -> Iterator[Record]:
    """All records below a folder of label maps, in the order of their paths; for `--merge`."""
    places = list(_places(output))
    for place, record in zip(places, _read(places, partial(_checked, output)), strict=True):
        if record is not None and f"/{place}".endswith(f"/{CASES}/{record.name}.json"):
            yield record
        elif record is not None:  # a copy, which would be a second row of its case
            log.warning("%s is the record of %s and is left out", shown(place), record.name)


def records_of(
    jobs: Sequence[Job], output: str, told: Mapping[str, Record] | None = None, is_merge: bool = False
) -> Iterator[Record]:
    """The record of each job, in their order; one that has none was not run.

    Args:
        jobs: the cases.
        output: folder of the label maps.
        told: records by name that a run has in memory, as they may not have been written.
        is_merge: whether to see that label maps are there still, and were made with the prompts of the jobs;
            a run has seen to that.
    """
    places = [record_place(output, job.name) for job in jobs]
    read = _read(places, partial(_checked, output) if is_merge else _record)
    for job, found in zip(jobs, read, strict=True):
        record = (told or {}).get(job.name, found)
        if record is None or record.name != job.name:
            yield _not_run(job, "there is no record of it: no run has come to it, or it could not be written")
        elif is_merge and record.has_result and job.prompts and record.prompts not in ((), job.prompts):
            yield _not_run(job, f"its result is of other prompts: {'; '.join(record.prompts)}")
        else:
            yield record


def _not_run(job: Job, reason: str) -> Record:
    return Record(job.name, shown(job.source), shown(job.output), NOT_RUN, attempts=0, reason=reason)


def _places(output: str) -> Iterator[str]:
    folder = joined(output, CASES)
    path = local_path(folder)
    if path is None:
        yield from (url for url, _ in find(folder) if url.endswith(".json"))
        return
    found = [Path(place, name) for place, _, names in os.walk(path) for name in names]
    yield from (str(each) for each in sorted(found) if each.name.endswith(".json"))


def _read(places: Sequence[str], read: Callable[[str], Record | None]) -> Iterator[Record | None]:
    with ThreadPoolExecutor(THREADS) as pool:
        for first in range(0, len(places), AT_ONCE):
            yield from pool.map(read, places[first : first + AT_ONCE])


def _record(place: str) -> Record | None:
    try:
        content = read_bytes(place)
        return None if content is None else Record.from_json(content)
    except Exception as error:  # of a store, whatever it has against it
        log.warning("%s is no record and is left out: %s", shown(place), type(error).__name__)
        return None


def _checked(output: str, place: str) -> Record | None:
    """A record; failed where the label map that it tells of is gone."""
    record = _record(place)
    if record is None or not record.has_result or HIDDEN in record.output:
        return record
    if is_there(_map_of(record, output)):
        return record
    reason = "its label map is not there any more; run it again"
    return replace(record, state=FAILED, targets=(), sha256=None, reason=reason)


def _map_of(record: Record, output: str) -> str:
    """Its label map; the folder may have been moved since, or been named from another one."""
    return joined(output, str(PurePosixPath(record.name).parent / base_name(record.output)))

"""A case on its way through a worker: what lies in a store is brought here, what was made is put there."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from vesal.cluster.job import Job
from vesal.cluster.options import WorkerOptions
from vesal.cluster.places import (
    base_name,
    beside,
    facts_of,
    fetch,
    local_path,
    mark_of,
    put,
    read_bytes,
    scheme_of,
    shown,
    write_bytes,
)
from vesal.cluster.record import Record, record_place
from vesal.cluster.scratch import Scratch
from vesal.inference.data.errors import UsageError
from vesal.inference.io.digests import hashed
from vesal.inference.io.formats import case_name
from vesal.inference.io.prompt_files import prompts_file_beside
from vesal.inference.io.user_prompts import marks_path, user_prompts_files
from vesal.inference.runner.asked import with_asked
from vesal.inference.runner.case_paths import CasePaths
from vesal.inference.runner.own_output import is_whole
from vesal.inference.runner.own_proof import is_foreign, side_outputs

DATA_BESIDE = {
    ".mhd": (".raw", ".zraw"),
    ".nhdr": (".raw", ".raw.gz"),
    ".hdr": (".img", ".img.gz"),
    ".img": (".hdr",),
}
"""Suffixes of scans of which a part lies in a further file of their name, and that file's."""
ASKED_AT_ONCE = 8
"""Questions to a store, of which each takes as long as the network does."""
SCAN, MAP = "scan", "map"
"""Kinds of marks: of what was read, and of what was written."""


@dataclass
class Brought:
    """A case whose files are here."""

    job: Job
    pair: CasePaths
    """Paths here."""
    folder: Path | None = None
    """Of what was brought; None where nothing was."""
    done: bool = False
    """Whether the result is there already, and would be made of the same again."""
    old: Record | None = None
    marks: dict[str, str] = field(default_factory=dict)
    """Of the remote files that were read (`places.mark_of`), by what they are."""

    def leave(self) -> None:
        """Remove what was brought."""
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)


def bring(job: Job, options: WorkerOptions, scratch: Scratch) -> Brought:
    """Bring a case here, and see whether it is done.

    Raises:
        CaseError: the scan is not there.
        UsageError: the output is not ours to replace, or a name cannot be used.
        Exception: whatever a store raises.
    """
    far_scan, far_map = scheme_of(job.source) is not None, scheme_of(job.output) is not None
    folder = scratch.new_folder() if far_scan or far_map else None
    case = Brought(job, _pair(job, options, folder), folder, old=old_record(job, options))
    try:
        there = _there(_scan_files(job.source)) if far_scan else {}
        case.marks = _marks(there, SCAN)
        scan_is_known = _is_as_recorded(case.old, case.marks, SCAN)
        map_is_known = far_map and _bring_map(case)
        if not far_scan or scan_is_known:
            case.done = _is_done(case, options, scan_is_known=far_scan, map_is_known=map_is_known)
        if far_scan and not case.done:
            for place in (job.source, *(place for place in there if place != job.source)):
                fetch(place, case.pair.input.with_name(base_name(place)))
            case.done = _is_done(case, options, map_is_known=map_is_known)
        if not case.done and is_foreign(case.pair.output) and not _is_of_record(case):
            raise UsageError(
                f"{_first_file(case)} is there and was not written by vesal; give another folder for the "
                "results, or remove it."
            )
    except BaseException:
        case.leave()
        raise
    return case


def old_record(job: Job, options: WorkerOptions) -> Record | None:
    """What an earlier run wrote of a case; None where there is nothing that can be read."""
    content = read_bytes(record_place(options.output, job.name))
    try:
        record = None if content is None else Record.from_json(content)
    except ValueError:
        return None
    return record if record is not None and record.name == job.name else None


def put_result(case: Brought) -> dict[str, str]:
    """Put what was made into the store, the JSON file that proves it last; return the marks of all files."""
    if scheme_of(case.job.output) is None:
        return case.marks
    output = case.pair.output
    proof = side_outputs(output)[0]
    content: dict[str, Any] = {"label_map": output.name, "sha256": None, "whole": False, "masks": []}
    # From here on what lies there is ours, and not whole.
    write_bytes(beside(case.job.output, proof.name), json.dumps(content).encode())
    files = [path for path in (output, *side_outputs(output)[1:], proof) if path.is_file()]
    for path in files:
        put(path, beside(case.job.output, path.name))
    return case.marks | _marks(_there(beside(case.job.output, path.name) for path in files), MAP)


def _pair(job: Job, options: WorkerOptions, folder: Path | None) -> CasePaths:
    source, output = local_path(job.source), local_path(job.output)
    if source is None:
        assert folder is not None
        source = folder / "in" / base_name(job.source)
    if output is None:
        assert folder is not None
        output = folder / "out" / base_name(job.output)
    settings = replace(
        options.settings,
        sentences=job.prompts,
        instances=bool(job.prompts) and options.instances,
        modality=job.modality or options.settings.modality,
    )
    return with_asked(CasePaths(source, output, is_own=True), settings)


def _is_done(case: Brought, options: WorkerOptions, **known: bool) -> bool:
    return is_whole(case.pair, options.settings, **known)


def _is_of_record(case: Brought) -> bool:
    """Whether a label map whose proof is lost or damaged is the one that the record tells of."""
    output = case.pair.output
    wanted = None if case.old is None else case.old.sha256
    return wanted is not None and output.is_file() and hashed(output) == wanted


def _first_file(case: Brought) -> str:
    """Which file of a result is there."""
    output = case.pair.output
    there = next(path for path in (output, *side_outputs(output)) if os.path.lexists(path))
    return shown(case.job.output) if there == output else f"{there.name} beside {shown(case.job.output)}"


def _bring_map(case: Brought) -> bool:
    """Whether a remote label map is as the record says, and its proof here; else all of it is brought."""
    output = case.pair.output
    places = [beside(case.job.output, path.name) for path in (output, *side_outputs(output))]
    there = _there(places)
    marks = _marks(there, MAP)
    known = len(there) == len(places) and _is_as_recorded(case.old, marks, MAP)
    for place in places[1:2] if known else there:
        fetch(place, output.with_name(base_name(place)))
    # Where they are not as recorded they count once the content was looked at.
    case.marks |= marks
    return known


def _scan_files(source: str) -> list[str]:
    """A remote scan, and what may lie beside it and belongs to it."""
    path = Path(base_name(source))
    stem = case_name(path)
    others = [prompts_file_beside(path, stem), marks_path(path, stem), *user_prompts_files(path, stem)]
    names = [other.name for other in others]
    names += [stem + suffix for suffix in DATA_BESIDE.get(path.suffix.lower(), ())]
    return [source, *(beside(source, name) for name in names)]


def _there(places: Iterable[str]) -> dict[str, Mapping[str, Any]]:
    """What the store tells of those files that are there. One that may not be asked for is none: a signature
    holds for one file, and a store that does not let its folders be listed refuses instead of saying no.
    """
    names = list(places)
    with ThreadPoolExecutor(ASKED_AT_ONCE) as pool:
        told = pool.map(_facts, names)
        return {name: facts for name, facts in zip(names, told, strict=True) if facts is not None}


def _facts(place: str) -> Mapping[str, Any] | None:
    with suppress(PermissionError):
        return facts_of(place)
    return None


def _marks(there: Mapping[str, Mapping[str, Any]], kind: str) -> dict[str, str]:
    """Marks of files by kind and name; empty where one of them has none."""
    marks = {f"{kind} {base_name(place)}": mark_of(facts) for place, facts in there.items()}
    told = {name: mark for name, mark in marks.items() if mark is not None}
    return told if len(told) == len(marks) else {}


def _is_as_recorded(old: Record | None, marks: Mapping[str, str], kind: str) -> bool:
    """Whether there are marks, and the record of the last run has the same of this kind."""
    before = {} if old is None else {k: v for k, v in old.marks.items() if k.startswith(f"{kind} ")}
    return bool(marks) and marks == before

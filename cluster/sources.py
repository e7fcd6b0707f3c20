"""What `-i` names, a folder tree, a pattern, a table or a scan, here or in a store, as jobs."""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import islice
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

from vesal.cluster.job import Job
from vesal.cluster.places import (
    READ_ONLY,
    check_place,
    find,
    joined,
    local_path,
    match,
    redacted,
    scheme_of,
    shown,
)
from vesal.cluster.record import CASES, RUN_FILE
from vesal.cluster.table_input import SUFFIXES as TABLES
from vesal.cluster.table_input import InputRow, is_table, read_rows
from vesal.inference.data.errors import ModalityError, UsageError, VesalError
from vesal.inference.io.dicom_files import LOOKED_AT, Source
from vesal.inference.io.formats import (
    case_name,
    format_of,
    is_case_folder,
    label_suffix,
    suffix_of,
    suffixes,
    written_suffixes,
)
from vesal.inference.io.user_prompts import MARK
from vesal.inference.prompts.modality import modality_of
from vesal.inference.runner.case_paths import is_case, other_volumes, tell_others
from vesal.inference.runner.own_cases import SEG, without_results
from vesal.inference.runner.own_proof import DICOM_SUFFIX, output_name, proof_of, side_outputs

FOLDER_SUFFIX = ".nii.gz"
"""Of the label map of a scan whose name does not tell its format."""


@dataclass(frozen=True)
class Asked:
    """What is asked for in all scans, where a table does not say it."""

    prompts: tuple[str, ...] = ()
    modality: str | None = None


@dataclass(frozen=True)
class Found:
    """A scan, and what it is called below the folder of the label maps."""

    source: str
    path: str
    """With its suffix, and slashes between folders."""
    size: int = 0
    """Bytes, where they are told with the listing."""
    row: InputRow | None = None


def read_jobs(inputs: Sequence[str], output: str, asked: Asked) -> list[Job]:
    """All scans of the inputs, sorted by name; nothing of them is read but their names.

    Raises UsageError where an input is not there or holds no scan, a table is wrong, or two scans would have
    one label map. The error of a table names its row.
    """
    check_place(output, writes=True)
    found = [each for place in inputs for each in _scans(check_place(place), output)]
    taken: dict[tuple[str, str], tuple[Job, Found]] = {}
    for each in found:
        job = _job(each, output, asked)
        # Also where only the suffixes differ: what proves a label map has its name and ends in .json.
        for key in (("case", job.name), ("map", _map_name(job, output))):
            other, first = taken.setdefault(key, (job, each))
            if other != job:
                raise UsageError(
                    f"{_told(first)} and {_told(each)} would both be called {key[1]!r}; give each a name of "
                    "its own in a table's column output, or run them into different folders. All prompts of "
                    "a scan go into one row."
                )
    return sorted({job.name: job for job, _ in taken.values()}.values(), key=lambda job: job.name)


def _told(found: Found) -> str:
    return shown(found.source) + (f" ({found.row.where})" if found.row else "")


def _map_name(job: Job, output: str) -> str:
    """Of the label map, below the folder and without its suffix."""
    path = Path(job.output[len(joined(output, "x")) - 1 :])
    return str(path.with_name(output_name(path)))


def _scans(place: str, output: str) -> Iterator[Found]:
    """The scans of one input. Raises UsageError."""
    if is_table(place):
        yield from map(_of_row(place), read_rows(place))
        return
    try:
        found = _far(place) if scheme_of(place) else _near(place, output)
    except VesalError:
        raise
    except Exception as error:  # whatever a store has against it
        wanted = "See that it is there and may be read"
        if scheme_of(place):
            wanted += "; what its store asks for comes from the environment"
        text = f"{shown(place)} cannot be listed ({type(error).__name__}: {error}). {wanted}."
        raise UsageError(redacted(text)) from None
    if not found:
        raise UsageError(f"{shown(place)}: there is no scan; give a scan, a folder, a pattern or a table.")
    kept = {str(path) for path in without_results([Path(each.path) for each in found])}
    yield from (each for each in found if str(Path(each.path)) in kept)


def _near(place: str, output: str) -> list[Found]:
    path = local_path(place)
    assert path is not None
    if not os.path.lexists(path):
        if not glob.has_magic(str(path)):
            raise UsageError(f"{place} does not exist; give a scan, a folder, a pattern or a table.")
        top = _before_magic(str(path))
        return [Found(str(each), os.path.relpath(each, top)) for each in _matching(str(path))]
    if path.name in ("", ".."):
        path = Path(os.path.abspath(path))  # a series is named after its folder
    if not _is_folder(path):
        if suffix_of(path) is None and not is_case_folder(path):
            raise UsageError(
                f"{place} is neither a scan ({', '.join(suffixes())}) nor a table ({', '.join(TABLES)}); "
                "give one of them, a folder or a pattern."
            )
        return [Found(str(path), path.name)]
    others: list[Path] = []
    below = list(_tree(path, local_path(output), others))
    tell_others(others)
    return [Found(str(each), path.name if each == path else str(each.relative_to(path))) for each in below]


def _is_folder(path: Path) -> bool:
    """Whether to look into it; also where it is named as a scan, as some archives unpack (`a.nii/a.nii`)."""
    return path.is_dir() and (suffix_of(path) is None or not is_case_folder(path))


def _matching(pattern: str) -> list[Path]:
    """Cases that fit a pattern; as in a tree, `**` does not follow links to folders, which may lead back."""
    parts = Path(pattern).parts
    first = parts.index("**") if "**" in parts else None

    @cache
    def is_link(folder: Path) -> bool:
        return folder.is_symlink() and folder.is_dir()

    def is_linked(path: Path) -> bool:
        if first is None:
            return False
        ends = range(first + 1, len(path.parts) + 1)
        return any(is_link(Path(*path.parts[:end])) for end in ends)

    found = (Path(name) for name in sorted(glob.glob(pattern, recursive=True)))
    return [each for each in found if (is_case_folder(each) or is_case(each)) and not is_linked(each)]


def _tree(folder: Path, output: Path | None, others: list[Path]) -> Iterator[Path]:
    """Cases of a folder and of those below it, without hidden ones, links to folders, results of any run, and
    what lies in ``output``. A folder with DICOM files in it is a case, one of such folders not. ``others``
    gets the volumes in formats that are not read.
    """
    entries = sorted(folder.iterdir())
    if _holds_series([entry for entry in entries if entry.is_file()]):
        yield folder
    else:
        others += other_volumes(entries)
    for entry in entries:
        if entry.name[0] in ".~" or (output is not None and _is_same(entry, output)):
            continue
        if _is_folder(entry):
            if not entry.is_symlink():
                yield from _tree(entry, output, others)
        elif is_case(entry) and proof_of(entry) is None:
            yield entry


def _holds_series(files: Sequence[Path]) -> bool:
    """Whether files of one folder are of a DICOM series; results of ours are none."""
    others = (path for path in files if path.name[0] != "." and suffix_of(path) in (None, DICOM_SUFFIX))
    looked_at = [path for path in islice(others, LOOKED_AT) if proof_of(path) is None]
    return any(Source(path.name, path).is_dicom() for path in looked_at)


def _is_same(path: Path, other: Path) -> bool:
    return os.path.realpath(path) == os.path.realpath(other)


def _before_magic(pattern: str) -> str:
    """The folder of a pattern that holds all it can find."""
    parts = Path(pattern).parts
    first = next(number for number, part in enumerate(parts) if glob.has_magic(part))
    return str(Path(*parts[:first])) if first else "."


def _far(place: str) -> list[Found]:
    """Scans of a store: one by its name, those that fit a pattern, or all below a folder."""
    plain = place.partition("?")[0] if scheme_of(place) in READ_ONLY else place
    if glob.has_magic(plain):
        top = plain[: min(plain.index(sign) for sign in "*?[" if sign in plain)].rpartition("/")[0]
        listed = list(match(place))
    elif suffix_of(Path(plain)) is not None:
        return [Found(place, PurePosixPath(plain).name)]
    else:
        top, listed = plain.rstrip("/"), list(find(place))
    name = unquote if scheme_of(place) in READ_ONLY else str
    below = [(url, name(url[len(top) :].lstrip("/")), size) for url, size in listed]
    return [Found(url, path, size) for url, path, size in below if _is_scan(path)]


def _is_scan(path: str) -> bool:
    """Whether a file of a store is a scan by its name; folders of the format Zarr are given in a table."""
    hidden = any(part[:1] in (".", "~") or part.lower().endswith(".zarr") for part in path.split("/"))
    named = suffix_of(Path(path)) is not None and not case_name(Path(path)).endswith(MARK)
    return named and not hidden and not path.startswith(f"{CASES}/")


def _of_row(table: str) -> Callable[[InputRow], Found]:
    """From a row of a table to a scan: relative paths begin at its folder, and are the scan's name."""
    folder = table.partition("?")[0].rpartition("/")[0] if scheme_of(table) else None
    here = os.path.abspath(os.path.dirname(local_path(table) or "")) if folder is None else ""

    def found(row: InputRow) -> Found:
        try:
            source = check_place(row.path)
        except UsageError as error:
            raise type(error)(f"{row.where}: {error}") from None
        if scheme_of(source) is not None:
            plain = source.partition("://")[2]
            is_web = scheme_of(source) in READ_ONLY
            return Found(source, unquote(plain.partition("?")[0]) if is_web else plain, row=row)
        if folder is not None:
            if os.path.isabs(source) or ".." in source.split("/"):
                raise UsageError(f"{row.where}: {source} is not below the table's folder.")
            return Found(joined(folder, source), source, row=row)
        path = os.path.normpath(os.path.join(here, str(local_path(source))))
        below = os.path.relpath(path, here)
        named = path.lstrip("/") if below.split("/")[0] == ".." else below
        # A folder that is a scan keeps its slash: in a store it says that all below is wanted.
        return Found(path, named, row=row)

    return found


def _job(found: Found, output: str, asked: Asked) -> Job:
    row = found.row
    path = Path(found.path.rstrip("/"))
    suffix = label_suffix(path) if suffix_of(path) else FOLDER_SUFFIX
    if local_path(found.source) is not None and suffix_of(path) is None:
        suffix = format_of(Path(found.source)).writes or FOLDER_SUFFIX
    name = str(path.with_name(case_name(path))) if suffix_of(path) else str(path)
    target = f"{name}{SEG}{suffix}"
    if row is not None and row.output is not None:
        name, target = _own_name(row, suffix)
    _check_name(name, target, found)
    prompts = (row.prompts if row else ()) or asked.prompts
    modality = (row.modality if row else None) or asked.modality
    _check_modality(modality, row)
    cost = float(found.size * max(1, len(prompts)))
    return Job(name, found.source, joined(output, target), prompts, modality, cost)


def _own_name(row: InputRow, suffix: str) -> tuple[str, str]:
    """Name and label map as the column `output` says: with the label map's suffix or without."""
    wanted = row.output or ""
    given = suffix_of(Path(wanted))
    if given is not None and given in written_suffixes():
        return wanted[: -len(given)], wanted
    return wanted, f"{wanted}{suffix}"


def _check_name(name: str, target: str, found: Found) -> None:
    """Raise UsageError where a name would leave the folder of the label maps, or take a record's place, and
    where what proves the label map ``target`` would take that of `RUN_FILE`.
    """
    parts = name.split("/")
    wrong = any(part in ("", ".", "..") for part in parts) or scheme_of(name) or "\0" in name
    if wrong or f"{name}/".startswith(f"{CASES}/") or str(side_outputs(Path(target))[0]) == RUN_FILE:
        where = f"{found.row.where}: " if found.row else ""
        raise UsageError(
            f"{where}{shown(found.source)} would be called {shown(name)!r}; give a name below the folder of "
            f"the label maps, without '..', and not in {CASES} or {RUN_FILE}."
        )


def _check_modality(word: str | None, row: InputRow | None) -> None:
    try:
        if word is not None:
            modality_of(word)
    except ModalityError as error:
        raise UsageError(f"{f'{row.where}: ' if row and row.modality else ''}{error}") from None

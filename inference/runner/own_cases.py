"""Own scans (`-i`, or a table): which files are read, what is asked for in each, where its label map goes."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path

from vesal.inference.data.errors import UsageError
from vesal.inference.io.formats import (
    case_name,
    format_of,
    is_case_folder,
    is_claimed,
    label_suffix,
    open_case,
    side_files,
    suffix_of,
    written_suffixes,
)
from vesal.inference.runner.asked import with_asked
from vesal.inference.runner.case_paths import CasePaths, list_cases, make_folder
from vesal.inference.runner.own_proof import (
    DICOM_SUFFIX,
    check_foreign,
    check_foreign_masks,
    is_foreign,
    proof_of,
    side_outputs,
)
from vesal.inference.runner.settings import Settings
from vesal.inference.runner.table import Row, read_table

SEG = "_seg"
"""Between a scan's name and the suffix of its label map."""
NO_LABELS = (".csv", ".gz", ".h5", ".html", ".jpg", ".json", ".mat", ".npy", ".pdf", ".png", ".tsv", ".txt")
"""Suffixes of files that no label map is; other names with a dot may be folders."""


def find_own_cases(settings: Settings) -> tuple[CasePaths, ...]:
    """Every scan with its label map, in the order given; nothing is made or written.

    Raises UsageError where a scan is not there, two would have one label map, or one would replace something
    that is read.
    """
    rows = read_table(settings.prompts) if settings.has_table and settings.prompts else []
    scans = _scans(settings.images) if settings.images else []
    pairs = (
        _of_table(scans, rows, settings) if rows else [_pair(scan, settings, len(scans)) for scan in scans]
    )
    _check_outputs(pairs, settings)
    return tuple(pairs)


def make_folders(pairs: Iterable[CasePaths]) -> None:
    """Make the folders of label maps and see whether they can be written. Raises UsageError."""
    for folder in dict.fromkeys(pair.output.parent for pair in pairs):
        make_folder(folder)


def check_asked(pairs: Sequence[CasePaths], settings: Settings) -> None:
    """Raise UsageError where nothing says what to look for in any scan."""
    if settings.prompts is not None or settings.marks.by_key or any(pair.asked for pair in pairs):
        return
    for pair in pairs:
        with open_case(pair.input, settings.reading) as reader:
            count = getattr(reader, "count_prompts", None)
            # Of a scan that cannot be read its own error tells more.
            if count is None or count() or reader.shape is None:
                return
    raise UsageError(f"nothing says what to look for in {pairs[0].input}; give -p, such as -p liver.")


def _scans(given: Sequence[Path]) -> list[Path]:
    """Cases of files, folders and patterns, none twice. Raises UsageError."""
    found: list[Path] = []
    for path in given:
        found += _expanded(path)
    # Once more over all: a shell that expands a pattern hands over the results of an earlier run as well.
    cases = without_results(found)
    return list({os.path.realpath(path): path for path in reversed(cases)}.values())[::-1]


def _expanded(path: Path) -> list[Path]:
    if path.name in ("", ".."):
        path = Path(os.path.abspath(path))  # a name is wanted for the label map
    if os.path.lexists(path):
        return _of_folder(path) if is_case_folder(path) else without_results(list_cases(path))
    if glob.has_magic(str(path)):
        matching = [Path(name) for name in sorted(glob.glob(str(path), recursive=True))]
        cases = [p for p in matching if suffix_of(p) is not None or is_case_folder(p)]
        if cases:
            return without_results(cases)
        raise UsageError(
            f"{path}: no scan has such a name; put the pattern in quotes and see where it begins."
        )
    raise UsageError(f"{path} does not exist; give a scan, a folder of scans or a pattern.")


def _of_folder(path: Path) -> list[Path]:
    """A folder that is a case by itself, such as a DICOM series; with scans of other formats in it these are
    cases as well, and series below it have their own folders.
    """
    files = [p for p in sorted(path.iterdir()) if p.is_file() and suffix_of(p) is not None and is_claimed(p)]
    beside = [p for p in files if proof_of(p) is None]  # what was written into it is no scan
    if suffix_of(path) is not None or not beside:
        return [path]
    below = any(is_case_folder(p) for p in path.iterdir())
    return without_results(list_cases(path) if below else [path, *beside])


def without_results(cases: Sequence[Path]) -> list[Path]:
    """Cases without label maps and masks of an earlier run: `NAME_seg` beside `NAME`, and what lies in the
    folder `NAME_seg`, unless they are given alone.
    """
    names = {(case.parent, case_name(case)) for case in cases}

    def is_result(case: Path) -> bool:
        own = (case.parent, case_name(case)), (case.parent.parent, case.parent.name)
        return any(name.endswith(SEG) and (at, name.removesuffix(SEG)) in names for at, name in own)

    return [case for case in cases if not is_result(case)]


def _of_table(scans: Sequence[Path], rows: Sequence[Row], settings: Settings) -> list[CasePaths]:
    """Rows as cases; with scans of `-i` only these. Raises UsageError."""
    by_path = {os.path.realpath(row.path): row for row in rows}
    if len(by_path) < len(rows):
        raise UsageError(f"{settings.prompts}: a path stands in several rows; put its prompts into one.")
    if scans and (without := [s for s in scans if os.path.realpath(s) not in by_path]):
        raise UsageError(f"{settings.prompts} has no row for {without[0]}; add one, or leave out -i.")
    chosen = [(s, by_path[os.path.realpath(s)]) for s in scans] or [(row.path, row) for row in rows]
    pairs = []
    for scan, row in chosen:
        if not os.path.lexists(scan) or _expanded(scan) != [scan]:
            raise UsageError(f"{settings.prompts}: {scan} is not there, or not a single scan.")
        own = replace(
            settings, output=row.output or settings.output, modality=row.modality or settings.modality
        )
        pairs.append(_pair(scan, own, 1 if row.output else len(chosen), row.sentences))
    return pairs


def _pair(scan: Path, settings: Settings, scans: int, sentences: Sequence[str] = ()) -> CasePaths:
    """A scan with its label map."""
    suffix = DICOM_SUFFIX if settings.dicom_seg else label_suffix(scan)
    name = f"{case_name(scan)}{SEG}{suffix}"
    pair = CasePaths(scan, _output(scan, settings, name, scans), is_own=True)
    return with_asked(pair, settings, sentences)


def _output(scan: Path, settings: Settings, name: str, scans: int) -> Path:
    """The label map's path. Raises UsageError."""
    wanted = settings.output
    if wanted is None:
        return scan.parent / name
    given = DICOM_SUFFIX if wanted.name.lower().endswith(DICOM_SUFFIX) else suffix_of(wanted)
    if wanted.is_dir() or given is None:
        if wanted.exists() and not wanted.is_dir():
            raise UsageError(f"{wanted} is a file and no label map's name; give a folder or another name.")
        if wanted.suffix and not wanted.exists():
            # Folders have dots too, but a name such as out.nii.g is a slip.
            _check_suffix(wanted)
        return wanted / name
    if scans > 1:
        raise UsageError(f"{wanted} names one file, and there are {scans} scans; give a folder.")
    fitting = (DICOM_SUFFIX,) if settings.dicom_seg else written_suffixes()
    if given not in fitting:
        raise UsageError(f"{wanted}: the label map is {' or '.join(fitting)} here; name it so.")
    return wanted


def _check_suffix(wanted: Path) -> None:
    """Raise UsageError for what looks like the name of a file that no label map has."""
    if wanted.suffix.lower() in NO_LABELS or get_close_matches(
        "".join(wanted.suffixes[-2:]), written_suffixes()
    ):
        raise UsageError(
            f"{wanted} is no folder that is there, and no name of a label map: these end in "
            f"{', '.join(written_suffixes())}. Name it so, or make the folder."
        )


def _check_outputs(pairs: Sequence[CasePaths], settings: Settings) -> None:
    """Raise UsageError where a label map would replace what is read, or another one."""
    read = [pair.input for pair in pairs] + [path for path in (settings.prompts,) if path is not None]
    read += [path for pair in pairs for path in side_files(pair.input)]
    taken = {key: path for path in read for key in _keys(path)}
    seen: dict[str, CasePaths] = {}
    for pair in pairs:
        for written in (pair.output, *side_outputs(pair.output)):
            for key in _keys(written):
                if key in taken:
                    raise UsageError(f"{written} would replace {taken[key]}, which is read; give another -o.")
        other = seen.setdefault(os.path.realpath(pair.output), pair)
        if other is not pair:
            raise UsageError(
                f"{other.input} and {pair.input} would both be written to {pair.output}; run them apart, or "
                "into different folders."
            )
        if pair.output.is_dir():
            raise UsageError(f"{pair.output} is a folder where the label map should go; remove or rename it.")
        if settings.dicom_seg and not _is_dicom(pair.input):
            raise UsageError(f"--dicom-seg needs a DICOM series, and {pair.input} is none; leave it out.")
        _check_own_files(pair, settings)


def _check_own_files(pair: CasePaths, settings: Settings) -> None:
    """Raise UsageError where a file would be replaced that no run of ours has written.

    Those that are left out (`--skip-existing`) are not replaced.
    """
    if settings.skip_existing and is_foreign(pair.output):
        return
    check_foreign(pair.output)
    if settings.separate or settings.probabilities is not None:
        # Boxes and points may bring prompts of their own.
        ids = None if pair.asked is None or settings.marks.by_key else pair.asked.sentences.keys()
        check_foreign_masks(pair.output, ids)


def _is_dicom(scan: Path) -> bool:
    return format_of(scan).claims is not None  # which the formats of DICOM alone do


def _keys(path: Path) -> list[str]:
    """What is the same for two names of one file: the real path, and the file's number where it is there."""
    keys = [os.path.realpath(path)]
    try:
        facts = os.stat(path)
    except OSError:
        return keys
    return [*keys, f"{facts.st_dev}:{facts.st_ino}"]

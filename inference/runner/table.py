"""A table of many scans: tab-separated, a row a scan, with what is asked for in each."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path

from vesal.inference.data.errors import UnreadableFileError, UsageError
from vesal.inference.io.files import open_regular_file
from vesal.inference.io.limits import MAX_FILE_BYTES

PATH, PROMPTS, MODALITY, OUTPUT = "path", "prompts", "modality", "output"
COLUMNS = (PATH, PROMPTS, MODALITY, OUTPUT)
"""Of the header, in any order; the last two may be missing."""
BETWEEN = ";"
"""Between the prompts of a row, as sentences hold commas."""
WANTED = (
    f"A tab-separated table with a header is wanted: columns {PATH} and {PROMPTS} ({BETWEEN!r} between "
    f"several prompts), and if wanted {MODALITY} and {OUTPUT}."
)


@dataclass(frozen=True)
class Row:
    """One scan of a table."""

    path: Path
    sentences: tuple[str, ...]
    modality: str | None
    output: Path | None
    """File or folder."""


def read_table(path: Path) -> list[Row]:
    """The rows of a table; relative paths in it begin at its folder. Raises UsageError."""
    lines = csv.DictReader(io.StringIO(_text(path), newline=""), delimiter="\t")
    header = [(name or "").strip() for name in lines.fieldnames or ()]
    unknown = [name for name in header if name not in COLUMNS]
    missing = [name for name in (PATH, PROMPTS) if name not in header]
    if unknown or missing or len(set(header)) < len(header):
        raise UsageError(
            f"{path}: the first line holds {', '.join(map(repr, header)) or 'nothing'}. {WANTED}"
        )
    lines.fieldnames = header
    try:
        rows = [_row(path, number, line) for number, line in enumerate(lines, 2) if any(line.values())]
    except csv.Error as error:
        raise UsageError(f"{path}: {error}. {WANTED}") from None
    if not rows:
        raise UsageError(f"{path}: there is no row below the header. {WANTED}")
    return rows


def _row(table: Path, number: int, line: dict[str, str | None]) -> Row:
    """One row. Raises UsageError."""
    cells = {name: (line.get(name) or "").strip() for name in COLUMNS}
    sentences = tuple(part.strip() for part in cells[PROMPTS].split(BETWEEN) if part.strip())
    if None in line or not cells[PATH] or not sentences:
        raise UsageError(f"{table}, line {number}: a path, prompts or a tab is missing or too many. {WANTED}")
    output = table.parent / cells[OUTPUT] if cells[OUTPUT] else None
    return Row(table.parent / cells[PATH], sentences, cells[MODALITY] or None, output)


def _text(path: Path) -> str:
    try:
        with open_regular_file(path) as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except (UnreadableFileError, OSError) as error:
        raise UsageError(f"{error} {WANTED}") from error
    if len(data) > MAX_FILE_BYTES:
        raise UsageError(f"{path} is too large: at most {MAX_FILE_BYTES} bytes are read.")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: byte {error.start} is not UTF-8. Save the table as UTF-8.") from error

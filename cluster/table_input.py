"""A table of scans, a row a scan: CSV, TSV or Parquet, here or in a store."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from vesal.cluster.places import base_name, read_bytes, redacted, shown
from vesal.inference.data.errors import MissingPackageError, UsageError
from vesal.inference.runner.table import BETWEEN, COLUMNS, MODALITY, OUTPUT, PATH, PROMPTS

CSV, TSV, PARQUET = ".csv", ".tsv", ".parquet"
SUFFIXES = (CSV, TSV, PARQUET)
DELIMITERS = {CSV: ",", TSV: "\t"}
WANTED = (
    f"A table with the column {PATH} is wanted, and, where needed, {PROMPTS} ({BETWEEN!r} between several), "
    f"{MODALITY} and {OUTPUT}."
)


@dataclass(frozen=True)
class InputRow:
    """One scan of a table, as it is written there."""

    number: int
    """Of the row, from 1 on, without the header."""
    path: str
    prompts: tuple[str, ...] = ()
    modality: str | None = None
    output: str | None = None


def is_table(place: str) -> bool:
    """Whether a name is one of a table."""
    return base_name(place).lower().endswith(SUFFIXES)


def read_rows(place: str) -> list[InputRow]:
    """The rows of a table. Raises UsageError."""
    name = base_name(place).lower()
    try:
        content = read_bytes(place)
    except (UsageError, MissingPackageError):
        raise
    except Exception as error:  # whatever the system or a store has against it
        raise UsageError(redacted(f"{shown(place)} cannot be read: {error}. {WANTED}")) from None
    if content is None:
        raise UsageError(f"{shown(place)} does not exist. {WANTED}")
    if name.endswith(PARQUET):
        header, lines = _parquet(place, content)
    else:
        header, lines = _text(place, content, DELIMITERS[name[-len(CSV) :]])
    _check_header(place, header)
    rows = [_row(place, number, line) for number, line in enumerate(lines, 1) if any(line.values())]
    if not rows:
        raise UsageError(f"{shown(place)}: there is no row with a scan. {WANTED}")
    return rows


def _check_header(place: str, header: list[str]) -> None:
    unknown = [name for name in header if name not in COLUMNS]
    if unknown or PATH not in header or len(set(header)) < len(header):
        told = ", ".join(map(repr, header)) or "nothing"
        raise UsageError(f"{shown(place)}: its columns are {told}. {WANTED}")


def _text(place: str, content: bytes, delimiter: str) -> tuple[list[str], Iterator[dict[Any, Any]]]:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(
            f"{shown(place)}: byte {error.start} is not UTF-8. Save the table as UTF-8."
        ) from None
    lines = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        header = [(name or "").strip() for name in lines.fieldnames or ()]
        lines.fieldnames = header
        return header, iter(list(lines))
    except csv.Error as error:
        raise UsageError(f"{shown(place)}, line {lines.line_num}: {error}. {WANTED}") from None


def _parquet(place: str, content: bytes) -> tuple[list[str], Iterator[dict[Any, Any]]]:
    """Columns of text alone, and of lists of it: nothing in the file is run."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise MissingPackageError(
            f'{shown(place)} needs the package pyarrow; run `pip install "vesal[cluster]"`, or give a CSV.'
        ) from None
    try:
        table = pyarrow.parquet.read_table(pyarrow.BufferReader(content))
        return list(table.column_names), iter(table.to_pylist())
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise UsageError(f"{shown(place)}: {error}. {WANTED}") from None


def _row(place: str, number: int, line: dict[Any, Any]) -> InputRow:
    cells = {name: line.get(name) for name in COLUMNS}
    path, modality, output = (_cell(cells[name]) for name in (PATH, MODALITY, OUTPUT))
    if None in line or path is None:
        what = "there are more cells than columns" if None in line else f"its {PATH} is empty"
        raise UsageError(f"{shown(place)}, row {number}: {what}. {WANTED}")
    return InputRow(number, path, _sentences(cells[PROMPTS]), modality, output)


def _cell(value: object) -> str | None:
    return (str(value).strip() or None) if value is not None else None


def _sentences(value: object) -> tuple[str, ...]:
    parts: Iterable[Any] = value if isinstance(value, list) else str(value or "").split(BETWEEN)
    return tuple(text for part in parts if (text := str(part).strip()))

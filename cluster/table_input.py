"""A table of scans, a row a scan: CSV, TSV or Parquet, here or in a store."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Iterator, Sequence
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
    f"{MODALITY} and {OUTPUT}, but no others; in .csv commas are between the cells, in .tsv tabs."
)


@dataclass(frozen=True)
class InputRow:
    """One scan of a table, as it is written there."""

    where: str
    """Table and row, for messages; rows from 1 on, without the header, and with those that are blank."""
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
    numbered = ((f"{shown(place)}, row {number}", line) for number, line in enumerate(lines, 1))
    rows = [_row(where, line) for where, line in numbered if not all(map(_is_empty, line.values()))]
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
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        first, *lines = list(reader) or [[]]
    except csv.Error as error:
        raise UsageError(f"{shown(place)}, line {reader.line_num}: {error}. {WANTED}") from None
    header = [name.strip() for name in first]
    return header, (_named(header, cells) for cells in lines)


def _named(header: Sequence[str], cells: Sequence[str]) -> dict[Any, Any]:
    """Cells by column; those that have none are at None."""
    more = {None: cells[len(header) :]} if len(cells) > len(header) else {}
    return {**dict(zip(header, cells, strict=False)), **more}


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


def _is_empty(value: object) -> bool:
    """NaN is what is missing in Parquet."""
    if isinstance(value, float):
        return math.isnan(value)
    return value is None or (isinstance(value, str) and not value.strip())


def _row(where: str, line: dict[Any, Any]) -> InputRow:
    if None in line:
        raise UsageError(f"{where}: there are more cells than columns. {WANTED}")
    path, modality, output = (_cell(where, name, line.get(name)) for name in (PATH, MODALITY, OUTPUT))
    if path is None:
        raise UsageError(f"{where}: its {PATH} is empty. {WANTED}")
    return InputRow(where, path, _sentences(where, line.get(PROMPTS)), modality, output)


def _cell(where: str, name: str, value: object) -> str | None:
    """Text of a cell, which may be a number in Parquet; None where it is empty."""
    if isinstance(value, bytes):  # text of writers that do not mark it as such
        value = value.decode("utf-8", "replace")
    if _is_empty(value):
        return None
    if not isinstance(value, str | int | float):
        raise UsageError(f"{where}: its {name} is {value!r}, no text. {WANTED}")
    return str(value).strip()


def _sentences(where: str, value: object) -> tuple[str, ...]:
    parts: Iterable[Any] = (
        value if isinstance(value, list) else (_cell(where, PROMPTS, value) or "").split(BETWEEN)
    )
    texts = (_cell(where, PROMPTS, part) for part in parts)
    return tuple(text for text in texts if text is not None)

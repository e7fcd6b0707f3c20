"""The table of a run, a row a case and target: as CSV, and as Parquet where pyarrow is there."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from vesal.cluster.record import Record, TargetRow

COLUMNS: dict[str, str] = {
    "case": "string",
    "prompt": "int64",
    "text": "string",
    "target": "string",
    "state": "string",
    "voxels": "int64",
    "volume_ml": "float64",
    "mean_probability": "float64",
    "seconds": "float64",
    "worker": "string",
    "attempts": "int64",
    "reason": "string",
    "warnings": "string",
    "source": "string",
    "output": "string",
    "sha256": "string",
}
"""Names, and their types in Parquet. A case without a target has one row, with that empty."""
ROWS_AT_ONCE = 20_000
"""Rows of a group of the Parquet file: some megabytes."""
NO_TARGET = TargetRow(0, "")


def rows_of(record: Record) -> Iterator[tuple[Any, ...]]:
    """The rows of a case, in the order of `COLUMNS`."""
    for target in record.targets or (NO_TARGET,):
        values = (
            record.name,
            target.id or None,
            target.text,
            target.target,
            record.state,
            target.voxels,
            target.volume_ml,
            target.mean_probability,
            record.seconds,
            record.worker,
            record.attempts,
            _reasons(record, target),
            "; ".join(record.warnings) or None,
            record.source,
            record.output,
            record.sha256,
        )
        yield tuple(_text(value) if isinstance(value, str) else value for value in values)


def _reasons(record: Record, target: TargetRow) -> str | None:
    """What went wrong with the case, else why the target was read and covered as it was."""
    return "; ".join(each for each in (record.reason, target.reason) if each) or None


def _text(value: str) -> str:
    """Names of files may hold bytes that are no UTF-8."""
    return value.encode("utf-8", "backslashreplace").decode()


@dataclass
class Tables:
    """Writes the tables as records come; nothing of them stays in memory."""

    folder: Path
    """Where `table.csv` and `table.parquet` go."""

    def __enter__(self) -> Self:
        """Open both."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._file = (self.folder / "table.csv").open("w", encoding="utf-8", newline="")
        self._csv = csv.writer(self._file, lineterminator="\n")
        self._csv.writerow(COLUMNS)
        self._parquet = _Parquet.open(self.folder / "table.parquet")
        return self

    def add(self, record: Record) -> None:
        """The rows of one case."""
        for row in rows_of(record):
            self._csv.writerow(row)
            if self._parquet is not None:
                self._parquet.add(row)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close both."""
        self._file.close()
        if self._parquet is not None:
            self._parquet.close()

    @property
    def files(self) -> list[Path]:
        """What was written."""
        names = ["table.csv"] + (["table.parquet"] if self._parquet is not None else [])
        return [self.folder / name for name in names]


class _Parquet:
    """A Parquet file that is written by groups of rows."""

    def __init__(self, path: Path) -> None:
        import pyarrow
        import pyarrow.parquet

        self._arrow = pyarrow
        self._schema = pyarrow.schema([(name, getattr(pyarrow, kind)()) for name, kind in COLUMNS.items()])
        # An open file: of a path Arrow takes `~` and what looks like a scheme for its own.
        self._file = path.open("wb")
        self._writer = pyarrow.parquet.ParquetWriter(self._file, self._schema)
        self._rows: list[tuple[Any, ...]] = []

    @classmethod
    def open(cls, path: Path) -> _Parquet | None:
        """None where pyarrow is not installed."""
        try:
            return cls(path)
        except ImportError:
            return None

    def add(self, row: tuple[Any, ...]) -> None:
        """One row."""
        self._rows.append(row)
        if len(self._rows) >= ROWS_AT_ONCE:
            self._flush()

    def close(self) -> None:
        """Write what is left, and the end of the file."""
        self._flush()
        self._writer.close()
        self._file.close()

    def _flush(self) -> None:
        columns = zip(*self._rows, strict=True) if self._rows else [()] * len(COLUMNS)
        arrays = [
            self._arrow.array(list(column), field.type)
            for column, field in zip(columns, self._schema, strict=True)
        ]
        self._writer.write_table(self._arrow.Table.from_arrays(arrays, schema=self._schema))
        self._rows = []

"""Tables as plain text, for the lists that commands print."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

UNKNOWN = "-"
"""Stands for what is not known, or was not measured."""
GAP = "  "


def aligned(rows: Sequence[Sequence[str | None]]) -> Iterator[str]:
    """Rows of equally many cells as lines with aligned columns; None becomes ``UNKNOWN``."""
    known = [[UNKNOWN if cell is None else cell for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*known, strict=True)]
    for row in known:
        yield GAP.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()

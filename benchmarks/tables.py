"""Tables of the benchmarks: as Markdown for people, as JSON for everything else."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vesal.inference.runtime.machine import processor


@dataclass(frozen=True)
class Row:
    """One thing that was measured."""

    what: str
    value: float | None
    """None where it could not be measured"""
    unit: str = "ms"
    against: float | None = None
    """what it is set beside, in the same unit and the same run"""
    than: str = ""
    """what that is"""
    limit: float | None = None
    """largest ratio to ``against`` that is wanted, or largest value where there is none"""
    note: str = ""

    @property
    def ratio(self) -> float | None:
        """Value over what it is set beside."""
        return self.value / self.against if self.value is not None and self.against else None

    @property
    def kept(self) -> bool | None:
        """Whether the limit is kept; None where there is none."""
        measured = self.value if self.against is None else self.ratio
        return None if self.limit is None or measured is None else measured <= self.limit


def markdown(title: str, rows: Sequence[Row]) -> str:
    """A table, limits marked as kept or not."""
    lines = [
        f"### {title}",
        "",
        "| what | measured | beside | ratio | wanted | |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        beside = f"{_number(row.against)} {row.unit}, {row.than}" if row.against is not None else ""
        ratio = f"{row.ratio:.2f}" if row.ratio is not None else ""
        unit = "" if row.against is not None else f" {row.unit}"
        wanted = f"<= {_number(row.limit)}{unit}" if row.limit is not None else ""
        mark = {True: "yes", False: "**no**", None: ""}[row.kept]
        note = "; ".join(part for part in (mark, row.note) if part)
        value = "-" if row.value is None else f"{_number(row.value)} {row.unit}"
        lines.append(f"| {row.what} | {value} | {beside} | {ratio} | {wanted} | {note} |")
    return "\n".join([*lines, ""])


def as_json(tables: Mapping[str, Sequence[Row]]) -> dict[str, Any]:
    """Everything in plain types, with the machine it was measured on."""
    return {
        "machine": asdict(processor()),
        "load_before": os.getloadavg()[1],
        "tables": {
            title: [asdict(row) | {"ratio": row.ratio, "kept": row.kept} for row in rows]
            for title, rows in tables.items()
        },
    }


def finish(tables: Mapping[str, Sequence[Row]], path: Path | None) -> int:
    """Write the JSON where it is wanted; return 1 where a limit is not kept."""
    if path is not None:
        path.write_text(json.dumps(as_json(tables), indent=2) + "\n", encoding="utf-8")
    return int(any(row.kept is False for rows in tables.values() for row in rows))


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"

"""``python -m vesal.training.card --weights weights/nano``: fill a model card from what was measured.

A table stands in the card's ``README.md`` between ``<!-- table: NAME -->`` and ``<!-- end: NAME -->``. Names,
and where they come from: ``TABLES``. Results are the JSON files of ``training.validate --json`` and
``training.measure WHAT --json``: ``validation.json`` and ``WHAT.json`` in ``training/measured/WEIGHTS``.
Those of other weights, and absent ones, give "Not measured with these weights." ``--check`` changes nothing
and fails where the card is not in step.
"""

from __future__ import annotations

import argparse
import json
import logging
import re
import sys
from collections.abc import Callable, Collection
from dataclasses import dataclass
from math import nan
from pathlib import Path
from typing import Any

from vesal.inference.data.errors import VesalError
from vesal.inference.planning.manifest import MANIFEST
from vesal.training.floors import floors_table
from vesal.training.measure.data import shown
from vesal.training.measure.results import ResultsError, markdown_table, read_json
from vesal.training.scores import Row, set_table, table

log = logging.getLogger("vesal")

MEASURED = Path(__file__).with_name("measured")
"""Results by the name of the weights' folder: beside the weights they would become part of the image."""
NOT_MEASURED = "Not measured with these weights."
BLOCK = re.compile(r"(<!-- table: (?P<name>[\w-]+) -->\n)(?P<body>.*?)(<!-- end: (?P=name) -->)", re.DOTALL)
MARK = re.compile(r"<!-- (table|end): ([\w-]+) -->")


class CardError(VesalError, ValueError):
    """A card's marks are broken, or ask for a table that nothing fills."""


@dataclass(frozen=True)
class Source:
    """Where tables come from."""

    weights: Path
    """Folder with manifest and files."""
    results: Path
    """Folder with the JSON files of the measurements."""

    def manifest(self) -> dict[str, Any]:
        """The manifest as it stands."""
        return json.loads((self.weights / MANIFEST).read_text(encoding="utf-8"))

    def read(self, name: str) -> dict[str, Any] | None:
        """Results of one measurement; None where there are none of these weights."""
        path = self.results / f"{name}.json"
        if not path.exists():
            return None
        try:
            return read_json(path, self.weights)
        except ResultsError as error:
            log.warning("left out: %s", error)
            return None

    def rows(self) -> list[Row] | None:
        """Rows of the validation."""
        content = self.read("validation")
        if content is None:
            return None
        return [_row(row) for row in content["rows"]]


def _row(values: dict[str, Any]) -> Row:
    """A row as it was before JSON, which knows no NaN; a side may well be None."""
    known: dict[str, Any] = {k: nan if v is None and k != "side" else v for k, v in values.items()}
    return Row(**known)


def files(source: Source) -> str:
    """Files of the weights with their sizes."""
    names = sorted(source.manifest()["files"])
    sizes = [(f"`{name}`", f"{(source.weights / name).stat().st_size / 1e6:.2f} MB") for name in names]
    return markdown_table(("file", "size"), sizes)


def targets(source: Source, listed: str) -> str:
    """Targets of the manifest under ``targets`` or ``not_covered``, with the Dice of the last look."""
    entries = source.manifest().get(listed, ())
    rows = {
        (entry["modality"], " ".join(filter(None, (entry["side"], entry["concept"])))): entry["dsc"]
        for entry in entries
    }
    return markdown_table(("modality", "target", "Dice"), [(*key, rows[key]) for key in sorted(rows)])


def data(source: Source) -> str | None:
    """Sets with volumes, targets and licence; the licence is the manifest's."""
    content = source.read("data")
    if content is None:
        return None
    licences = {
        name: text
        for names, text in source.manifest().get("sources", {}).items()
        for name in names.split(", ")
    }
    rows = [
        (
            name,
            shown(list(entry["targets"])),
            f"{entry['volumes'].get('train', 0)} / {entry['volumes'].get('val', 0)}",
            licences.get(name, "no source in the manifest"),
        )
        for name, entry in content["sets"].items()
    ]
    return markdown_table(("set", "targets", "train / val volumes", "source, licence"), rows)


def of_rows(draw: Callable[[list[Row]], str]) -> Callable[[Source], str | None]:
    """A table drawn from the rows of the validation."""

    def fill(source: Source) -> str | None:
        rows = source.rows()
        return None if rows is None else draw(rows)

    return fill


def ran(source: Source) -> str | None:
    """How many cases were validated, how long they took, and on what."""
    content = source.read("validation")
    if content is None:
        return None
    limit = f", at most {content['most']} of a set" if content["most"] else ""
    where = f"{content['runtime']}, {content['threads']} threads"
    short = f" Not run as planned: {', '.join(content['short'])}." if content["short"] else ""
    return f"{content['cases']} cases{limit}, {content['seconds']:.2f} s a case ({where}).{short}"


def as_measured(name: str, limited: bool = False) -> Callable[[Source], str | None]:
    """The Markdown that a measurement printed; ``limited`` tells of how many cases of a set at most."""

    def fill(source: Source) -> str | None:
        content = source.read(name)
        if content is None:
            return None
        limit = f"At most {content['most']} cases of a set.\n\n" if content.get("most") and limited else ""
        return f"{limit}{content['markdown']}"

    return fill


TABLES: dict[str, Callable[[Source], str | None]] = {
    "files": files,
    "data": data,
    "covered": lambda source: targets(source, "targets"),
    "not-covered": lambda source: targets(source, "not_covered"),
    "validation": of_rows(table),
    "sets": of_rows(set_table),
    "floors": of_rows(floors_table),
    "ran": ran,
    "stages": as_measured("stages"),
    "swaps": as_measured("swaps"),
    "presence": as_measured("presence"),
    "paraphrases": as_measured("paraphrases"),
    "finer": as_measured("finer"),
    "orientation": as_measured("orientation"),
    "thickness": as_measured("thickness", limited=True),
    "robustness": as_measured("robustness", limited=True),
    "marked": as_measured("marked", limited=True),
    "identified": as_measured("identified", limited=True),
}
"""Name of a table to what fills it; None where it was not measured."""


def fill(text: str, source: Source, only: Collection[str] = ()) -> str:
    """A card's text with all its tables, or ``only`` some, renewed. Raises CardError."""
    _check_marks(text)

    def renew(block: re.Match[str]) -> str:
        name = block["name"]
        if only and name not in only:
            return block[0]
        return f"{block[1]}\n{TABLES[name](source) or NOT_MEASURED}\n\n{block[4]}"

    return BLOCK.sub(renew, text)


def _check_marks(text: str) -> None:
    """Every mark belongs to a pair, pairs are not nested, and something fills them."""
    marks = MARK.findall(text)
    for name in {name for _, name in marks}:
        if name not in TABLES:
            raise CardError(f"the card asks for a table {name!r}; there are {', '.join(TABLES)}")
    expected = [
        mark for block in BLOCK.finditer(text) for mark in (("table", block["name"]), ("end", block["name"]))
    ]
    if marks != expected:
        raise CardError(
            f"the marks of the card are {marks}; wanted pairs of table and end, one after the other"
        )


def main() -> None:
    """Parse the command line and renew the card."""
    parser = argparse.ArgumentParser(prog="python -m vesal.training.card", description=__doc__)
    parser.add_argument("--weights", type=Path, required=True, help="folder with manifest.json and README.md")
    parser.add_argument(
        "--results", type=Path, help="folder with the JSON files; training/measured/NAME if left out"
    )
    parser.add_argument(
        "--only", nargs="+", choices=sorted(TABLES), default=[], help="renew these tables only"
    )
    parser.add_argument(
        "--check", action="store_true", help="write nothing, fail where the card is out of step"
    )
    args = parser.parse_args()
    card = args.weights / "README.md"
    before = card.read_text(encoding="utf-8")
    try:
        after = fill(
            before, Source(args.weights, args.results or MEASURED / args.weights.resolve().name), args.only
        )
    except VesalError as error:
        parser.error(str(error))
    if args.check:
        sys.exit(
            0 if after == before else f"{card} is out of step with what was measured; run without --check"
        )
    card.write_text(after, encoding="utf-8")
    print(f"{card}: {after.count(NOT_MEASURED)} tables not measured")


if __name__ == "__main__":
    main()

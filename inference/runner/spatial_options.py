"""`--box` and `--point` of the command line: boxes and points by prompt id, for every case of the run."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from vesal.inference.data.errors import UsageError, shown
from vesal.inference.data.marks import NO_MARKS, Mark, Marks, Spelling

if TYPE_CHECKING:
    from vesal.inference.io.formats import CaseReader
    from vesal.inference.runner.case_record import CaseRecord

BOX, POINT = "--box", "--point"
BOX_FORM, POINT_FORM = "ID=z0,y0,x0,z1,y1,x1", "ID=z,y,x,+"
SOURCE = f"{BOX} and {POINT}"
BOXES, POINTS = "boxes", "points"
"""As ``data.user_prompts``, which loads numpy."""
SPELLED = {
    BOXES: Spelling(BOX, f"the numbers of {BOX} {BOX_FORM}, whole, the last three exclusive"),
    POINTS: Spelling(POINT, f"the numbers of {POINT} {POINT_FORM}, whole, with + inside and - outside"),
}
MAX_ID = 65535
"""As ``io.prompt_values``, which loads numpy: not before its limits of threads are set."""
SIGNS = ("+", "-")


def add_spatial_options(parser: argparse.ArgumentParser) -> None:
    """Add both options to a command line; `marks_of` reads what it gives."""
    parser.add_argument(
        BOX,
        action="append",
        default=[],
        metavar=BOX_FORM,
        help="box of the prompt ID in voxels of the file's array (D,H,W), z1,y1,x1 exclusive; may be given "
        "again; where a case has no prompts at all the ids are classes without a name",
    )
    parser.add_argument(
        POINT,
        action="append",
        default=[],
        metavar=POINT_FORM,
        help="voxel inside (+) or outside (-) of the prompt ID, as in --box, from 0; may be given again",
    )


def marks_of(boxes: Sequence[str], points: Sequence[str]) -> Marks:
    """What the options say, unchecked against any volume. Raises UsageError where one cannot be read."""
    by_id: dict[int | str, Mark] = {}
    for text in boxes:
        id_, parts = _split(BOX, BOX_FORM, text)
        if len(parts) != 6:
            raise _refused(BOX, BOX_FORM, text, f"has {len(parts)} numbers behind the id")
        mark = by_id.get(id_, Mark())
        box = tuple(_number(BOX, BOX_FORM, text, part) for part in parts)
        by_id[id_] = Mark("", (*mark.boxes, box), mark.points)
    for text in points:
        id_, parts = _split(POINT, POINT_FORM, text)
        sign = parts.pop() if parts and parts[-1] in SIGNS else SIGNS[0]
        if len(parts) != 3:
            raise _refused(POINT, POINT_FORM, text, f"has {len(parts)} numbers behind the id")
        mark = by_id.get(id_, Mark())
        point = (*(_number(POINT, POINT_FORM, text, part) for part in parts), sign)
        by_id[id_] = Mark("", mark.boxes, (*mark.points, point))
    return Marks(SOURCE, by_id) if by_id else NO_MARKS


def give_marks(reader: CaseReader, marks: Marks, record: CaseRecord) -> None:
    """Hand the options to the reader of a case; where its format takes none, that is told."""
    from vesal.inference.io.unnamed import TakesMarks

    if isinstance(reader, TakesMarks):
        reader.marks = replace(marks, spelled=SPELLED)
    elif marks.by_key:
        record.fallbacks.append(f"{SOURCE} are not used: this format's reader takes none")


def _split(option: str, form: str, text: str) -> tuple[int, list[str]]:
    """Id and what follows, without white space."""
    key, sign, values = text.partition("=")
    if not sign:
        raise _refused(option, form, text, "names no prompt")
    key = key.strip()
    if not (key.isascii() and key.isdecimal() and len(key) <= 5 and 1 <= int(key) <= MAX_ID):
        raise _refused(option, form, text, f"has the id {shown(key)}, no whole number from 1 to {MAX_ID}")
    return int(key), [part.strip() for part in values.replace(";", ",").strip().strip("()[]").split(",")]


def _number(option: str, form: str, text: str, part: str) -> float:
    """A whole number where it is one; NaN and the like are told case by case, where the volume is known."""
    try:
        number = float(part)
    except ValueError:
        raise _refused(option, form, text, f"holds {shown(part)}, which is no number") from None
    return int(number) if number.is_integer() else number


def _refused(option: str, form: str, text: str, problem: str) -> UsageError:
    return UsageError(f"{option} {shown(text)} {problem}; give {option} {form}.")

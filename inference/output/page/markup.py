"""Small pieces of HTML: text from outside is escaped here, and numbers are rounded for reading."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence

import numpy as np

from vesal.inference.data.colours import colour_of, hex_of
from vesal.inference.output.logs import FINE_MM, one_line
from vesal.inference.output.report import shortened

UNKNOWN = "–"
"""Stands for what is not known."""


def text_of(value: object) -> str:
    """A value as text of the page: escaped, of limited length, control characters as Python's escapes."""
    return html.escape(one_line(shortened(str(value))), quote=True)


def number(value: float | None, digits: int = 3) -> str:
    """A number for reading: whole from 100 on, else with that many significant digits; no exponent."""
    if value is None:
        return UNKNOWN
    if value == 0 or abs(value) >= 100:
        return f"{value:,.0f}"
    return np.format_float_positional(value, digits, unique=False, fractional=False, trim="-")


def plural(count: int, word: str) -> str:
    """A count with its word."""
    return f"{count} {word}" if count == 1 else f"{count} {word}s"


def area(mm2: float) -> str:
    """An area in cm², or in mm² or µm² where it is small."""
    if mm2 >= 10:
        return f"{number(mm2 / 100)} cm²"
    return f"{number(mm2)} mm²" if mm2 >= 0.001 else f"{number(mm2 * 1e6)} µm²"


def volume(ml: float | None) -> str:
    """A volume in ml, or in mm³ or µm³ where it is small; it is not broken between lines."""
    if ml is None or ml == 0:
        return UNKNOWN if ml is None else "empty"
    if ml >= 0.01:
        return f"{number(ml)}&nbsp;ml"
    return f"{number(ml * 1e3)}&nbsp;mm³" if ml >= 1e-6 else f"{number(ml * 1e12)}&nbsp;µm³"


def seconds(value: float | None) -> str:
    """Seconds, as ``number``."""
    return f"{number(value)} s"


def share(value: float | None) -> str:
    """A probability, with two decimals."""
    return UNKNOWN if value is None else f"{value:.2f}"


def triple(values: Sequence[float] | None, digits: int = 3) -> str:
    """Three numbers, of a grid or a spacing."""
    return UNKNOWN if values is None else " × ".join(number(value, digits) for value in values)


def spacing(values_mm: Sequence[float] | None) -> str:
    """Voxel sides in mm, in µm where the shortest is below `logs.FINE_MM`."""
    if values_mm is None or min(values_mm) >= FINE_MM:
        return f"{triple(values_mm)} mm"
    return f"{triple([1000 * mm for mm in values_mm])} µm"


def table(head: Sequence[str], rows: Iterable[Sequence[str]], caption: str, kind: str = "") -> str:
    """A table of cells that are HTML already, with a caption."""
    top = "".join(f'<th scope="col">{cell}</th>' for cell in head)
    body = "".join("<tr>" + "".join(cell_of(cell) for cell in row) + "</tr>" for row in rows)
    return (
        f'<div class="wide"><table class="{kind}"><caption>{caption}</caption><thead><tr>{top}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def cell_of(content: str, value: float | str | None = None) -> str:
    """A cell; ``value`` is what it is sorted by."""
    by = "" if value is None else f' data-value="{text_of(value)}"'
    return f"<td{by}>{content}</td>"


def list_of(lines: Iterable[str]) -> str:
    """A list of plain lines."""
    return f"<ul>{''.join(f'<li>{text_of(line)}</li>' for line in lines)}</ul>"


def swatch(prompt_id: int) -> str:
    """A prompt's colour, beside its number: no meaning is in the colour alone."""
    colour = hex_of(colour_of(prompt_id))
    return f'<span class="swatch" style="background:{colour}" aria-hidden="true"></span>{prompt_id}'

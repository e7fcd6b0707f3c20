"""The page around its parts: one file with style and script inside, and nothing fetched."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from vesal.inference.data.results import RunReport
from vesal.inference.output.page.case_section import case_section
from vesal.inference.output.page.markup import text_of
from vesal.inference.output.page.overview import overview, run_header, run_notes, run_warnings
from vesal.inference.output.page.pictures import CasePictures

HERE = Path(__file__).resolve().parent


def page_of(
    report: RunReport,
    pictures: Mapping[int, CasePictures],
    reasons: Mapping[int, str],
    json_name: str | None = None,
) -> str:
    """The whole page as HTML.

    Args:
        report: of the run.
        pictures: by the number of the case in the run, from 0 on; may lack some.
        reasons: why a case has no pictures, where its report does not say so.
        json_name: of the JSON file beside the page, for a link; None: no link.
    """
    cases = report.cases
    parts = [
        f"<header><h1>{_title(report)}</h1>{run_header(report, json_name)}</header>",
        f'<main class="{"many" if len(cases) > 1 else "one"}">',
        run_warnings(cases) + run_notes(cases) + overview(cases, pictures) if len(cases) > 1 else "",
    ]
    parts += (
        case_section(case, pictures.get(number), number, reasons.get(number, ""))
        for number, case in enumerate(cases)
    )
    return document(_title(report), "".join([*parts, "</main>", _footer()]))


def _title(report: RunReport) -> str:
    if len(report.cases) == 1:
        return f"Segmentation of {text_of(report.cases[0].name)}"
    return f"Segmentation of {len(report.cases)} cases"


def document(title: str, body: str) -> str:
    """A page of HTML around ``title`` and ``body``, which are HTML already."""
    style, script = _part("style.css"), _part("sort.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    # Nothing may be fetched and no other script may run, whatever a sentence or a file name holds.
    policy = (
        f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; "
        "base-uri 'none'; form-action 'none'"
    )
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light">'
        f"<title>{title}</title><style>{style}</style></head>\n"
        f"<body>{body}<script>{script}</script></body></html>\n"
    )


def _footer() -> str:
    return (
        "<footer><p>Results of a neural network; not for diagnosis. Volumes are of the voxels in the label "
        "map. Contours are drawn on the inner side of a target's border; in axial and coronal pictures the "
        "patient's right is on the left where letters say so.</p></footer>"
    )


@cache
def _part(name: str) -> str:
    return (HERE / name).read_text(encoding="utf-8")

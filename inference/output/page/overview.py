"""The first part of the page: the run, its warnings, and for a folder a table and volumes over the cases."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from vesal.inference.data.results import GOOD, CaseReport, RunReport
from vesal.inference.output.page.case_section import case_key, note_list, state_of
from vesal.inference.output.page.curves import histogram
from vesal.inference.output.page.markup import UNKNOWN, cell_of, number, seconds, text_of
from vesal.inference.output.page.pictures import CasePictures
from vesal.inference.output.page.volumes import MAX_Z, RULE, TargetVolumes, volumes_of
from vesal.inference.output.page.warnings import notes_of, warnings_of

MAX_LINES = 20
"""Cases with warnings that are named at the top; each case has its own in its section."""
MIN_HISTOGRAM = 3
"""Volumes of a target that make a histogram."""


def run_header(report: RunReport, json_name: str | None) -> str:
    """What ran, with which weights, on what, and how it ended."""
    good = sum(case.state in GOOD for case in report.cases)
    runtime = report.runtime.get("name") or "none"
    rows = [
        ("Cases", f"{good} of {len(report.cases)} good; {report.ended}"),
        ("Weights", report.weights),
        ("Runtime", f"{runtime}, Vesal {report.version}"),
        ("Started", report.started),
        ("Took", f"{seconds(report.seconds)}, at most {number(report.peak_mb)} MB"),
    ]
    lines = "".join(f"<dt>{head}</dt><dd>{text_of(value)}</dd>" for head, value in rows)
    link = (
        f'<dt>All values</dt><dd><a href="{text_of(json_name)}">{text_of(json_name)}</a></dd>'
        if json_name
        else ""
    )
    return f'<dl class="facts">{lines}{link}</dl>'


def run_warnings(cases: Sequence[CaseReport]) -> str:
    """Cases with warnings, those that fell back first; empty without."""
    told = [(number_, case) for number_, case in enumerate(cases) if warnings_of(case)]
    if not told:
        return ""
    told.sort(key=lambda item: item[1].state in GOOD)
    items = "".join(_warning_line(number_, case) for number_, case in told[:MAX_LINES])
    more = f"<li>and {len(told) - MAX_LINES} more cases</li>" if len(told) > MAX_LINES else ""
    return (
        f'<div class="warnings" role="note"><strong>Warnings in {len(told)} of {len(cases)} cases</strong>'
        f"<ul>{items}{more}</ul></div>"
    )


def run_notes(cases: Sequence[CaseReport]) -> str:
    """Notes of the cases, each once with the number of cases that have it."""
    counts = Counter(note for case in cases for note in dict.fromkeys(notes_of(case)))
    lines = [f"{note} ({count} of {len(cases)} cases)" for note, count in counts.most_common(MAX_LINES)]
    more = [f"and {len(counts) - MAX_LINES} more, in the cases' sections"] if len(counts) > MAX_LINES else []
    return note_list([*lines, *more])


def _warning_line(number_: int, case: CaseReport) -> str:
    lines = warnings_of(case)
    more = f" (and {len(lines) - 1} more)" if len(lines) > 1 else ""
    return f"<li>{_link(number_, case.name)}: {text_of(lines[0])}{more}</li>"


def _link(number_: int, name: str) -> str:
    return f'<a href="#{case_key(number_)}">{text_of(name)}</a>'


def overview(cases: Sequence[CaseReport], pictures: Mapping[int, CasePictures]) -> str:
    """Table of a folder's cases, and the volumes of each target over them."""
    volumes = volumes_of(cases)
    odd = {case for target in volumes for case, out in zip(target.cases, target.outliers, strict=True) if out}
    return _case_table(cases, pictures, odd) + _histograms(cases, volumes)


def _case_table(cases: Sequence[CaseReport], pictures: Mapping[int, CasePictures], odd: set[int]) -> str:
    head = (
        "Picture",
        "Case",
        "State",
        "Modality",
        "Found",
        "Volume (ml)",
        "Seconds",
        "Of budget",
        "Warnings",
    )
    top = "".join(f'<th scope="col">{cell}</th>' for cell in head)
    rows = "".join(
        _case_row(number_, case, pictures.get(number_), number_ in odd) for number_, case in enumerate(cases)
    )
    return (
        '<div class="wide"><table class="cases sortable"><caption>Cases'
        '<span class="sort-hint"> (a column\'s head sorts)</span></caption>'
        f"<thead><tr>{top}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _case_row(number_: int, case: CaseReport, pictures: CasePictures | None, odd: bool) -> str:
    found = sum(bool(prompt.voxels) for prompt in case.prompts)
    known = [prompt.volume_ml for prompt in case.prompts if prompt.volume_ml is not None]
    volume = sum(known) if known else None
    share = case.seconds / case.budget_s if case.budget_s else None
    told = len(warnings_of(case))
    picture = (
        f'<img src="{pictures.thumbnail}" alt="Slice with contours of {text_of(case.name)}" loading="lazy">'
        if pictures
        else UNKNOWN
    )
    mark = ' <strong class="outlier">outlier</strong>' if odd else ""
    cells = (
        cell_of(picture),
        cell_of(_link(number_, case.name), case.name),
        cell_of(state_of(case), case.state),
        cell_of(text_of(case.modality or UNKNOWN), case.modality or ""),
        cell_of(f"{found} of {len(case.prompts)}" if case.prompts else UNKNOWN, found),
        cell_of(f"{number(volume)}{mark}", -1.0 if volume is None else volume),
        cell_of(f"{case.seconds:.2f}", case.seconds),
        cell_of(UNKNOWN if share is None else f"{share:.0%}", -1.0 if share is None else share),
        cell_of(str(told), told),
    )
    return f"<tr>{''.join(cells)}</tr>"


def _histograms(cases: Sequence[CaseReport], volumes: Sequence[TargetVolumes]) -> str:
    parts = "".join(
        _histogram(cases, target) for target in volumes if len(target.volumes_ml) >= MIN_HISTOGRAM
    )
    if not parts:
        return ""
    return (
        f'<h2>Volumes over the cases</h2><p class="note">{text_of(RULE)}</p><div class="grid">{parts}</div>'
    )


def _histogram(cases: Sequence[CaseReport], target: TargetVolumes) -> str:
    lines = list(_odd_lines(cases, target))
    if target.empty:
        names = ", ".join(_link(case, cases[case].name) for case in target.empty[:MAX_LINES])
        lines.append(f"<li>empty in {len(target.empty)}: {names}</li>")
    listed = f"<ul>{''.join(lines)}</ul>" if lines else ""
    drawn = histogram(target.volumes_ml, target.outliers, target.name)
    return f'<figure class="volumes"><figcaption>{text_of(target.name)}</figcaption>{drawn}{listed}</figure>'


def _odd_lines(cases: Sequence[CaseReport], target: TargetVolumes) -> Iterator[str]:
    for case, volume, z in zip(target.cases, target.volumes_ml, target.z, strict=True):
        if abs(z) > MAX_Z:
            link = _link(case, cases[case].name)
            yield f"<li><strong>outlier</strong> {link}: {number(volume)} ml, z {z:.1f}</li>"

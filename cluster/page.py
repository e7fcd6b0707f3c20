"""`report.html` of a run of many cases, looking as the page of a few: counts, volumes, what went wrong."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from vesal.cluster.record import Record
from vesal.cluster.summary import OfTarget, Summary
from vesal.inference.data.results import GOOD
from vesal.inference.output.page.case_section import note_list
from vesal.inference.output.page.curves import histogram
from vesal.inference.output.page.document import document
from vesal.inference.output.page.markup import (
    UNKNOWN,
    cell_of,
    number,
    plural,
    seconds,
    share,
    text_of,
    volume,
)

MAX_WARNINGS = 20
"""Kinds of them that are listed; each case has its own in the table."""
MIN_HISTOGRAM = 3
"""Volumes of a target that make a histogram."""


def page_of(summary: Summary, files: Sequence[str], run: Mapping[str, object]) -> str:
    """The page as HTML.

    Args:
        summary: of all records.
        files: names of the tables beside the page, for links.
        run: what the run wrote of itself (`record.RUN_FILE`); may lack anything.
    """
    title = f"Segmentation of {plural(summary.total, 'case')}"
    parts = [
        f"<header><h1>{title}</h1>{_facts(summary, files, run)}</header><main>",
        _troubles(summary),
        note_list(
            [f"{text} ({plural(count, 'case')})" for text, count in summary.warned.most_common(MAX_WARNINGS)]
        ),
        _targets(summary),
        _workers(summary),
        _cases(summary),
        "</main><footer><p>Results of a neural network; not for diagnosis. Volumes are of the voxels in the "
        "label map.</p></footer>",
    ]
    return document(title, "".join(parts))


def _facts(summary: Summary, files: Sequence[str], run: Mapping[str, object]) -> str:
    states = ", ".join(f"{count} {state}" for state, count in sorted(summary.states.items()))
    rows = [
        ("Cases", states or "none"),
        ("Weights", f"{run.get('weights', UNKNOWN)}, Vesal {run.get('version', UNKNOWN)}"),
        ("Work", f"{seconds(summary.seconds)} of {plural(len(summary.workers), 'worker')}, all together"),
        ("Tried again", plural(summary.again, "case")),
    ]
    lines = "".join(f"<dt>{head}</dt><dd>{text_of(value)}</dd>" for head, value in rows)
    links = ", ".join(f'<a href="{text_of(name)}">{text_of(name)}</a>' for name in files)
    return f'<dl class="facts">{lines}<dt>All values</dt><dd>{links}</dd></dl>'


def _troubles(summary: Summary) -> str:
    bad = summary.total - summary.good
    if not bad:
        return ""
    items = "".join(
        f"<li>{text_of(each.name)} {_state(each)} {text_of(each.reason or '')}</li>"
        for each in summary.troubles
    )
    more = f"<li>and {bad - len(summary.troubles)} more</li>" if bad > len(summary.troubles) else ""
    return (
        f'<div class="warnings" role="note"><strong>{bad} of {plural(summary.total, "case")} are not good'
        f"</strong><ul>{items}{more}</ul></div>"
    )


def _targets(summary: Summary) -> str:
    named = sorted(summary.targets.items())
    if not named:
        return ""
    rows = "".join(_target_row(name, target) for name, target in named)
    more = f'<p class="note">and {summary.left_out} rows of further targets</p>' if summary.left_out else ""
    drawn = "".join(
        f'<figure class="volumes"><figcaption>{text_of(name)}</figcaption>'
        f"{histogram(target.volumes_ml, [False] * len(target.volumes_ml), name)}</figure>"
        for name, target in named
        if len(target.volumes_ml) >= MIN_HISTOGRAM
    )
    head = ("Target", "Cases", "Found", "Median volume", "Mean probability")
    grid = f'<h2>Volumes over the cases</h2><div class="grid">{drawn}</div>' if drawn else ""
    return _sortable(head, rows, "Targets") + more + grid


def _target_row(name: str, target: OfTarget) -> str:
    median = float(np.median(target.volumes_ml)) if target.volumes_ml else None
    probability = target.probability / target.found if target.found else None
    cells = (
        cell_of(text_of(name), name),
        cell_of(str(target.cases), target.cases),
        cell_of(str(target.found), target.found),
        cell_of(volume(median), -1.0 if median is None else median),
        cell_of(share(probability), -1.0 if probability is None else probability),
    )
    return _row(cells)


def _workers(summary: Summary) -> str:
    rows = "".join(
        _row(
            (
                cell_of(text_of(name), name),
                cell_of(str(count), count),
                cell_of(number(summary.worker_seconds[name]), summary.worker_seconds[name]),
                cell_of(number(summary.worker_seconds[name] / count), summary.worker_seconds[name] / count),
            )
        )
        for name, count in sorted(summary.workers.items())
    )
    head = ("Worker", "Cases", "Seconds", "Seconds a case")
    return _sortable(head, rows, "Workers") if rows else ""


def _cases(summary: Summary) -> str:
    rows = "".join(map(_case_row, summary.cases))
    more = summary.total - len(summary.cases)
    note = f'<p class="note">and {more} more cases, in the table</p>' if more else ""
    head = ("Case", "State", "Found", "Volume (ml)", "Seconds", "Attempts", "Worker", "Reason")
    return _sortable(head, rows, "Cases") + note


def _case_row(record: Record) -> str:
    known = [row.volume_ml for row in record.targets if row.volume_ml is not None]
    total = sum(known) if known else None
    found = sum(bool(row.voxels) for row in record.targets)
    cells = (
        cell_of(text_of(record.name), record.name),
        cell_of(_state(record), record.state),
        cell_of(f"{found} of {len(record.targets)}" if record.targets else UNKNOWN, found),
        cell_of(number(total), -1.0 if total is None else total),
        cell_of(UNKNOWN if record.seconds is None else f"{record.seconds:.2f}", record.seconds or -1.0),
        cell_of(str(record.attempts), record.attempts),
        cell_of(text_of(record.worker), record.worker),
        cell_of(text_of(record.reason or "")),
    )
    return _row(cells)


def _state(record: Record) -> str:
    kind = "good" if record.state in GOOD else "bad"
    return f'<span class="state {kind}">{text_of(record.state)}</span>'


def _row(cells: Iterable[str]) -> str:
    return f"<tr>{''.join(cells)}</tr>"


def _sortable(head: Sequence[str], rows: str, caption: str) -> str:
    top = "".join(f'<th scope="col">{cell}</th>' for cell in head)
    return (
        f'<div class="wide"><table class="sortable"><caption>{caption}'
        '<span class="sort-hint"> (a column\'s head sorts)</span></caption>'
        f"<thead><tr>{top}</tr></thead><tbody>{rows}</tbody></table></div>"
    )

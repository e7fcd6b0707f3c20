"""Tables 3 and 4 of Bio2Vol, the paper's numbers beside those measured here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from vesal.training.bio2vol.rows import ROWS, UNTRAINED
from vesal.training.bio2vol.score import Scores, means

Measured = Mapping[str, Sequence[Scores]]
"""Row -> its scores, a run for each seed."""

TABLE_3 = {
    "base": ("80.73", "80.54"),
    "csdha": ("85.01", "82.84"),
    "csdha-drs": ("85.38", "83.05"),
    "csdha-drs-sat": ("85.45", "83.52"),
    "drs": ("", ""),
}
"""DSC in % of Amos22 and of MSD Task01."""
TABLE_4 = {"k0": "82.15", "csdha-drs-sat": "85.45", "k2": "85.30", "k4": "84.31"}
"""DSC in % of Amos22."""
PARTS = {"csdha": "CSDHA", "drs": "DRS", "sat": "SAT"}


def spread(values: Sequence[float]) -> str:
    """Mean and sample standard deviation over the seeds; one seed has none."""
    if not values:
        return ""
    over = f" ± {np.std(values, ddof=1):.2f}" if len(values) > 1 else ""
    return f"{np.mean(values):.2f}{over}"


def over_seeds(measured: Measured, row: str, measure: str, key: str = "mean") -> str:
    """One cell: a row's mean over targets, or one target."""
    return spread([means(scores, measure)[key] for scores in measured.get(row, [])])


def gain(measured: Measured, row: str, other: str) -> str:
    """Mean difference in Dice to another row, seed by seed."""
    pairs = zip(measured.get(row, []), measured.get(other, []), strict=False)
    return spread([means(a, "dice")["mean"] - means(b, "dice")["mean"] for a, b in pairs])


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def name(row: str) -> str:
    """A row of table 3 in the paper's words."""
    return " + ".join(PARTS[part] for part in row.split("-") if part in PARTS) or "base"


def tables(measured: Measured, begun: Measured) -> str:
    """All tables in Markdown.

    Args:
        measured: of the fine-tuned networks.
        begun: of the network that they began from, by `start` and as each row of ``UNTRAINED`` uses it.
    """
    keys = sorted(next(iter(measured.values()))[0]["dice"])
    third = [
        [name(row), amos, brain, *_scores(measured, row), gain(measured, row, "base")]
        for row, (amos, brain) in TABLE_3.items()
    ]
    fourth = [
        [str(ROWS[row].heads), paper, *_scores(measured, row), gain(measured, row, "k0")]
        for row, paper in TABLE_4.items()
    ]
    targets = [[row, *(over_seeds(measured, row, "dice", key) for key in keys)] for row in ROWS]
    first = [[row, *_scores(begun, row)] for row in ("start", *UNTRAINED)]
    ours = ("DSC here", "NSD here")
    return "\n\n".join(
        [
            markdown(["table 3", "DSC Amos22", "DSC MSD Task01", *ours, "gain"], third),
            markdown(["k", "DSC Amos22", *ours, "gain"], fourth),
            markdown(["DSC of each target", *keys], targets),
            markdown(["before fine-tuning", *ours], first),
            *_hidden(measured),
        ]
    )


def _hidden(measured: Measured) -> list[str]:
    """The table of black slices, where there are some."""
    run = {row: scores for row, scores in measured.items() if scores and "hidden" in scores[0]}
    if not run:
        return []
    keys = sorted(next(iter(run.values()))[0]["hidden"])
    rows = [[row, *(over_seeds(run, row, "hidden", key) for key in ("mean", *keys))] for row in run]
    return [markdown(["DSC of the black slices", "mean", *keys], rows)]


def _scores(measured: Measured, row: str) -> list[str]:
    return [over_seeds(measured, row, measure) for measure in ("dice", "nsd")]

"""``python -m vesal.training.curves WORK -o FILE.png``: training against validation, a panel a set.

Reads the ``log*.csv`` of a run's working folder (``log.Log``: step, seconds, rate, key, value). A key is
``SET STAGE`` (training, a moving average), ``val SET STAGE`` (held-out patients) or ``loss STAGE``; a key
without a stage has a line of its own.
"""

from __future__ import annotations

import argparse
import csv
import io
import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vesal.inference.data.errors import VesalError

COLUMNS = ("step", "seconds", "rate", "key", "value")
STAGES = ("coarse", "fine")
VALIDATION, LOSS, TIME = "val", "loss", "time "
COLUMNS_OF_PANELS = 4
DPI = 110
COLOURS = {"coarse": "tab:blue", "fine": "tab:orange", "": "tab:gray"}


class LogError(VesalError, ValueError):
    """A run's log is absent, or holds what no training writes."""


@dataclass(frozen=True, order=True)
class Line:
    """What one curve shows."""

    panel: str
    """Name of a set, or ``loss``."""
    stage: str
    """``coarse``, ``fine``, or empty where the key names none."""
    validation: bool


Points = dict[int, float]
"""Step to value."""


def read_logs(folder: Path) -> dict[Line, Points]:
    """Curves of ``folder/log*.csv``, those of several processes averaged step by step.

    A resumed run repeats the steps since its checkpoint: the later row counts. What stands after the last end
    of a line is still being written and left out. Raises LogError.
    """
    paths = sorted(folder.glob("log*.csv"))
    if not paths:
        raise LogError(
            f"{folder} holds no log*.csv; give the working folder of a run (--work of the training)"
        )
    values: dict[Line, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for path in paths:
        for line, points in _read_log(path).items():
            for step, value in points.items():
                values[line][step].append(value)
    if not values:
        raise LogError(f"{paths[0]} holds no row yet; wait for the run's first entries")
    return {
        line: {step: sum(found) / len(found) for step, found in sorted(points.items())}
        for line, points in sorted(values.items())
    }


def _read_log(path: Path) -> dict[Line, Points]:
    text = path.read_text(encoding="utf-8")
    rows = csv.reader(io.StringIO(text[: text.rfind("\n") + 1]))
    found: dict[Line, Points] = defaultdict(dict)
    for number, row in enumerate(rows, start=1):
        if number == 1 and tuple(row) == COLUMNS:
            continue
        try:
            step, _, _, key, value = row
            point = int(step), float(value)
        except ValueError:
            raise LogError(
                f"{path}, line {number}, is {','.join(row)!r}; wanted {', '.join(COLUMNS)}, as the training "
                "writes them"
            ) from None
        # Shares of the wall time are no curve of learning, and a set without a Dice yet is no point.
        if math.isfinite(point[1]) and not key.startswith(TIME):
            found[parse_key(key)][point[0]] = point[1]
    return found


def parse_key(key: str) -> Line:
    """``val MR_Heart_ACDC fine`` -> panel, stage and whether held-out patients were measured."""
    words = key.split()
    validation = len(words) > 1 and words[0] == VALIDATION
    words = words[1:] if validation else words
    stage = words[-1] if len(words) > 1 and words[-1] in STAGES else ""
    return Line(" ".join(words[:-1] if stage else words), stage, validation)


def plot_curves(folder: Path, path: Path) -> None:
    """Draw the curves of the run in ``folder`` as a PNG; the same log gives the same bytes.

    Solid: training. Points on a dashed line: validation. Loss comes first, then the sets by name. Raises
    LogError where there is nothing to draw.
    """
    draw(read_logs(folder), path)


def draw(curves: Mapping[Line, Points], path: Path) -> None:
    """Draw ``curves`` in panels of one size and one axis of steps."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    panels = sorted({line.panel for line in curves}, key=lambda name: (name != LOSS, name))
    columns = min(COLUMNS_OF_PANELS, len(panels))
    rows = math.ceil(len(panels) / columns)
    figure = Figure(figsize=(3.4 * columns, 0.7 + 2.4 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(rows, columns, sharex=True, squeeze=False)
    for axes in grid.flat[len(panels) :]:
        axes.set_axis_off()
    for axes, panel in zip(grid.flat, panels, strict=False):
        _draw_panel(axes, panel, {line: p for line, p in curves.items() if line.panel == panel})
    for axes in grid.flat[max(0, len(panels) - columns) : len(panels)]:
        axes.set_xlabel("step")
        axes.tick_params(labelbottom=True)  # also where the row below is not full
    _legend(figure, curves)
    # Without the name of the library's version, so that the same log gives the same file.
    figure.savefig(path, dpi=DPI, metadata={"Software": None})


def _draw_panel(axes, panel: str, curves: Mapping[Line, Points]) -> None:
    for line, points in curves.items():
        axes.plot(list(points), list(points.values()), **_style(line))
    axes.set_title(panel, fontsize=9)
    axes.tick_params(labelsize=8)
    axes.locator_params(axis="x", nbins=4)  # numbers of five digits touch each other where there are more
    axes.grid(alpha=0.3)
    if panel == LOSS:
        axes.set_ylim(bottom=0)
    else:
        axes.set_ylim(-0.02, 1.02)
        axes.set_ylabel("Dice", fontsize=8)


def _style(line: Line) -> dict[str, Any]:
    look: dict[str, Any] = (
        {"linestyle": "--", "marker": "o", "markersize": 3.5} if line.validation else {"linestyle": "-"}
    )
    return {"color": COLOURS[line.stage], "linewidth": 1.2, **look}


def _legend(figure, curves: Mapping[Line, Points]) -> None:
    """One legend for all panels, above them."""
    from matplotlib.lines import Line2D

    kinds = sorted({Line("", line.stage, line.validation) for line in curves})
    handles = [Line2D([], [], **_style(kind)) for kind in kinds]
    labels = [f"{'validation' if kind.validation else 'training'} {kind.stage}".strip() for kind in kinds]
    figure.legend(handles, labels, loc="outside upper center", ncols=len(kinds), fontsize=8, frameon=False)


def main() -> None:
    """Parse the command line and draw."""
    parser = argparse.ArgumentParser(prog="python -m vesal.training.curves", description=__doc__)
    parser.add_argument("work", type=Path, help="working folder of a run, with its log*.csv")
    parser.add_argument("-o", "--out", type=Path, required=True, help="PNG to write")
    args = parser.parse_args()
    try:
        plot_curves(args.work, args.out)
    except LogError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()

"""A picture for a radiologist: image, reference and result in three planes, with scale and sides."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke

from vesal.demo.cases import DemoCase
from vesal.demo.views import View, make_views

# Okabe and Ito's palette: told apart by everyone, and on grey.
COLOURS = ("#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7")
BORDER_COLOUR = "#FFFFFF"


def save_picture(path: Path, demo: DemoCase, image: np.ndarray, labels: np.ndarray) -> None:
    """Save a PNG with one row a plane and the columns image, reference, result; all arrays are (D,H,W)."""
    views = make_views(demo)
    heights = [view.height / view.width for view in views]
    figure = Figure(figsize=(12, 4 * sum(heights) + 1.6), layout="constrained")
    grid = figure.subplots(3, 3, height_ratios=heights, squeeze=False)
    bar = _round_length(min(min(view.width, view.height) for view in views) / 3)
    for row, view in zip(grid, views, strict=True):
        for axes in row:
            _show_image(axes, view, image)
            _show_scale(axes, view, bar, f"{bar:g} {demo.unit}")
        _outline(row[1], view, demo.truth)
        _fill(row[2], view, labels)
        if demo.instance:
            _outline(row[2], view, labels, BORDER_COLOUR)
        _outline_scored(row[1:], view, demo)
        row[0].set_title(view.title, fontsize=11)
    grid[0, 1].set_title("reference (outline)", fontsize=11)
    grid[0, 2].set_title("result (filled)", fontsize=11)
    figure.suptitle(f"{demo.title}: {demo.name}", fontsize=13)
    handles = _legend(demo, labels)
    figure.legend(handles=handles, loc="outside lower center", ncols=2, fontsize=9, frameon=False)
    figure.savefig(path, dpi=110)


def _show_image(axes: Axes, view: View, image: np.ndarray) -> None:
    axes.imshow(view.cut(image), cmap="gray", vmin=0, vmax=255, extent=view.extent)
    axes.set_xticks([])
    axes.set_yticks([])
    for x, y, letter in view.letters():
        axes.text(
            x, y, letter, transform=axes.transAxes, color="white", fontsize=10, ha="center", va="center"
        )


def _show_scale(axes: Axes, view: View, length: float, text: str) -> None:
    start, low = 0.05 * view.width, 0.06 * view.height
    axes.plot([start, start + length], [low, low], color="white", linewidth=3, solid_capstyle="butt")
    words = axes.text(start, low * 1.4, text, color="white", fontsize=9, va="bottom")
    words.set_path_effects([withStroke(linewidth=2, foreground="black")])


def _outline(axes: Axes, view: View, labels: np.ndarray, colour: str | None = None) -> None:
    """Draw the border of each label; the first prompt last, so that its colour stays on a shared border."""
    plane = view.cut(labels)
    for label in reversed(np.unique(plane[plane > 0]).tolist()):
        _contour(axes, view, plane == label, colour or _colour(label), "solid")


def _fill(axes: Axes, view: View, labels: np.ndarray) -> None:
    plane = view.cut(labels)
    colours = np.ma.masked_equal(np.where(plane > 0, (plane.astype(int) - 1) % len(COLOURS), -1), -1)
    axes.imshow(
        colours,
        cmap=ListedColormap(COLOURS),
        vmin=-0.5,
        vmax=len(COLOURS) - 0.5,
        alpha=0.6,
        extent=view.extent,
    )


def _outline_scored(columns: np.ndarray, view: View, demo: DemoCase) -> None:
    """Dash the border of the part that is scored, where that is not the whole plane."""
    inside = np.zeros(demo.truth.shape, bool)
    inside[demo.scored] = True
    plane = view.cut(inside)
    if plane.all() or not plane.any():
        return
    for axes in columns:
        _contour(axes, view, plane, BORDER_COLOUR, "dashed")


def _contour(axes: Axes, view: View, plane: np.ndarray, colour: str, style: str) -> None:
    axes.contour(
        plane,
        levels=[0.5],
        colors=[colour],
        extent=view.extent,
        origin="upper",
        linewidths=1,
        linestyles=style,
    )


def _legend(demo: DemoCase, labels: np.ndarray) -> list[Patch | Line2D]:
    if demo.instance:
        counts = [len(np.unique(array[array > 0])) for array in (demo.truth, labels)]
        text = f"one colour an object: {counts[0]} in the reference, {counts[1]} found"
        return [Patch(facecolor="none", label=text)]
    handles: list[Patch | Line2D] = [Patch(color=_colour(i), label=text) for i, text in demo.prompts.items()]
    if any(part != slice(None) for part in demo.scored):
        dashed = Line2D([], [], color="grey", linestyle="dashed", label="border of the part with a reference")
        handles.append(dashed)
    return handles


def _colour(label: int) -> str:
    return COLOURS[(label - 1) % len(COLOURS)]


def _round_length(length: float) -> float:
    """Return the largest of 1, 2, 5, 10, 20, 50, ... that is not above `length`."""
    power = 10 ** np.floor(np.log10(length))
    return float(max(step * power for step in (1, 2, 5) if step * power <= length))

"""Pictures of the scores: a box a target, and DSC against volume."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from vesal.evaluation.tables import Measurement

TARGETS_PLOT = "scores_per_target.png"
VOLUME_PLOT = "dsc_against_volume.png"
BOXED = ("DSC", "F1")
DPI = 120


def plot_targets(path: Path, measured: Sequence[Measurement]) -> None:
    """Draw one horizontal box a target, DSC or F1 of instances. Nothing measured gives no boxes."""
    groups: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    for m in measured:
        if m.score in BOXED:
            groups[m.modality, m.target, m.score].append(m.value)
    names = sorted(groups, reverse=True)
    figure, axes = _axes(height=1.5 + 0.3 * len(names))
    if names:
        labels = [
            f"{modality} {target} ({score}, n={len(groups[modality, target, score])})"
            for modality, target, score in names
        ]
        values = [groups[name] for name in names]
        axes.boxplot(values, orientation="horizontal", tick_labels=labels, widths=0.6)
        for position, name in enumerate(names, start=1):
            axes.plot(groups[name], [position] * len(groups[name]), ".", color="tab:blue", alpha=0.5)
    axes.set_xlim(-0.02, 1.02)
    axes.set_xlabel("score")
    axes.grid(axis="x", alpha=0.3)
    figure.savefig(path, dpi=DPI, bbox_inches="tight")


def plot_volumes(path: Path, measured: Sequence[Measurement]) -> None:
    """Draw DSC against the volume in ml, one colour a modality; classes without ground truth are left out."""
    groups: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for m in measured:
        if m.score == "DSC" and m.truth_ml > 0:
            groups[m.modality].append((m.truth_ml, m.value))
    figure, axes = _axes(height=4.5)
    for modality, points in sorted(groups.items()):
        axes.plot(*zip(*points, strict=True), "o", alpha=0.6, label=f"{modality} (n={len(points)})")
    if groups:
        axes.set_xscale("log")
        axes.legend()
    axes.set_ylim(-0.02, 1.02)
    axes.set_xlabel("volume of the target in the ground truth, ml")
    axes.set_ylabel("DSC")
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=DPI, bbox_inches="tight")


def _axes(height: float) -> tuple:
    """Return a figure of its own canvas and its axes: no display is needed and no global state is touched."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, height))
    FigureCanvasAgg(figure)
    return figure, figure.add_subplot()

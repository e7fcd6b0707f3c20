"""Curves and histograms as inline SVG, each with its content in words."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vesal.inference.output.page.contours import widened
from vesal.inference.output.page.markup import area, number, plural, text_of

WIDTH, HEIGHT, FLOOR = 240, 120, 96
LEFT, RIGHT, TOP = 8, 232, 16
MAX_POINTS = 120
"""Of a curve; slices beyond are merged, by their largest area."""
PRESENT = 0.5
"""Presence above which the words count a slice."""
BINS = 12


def slice_curve(
    voxels: np.ndarray,
    voxel_mm2: float,
    colour: str,
    shown: int | None,
    towards: str,
    presence: np.ndarray | None = None,
) -> tuple[str, str]:
    """A target along D: its area in each slice, filled, and above it the network's presence as a line.

    Args:
        voxels: (D,) voxels per slice.
        voxel_mm2: area of one voxel in the slice.
        colour: of the area, ``#rrggbb``.
        shown: index of the slice in the montage, marked; None: not along D.
        towards: how slices are counted, for the words.
        presence: (D,) 0..1, NaN where nothing is told; None: the network tells none.

    Returns:
        the drawing, and what it shows in a few words.
    """
    filled, most, areas = np.flatnonzero(voxels), int(np.argmax(voxels)), voxels * voxel_mm2
    words = (
        f"Area per slice: slices {filled[0] + 1} to {filled[-1] + 1} of {len(voxels)}{towards}, "
        f"most in slice {most + 1}, {area(float(areas.max()))}"
    )
    line, scale, told = "", "", "area"
    if presence is not None and np.isfinite(presence).any():
        line, told = _presence_lines(presence), "presence as the network tells it (line), and area (filled)"
        scale = f'<text x="{RIGHT}" y="11" text-anchor="end">presence 1</text>'
        there = np.flatnonzero(np.nan_to_num(presence) > PRESENT)
        words += "; presence above 0.5 in "
        words += f"slices {there[0] + 1} to {there[-1] + 1}" if len(there) else "no slice"
    mark = ""
    if shown is not None:
        at = LEFT + (RIGHT - LEFT) * (shown / max(1, len(voxels) - 1))
        mark = f'<line x1="{at:.0f}" x2="{at:.0f}" y1="{TOP}" y2="{FLOOR}" class="mark"/>'
    opacity = ".35" if line else ".6"
    drawn = (
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{text_of(words)}">'
        f'<polygon points="{_area_points(areas)}" fill="{colour}" fill-opacity="{opacity}" class="line"/>'
        f'{line}{mark}<line x1="{LEFT}" x2="{RIGHT}" y1="{FLOOR}" y2="{FLOOR}" class="axis"/>'
        f'<text x="{LEFT}" y="11">{area(float(areas.max()))}</text>{scale}'
        f'<text x="{LEFT}" y="112">1</text>'
        f'<text x="{WIDTH / 2:.0f}" y="112" text-anchor="middle">slice</text>'
        f'<text x="{RIGHT}" y="112" text-anchor="end">{len(voxels)}</text></svg>'
    )
    return drawn, told


def _area_points(areas: np.ndarray) -> str:
    """Points of a polygon of areas (D,), the largest at the top."""
    merged, across = _merged(areas)
    up = FLOOR - (FLOOR - TOP) * merged / areas.max()
    drawn = widened(merged[None] > 0)[0]
    across, up = across[drawn], up[drawn]
    # Down to the axis at both ends: the target may begin or end with the volume.
    x = np.concatenate([across[:1], across, across[-1:]])
    y = np.concatenate([[FLOOR], up, [FLOOR]])
    return " ".join(f"{a:.0f},{b:.0f}" for a, b in zip(x, y, strict=True))


def _presence_lines(presence: np.ndarray) -> str:
    """Lines of presence (D,) from 0 on the axis to 1 at the top, apart where nothing is told."""
    merged, across = _merged(np.where(np.isfinite(presence), presence, -1.0))
    lines = []
    for part in np.split(np.arange(len(merged)), np.flatnonzero(np.diff(merged < 0)) + 1):
        if merged[part[0]] >= 0:
            y = FLOOR - (FLOOR - TOP) * np.clip(merged[part], 0, 1)
            points = " ".join(f"{a:.0f},{b:.0f}" for a, b in zip(across[part], y, strict=True))
            lines.append(f'<polyline points="{points}" class="presence"/>')
    return "".join(lines)


def _merged(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Values (D,) as at most `MAX_POINTS` of them, each the largest of some slices; and their x."""
    step = -(-len(values) // MAX_POINTS)
    merged = np.maximum.reduceat(values, np.arange(0, len(values), step))
    across = np.linspace(LEFT, RIGHT, len(merged)) if len(merged) > 1 else np.array([(LEFT + RIGHT) / 2])
    return merged, across


def histogram(volumes: Sequence[float], outliers: Sequence[bool], title: str) -> str:
    """Volumes of one target over the cases, on a scale of their logarithms; outliers hatched dark.

    All volumes are above 0 ml.
    """
    logs = np.log10(np.asarray(volumes, float))
    low, high = float(logs.min()), float(logs.max())
    if high - low < 0.1:
        low, high = low - 0.05, high + 0.05
    at = np.minimum(((logs - low) / (high - low) * BINS).astype(int), BINS - 1)
    odd = np.bincount(at[np.asarray(outliers, bool)], minlength=BINS)
    all_ = np.bincount(at, minlength=BINS)
    wide = (RIGHT - LEFT) / BINS
    bars = []
    for i in np.flatnonzero(all_):
        x, scale = LEFT + i * wide, (FLOOR - TOP) / all_.max()
        for count, kind in ((all_[i], "bar"), (odd[i], "odd")):
            if count:
                bars.append(
                    f'<rect x="{x + 1:.1f}" y="{FLOOR - count * scale:.1f}" width="{wide - 2:.1f}" '
                    f'height="{count * scale:.1f}" class="{kind}"/>'
                )
    words = (
        f"{title}: {len(volumes)} volumes from {number(min(volumes))} to {number(max(volumes))} ml, "
        f"median {number(float(np.median(volumes)))} ml, {plural(int(sum(outliers)), 'outlier')}"
    )
    return (
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{text_of(words)}">'
        f'{"".join(bars)}<line x1="{LEFT}" x2="{RIGHT}" y1="{FLOOR}" y2="{FLOOR}" class="axis"/>'
        f'<text x="{LEFT}" y="11">{plural(int(all_.max()), "case")}</text>'
        f'<text x="{LEFT}" y="112">{number(10**low)} ml</text>'
        f'<text x="{RIGHT}" y="112" text-anchor="end">{number(10**high)} ml</text></svg>'
    )

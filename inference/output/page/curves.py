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
BINS = 12


def area_curve(voxels: np.ndarray, voxel_mm2: float, colour: str, shown: int | None, towards: str) -> str:
    """Area of a target in each slice along D.

    Args:
        voxels: (D,) voxels per slice.
        voxel_mm2: area of one voxel in the slice.
        colour: of the area, ``#rrggbb``.
        shown: index of the slice in the montage, marked; None: not along D.
        towards: how slices are counted, for the words.
    """
    filled = np.flatnonzero(voxels)
    most = int(np.argmax(voxels))
    areas = voxels * voxel_mm2
    step = -(-len(areas) // MAX_POINTS)
    merged = np.maximum.reduceat(areas, np.arange(0, len(areas), step))
    across = np.linspace(LEFT, RIGHT, len(merged)) if len(merged) > 1 else np.array([(LEFT + RIGHT) / 2])
    up = FLOOR - (FLOOR - TOP) * merged / areas.max()
    drawn = widened(merged[None] > 0)[0]
    across, up = across[drawn], up[drawn]
    # Down to the axis at both ends: the target may begin or end with the volume.
    x = np.concatenate([across[:1], across, across[-1:]])
    y = np.concatenate([[FLOOR], up, [FLOOR]])
    line = " ".join(f"{a:.0f},{b:.0f}" for a, b in zip(x, y, strict=True))
    words = (
        f"Area per slice: slices {filled[0] + 1} to {filled[-1] + 1} of {len(voxels)}{towards}, "
        f"most in slice {most + 1}, {area(float(areas.max()))}"
    )
    mark = ""
    if shown is not None:
        at = LEFT + (RIGHT - LEFT) * (shown / max(1, len(voxels) - 1))
        mark = f'<line x1="{at:.0f}" x2="{at:.0f}" y1="{TOP}" y2="{FLOOR}" class="mark"/>'
    return (
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{text_of(words)}">'
        f'<polygon points="{line}" fill="{colour}" fill-opacity=".6" class="line"/>{mark}'
        f'<line x1="{LEFT}" x2="{RIGHT}" y1="{FLOOR}" y2="{FLOOR}" class="axis"/>'
        f'<text x="{LEFT}" y="11">{area(float(areas.max()))}</text>'
        f'<text x="{LEFT}" y="112">1</text>'
        f'<text x="{WIDTH / 2:.0f}" y="112" text-anchor="middle">slice</text>'
        f'<text x="{RIGHT}" y="112" text-anchor="end">{len(voxels)}</text></svg>'
    )


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

"""Where zoom-in looks for one prompt: around what zoom-out found, as released (SegVol, section 2.4)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vesal.inference.geometry.nearest import nearest
from vesal.inference.geometry.views import Box, Sides, View, triple
from vesal.inference.planning.rules import Part

FOREGROUND = 0.5
"""Probability above which a voxel of zoom-out is foreground."""
Bounds = tuple[int, int]
"""First voxel, and one past the last."""


@dataclass(frozen=True)
class ZoomRegion:
    """The region of each target; a ``planning.rules.QueryRegion``."""

    start: Sides
    """first voxel (D, H, W) of the part of the volume that is looked at"""
    shape: Sides
    """of that part"""
    window: Sides
    """of the network"""
    shared: bool = False
    """whether regions are rounded outwards to half windows, so that prompts have windows in common"""

    def region(self, probability: np.ndarray | None, view: View | None) -> tuple[Box | None, str]:
        """Box of what zoom-out found (d, h, w), grown to a window and clipped to what is looked at."""
        if probability is None:
            return self._native([(0, n) for n in self.shape]), "the whole volume, as zoom-out was not run"
        extent = foreground_extent(probability, self.shape)
        if extent is None:
            return None, "nothing: zoom-out found no foreground"
        grown = [grow(*side) for side in zip(extent, self.window, self.shape, strict=True)]
        if not self.shared:
            return self._native(grown), "what zoom-out found, grown to a window"
        sides = zip(grown, self.window, self.shape, strict=True)
        return self._native([round_out(*side) for side in sides]), (
            "what zoom-out found, grown to a window and rounded to half windows that prompts share"
        )

    def _native(self, bounds: list[Bounds]) -> Box:
        first = triple(float(a + s) for (a, _), s in zip(bounds, self.start, strict=True))
        return Box(first, triple(float(b + s) for (_, b), s in zip(bounds, self.start, strict=True)))

    def prompt(self, probability: np.ndarray, source: View, view: View, at: Part) -> np.ndarray:
        """Zoom-out's probabilities (d, h, w) by the nearest voxel; 0 outside of what is looked at."""
        out = np.zeros([side.stop - side.start for side in at], np.float32)
        inside, taken = [], []
        for axis, side in enumerate(at):
            place = np.arange(side.start, side.stop) + round(view.start[axis]) - self.start[axis]
            known = (place >= 0) & (place < self.shape[axis])
            inside.append(known)
            taken.append(nearest(self.shape[axis], probability.shape[axis])[place[known]])
        out[np.ix_(*inside)] = probability[np.ix_(*taken)]
        return out


def foreground_extent(probability: np.ndarray, shape: Sides) -> list[Bounds] | None:
    """Bounds of the foreground (D, H, W) after zoom-out's (d, h, w) is brought to ``shape`` by the nearest
    voxel; None where there is none.
    """
    mask = probability > FOREGROUND
    sources = [nearest(n, m) for n, m in zip(shape, mask.shape, strict=True)]
    # In a volume smaller than the window some of its voxels have no place.
    taken = [np.unique(source) for source in sources]
    mask = mask[np.ix_(*taken)]
    bounds = []
    for axis, (source, kept) in enumerate(zip(sources, taken, strict=True)):
        hit = kept[mask.any(tuple(a for a in range(3) if a != axis))]
        if not hit.size:
            return None
        places = np.flatnonzero((source >= hit[0]) & (source <= hit[-1]))
        bounds.append((int(places[0]), int(places[-1]) + 1))
    return bounds


def grow(extent: Bounds, window: int, length: int) -> Bounds:
    """Bounds grown by half of what is missing of a window, rounded down, at both ends, and clipped."""
    first, stop = extent
    margin = max(0, window - (stop - first)) // 2
    return max(0, first - margin), min(length, stop + margin)


def round_out(extent: Bounds, window: int, length: int) -> Bounds:
    """Bounds rounded outwards to multiples of half a window, and to one window at least; clipped."""
    step = max(1, window // 2)
    first = extent[0] // step * step
    stop = max(first + window, -(-extent[1] // step) * step)
    if stop >= length:
        # The last window of every prompt ends with the volume.
        first = min(first, max(0, length - window) // step * step)
    return first, min(length, stop)

"""Layout ``square-slices``: whole slices along the axis whose plane is the most symmetric, each filled up to
a square and brought to one size.

As BiomedParse-V is run: slices are filled with zeros, half of them before, and resized as bytes
(``geometry.byte_bicubic``). Slices are read and resized when a window needs them, so that memory does not
grow with their number.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from msgspec import Meta, Struct, structs

from vesal.inference.geometry.byte_bicubic import resize
from vesal.inference.geometry.tilings import SliceTiling
from vesal.inference.geometry.views import Box, Sides, Triple, View, VolumeGrid, triple

Count = Annotated[int, Meta(ge=1)]

SYMMETRIC = 0.5
"""Ratio of a plane's sides (``plane_ratios``) up to which slices are taken along the first axis."""


def plane_ratios(shape: Sides) -> Triple:
    """Of each axis how far the two sides of its slices differ: twice the difference over the sum."""
    others = [[n for a, n in enumerate(shape) if a != axis] for axis in range(3)]
    return triple(2 * abs(m - n) / (m + n) for m, n in others)


def slice_axis(shape: Sides, lowest_ratio: bool = False) -> tuple[int, str]:
    """The axis of (D, H, W) along which a volume is sliced, and why.

    The first, where its planes are symmetric. Else, as released, the shortest; as BiomedParse-V's paper has
    it (``lowest_ratio``), the one with the most symmetric planes. Of equals the first.
    """
    ratios = plane_ratios(shape)
    if ratios[0] < SYMMETRIC:
        return 0, f"along D, as the ratio of its planes is {ratios[0]:.2f}, below {SYMMETRIC:g}"
    axis = int(np.argmin(ratios if lowest_ratio else shape))
    why = f"{ratios[axis]:.2f} is the lowest ratio" if lowest_ratio else "it is the shortest axis"
    return axis, f"along {'DHW'[axis]}, as the ratio of the planes of D is {ratios[0]:.2f} and {why}"


class RunTiling(SliceTiling):
    """Runs of whole slices, no two of which share one, so that they may be run in any order; the last may be
    shorter.
    """

    apart = True

    def corners(self, view: View, size: Sides, overlap: float) -> list[Sides]:
        """First voxels of all runs."""
        starts = range(0, view.shape[self.axis], size[self.axis])
        return [tuple(s if a == self.axis else 0 for a in range(3)) for s in starts]  # type: ignore[misc]


@dataclass(frozen=True)
class SquareSampler:
    """Samples slices of a volume one by one, see above; a ``views.SliceSampler``."""

    axis: int

    def slices(self, volume: np.ndarray, view: View, numbers: np.ndarray) -> np.ndarray:
        """Slices of a view.

        Args:
            volume: (D, H, W) uint8 or float32.
            view: laid by ``SquareSlices``.
            numbers: of slices of the view, (n,).

        Returns:
            (n, h, w) of the volume's type, the plane's axes in their order.
        """
        across = [a for a in range(3) if a != self.axis]
        first = round(view.start[self.axis])
        planes = [np.take(volume, first + int(number), self.axis) for number in numbers]
        parts, zeros = [], []
        for a, n in zip(across, planes[0].shape, strict=True):
            start = round(view.start[a])
            stop = start + round(view.step[a] * view.shape[a])
            parts.append(slice(max(0, start), min(n, stop)))
            zeros.append((max(0, -start), max(0, stop - n)))
        cut = np.stack([plane[parts[0], parts[1]] for plane in planes])
        return resize(cut, (view.shape[across[0]], view.shape[across[1]]), (zeros[0], zeros[1]))


class SquareSlices(Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="square-slices"):
    """Whole slices, filled up to a square of whole voxels and brought to one size."""

    side: Count
    """Pixels of a slice's side, as the network sees it."""
    axis: Literal[0, 1, 2] | None = None
    """Axis of (D, H, W) along which slices are run; null: see ``slice_axis``."""
    run: Count = 1
    """Slices that are run at once."""
    every: Count = 1
    """Only every so manieth run is run; what lies between two is interpolated."""
    least: Count = 128
    """Pixels below which no side gets, however short time is: a side is halved at a time."""
    context: Annotated[int, Meta(ge=0, le=64)] = 0
    """Slices before and behind a run that the network sees too."""
    border: Literal["edge", "reflect"] = "edge"
    """What is seen beyond the last slice: that slice again, or those before it."""
    crop_air: bool = False
    """See ``layouts.Layout``."""

    @property
    def min_voxels(self) -> int:
        """One slice of the smallest size."""
        return min(self.least, self.side) ** 2

    share_step = 0.25
    """By halved sides."""

    def thinned(self, every: int) -> SquareSlices:
        """The same with fewer slices run."""
        return structs.replace(self, every=max(self.every, every))

    def view(self, box: Box, volume: VolumeGrid, voxels: int, finest_mm: float) -> View:
        """The slices that meet ``box``, each the square around it; sides are halved where ``voxels`` are too
        few.
        """
        axis = slice_axis(volume.shape)[0] if self.axis is None else self.axis
        low = [max(0, math.floor(a + 1e-6)) for a in box.start]
        high = [min(n, math.ceil(b - 1e-6)) for n, b in zip(volume.shape, box.stop, strict=True)]
        sizes = [max(1, b - a) for a, b in zip(low, high, strict=True)]
        across = [a for a in range(3) if a != axis]
        square = max(sizes[a] for a in across)
        side = self.side
        while sizes[axis] * side**2 > voxels and side // 2 >= self.least:
            side //= 2
        start, step, shape = [float(a) for a in low], [1.0] * 3, [sizes[axis]] * 3
        for a in across:
            start[a] = float(low[a] - (square - sizes[a]) // 2)
            step[a], shape[a] = square / side, side
        tiling = RunTiling(axis, self.run, self.context, self.border)
        sides = shape[0], shape[1], shape[2]
        return View(triple(start), triple(step), sides, 0, axis, tiling, sampler=SquareSampler(axis))

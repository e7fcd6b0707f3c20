"""Layouts: how a stage lays views over a volume. A profile names one for each stage.

`fit` chooses the spacing so that a region fits into a number of voxels; `window` has a window and a spacing
that the network was trained at; `stretch` brings a region to one shape, up or down; `slices` runs slices
along one axis, with context at both ends. A family may have a layout of its own.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Annotated, Literal, Protocol

import numpy as np
from msgspec import Meta, Struct

from vesal.inference.geometry.fit import DEGREE_RATIOS, SEARCH_FACTOR, fit_view, laid_around
from vesal.inference.geometry.foreground import foreground_box
from vesal.inference.geometry.tilings import FixedTiling, SliceTiling
from vesal.inference.geometry.views import SIDE_MULTIPLE, Box, View, VolumeGrid, triple, whole

Count = Annotated[int, Meta(ge=1)]
Counts = tuple[Count, Count, Count]
Length = Annotated[float, Meta(gt=0)]

_fit = lru_cache(maxsize=1024)(fit_view)
"""The cost of the same views is estimated many times."""


class Layout(Protocol):
    """How one stage lays its views; frozen and hashable."""

    @property
    def min_voxels(self) -> int:
        """Voxels below which a view gets no coarser, however short time is."""

    @property
    def crop_air(self) -> bool:
        """Whether the first stage leaves out the empty surroundings of what was scanned."""

    def view(self, box: Box, volume: VolumeGrid, voxels: int, finest_mm: float) -> View:
        """The view over ``box``.

        Args:
            box: region to cover, native voxel edges (D, H, W).
            volume: shape and spacing of the volume.
            voxels: of all its windows together, at most; a layout that cannot do with so few ignores it.
            finest_mm: no view finer than this, in mm; 0 leaves it to the layout.
        """


class Fit(Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="fit"):
    """The finest view of at most so many voxels that covers the region (``geometry.fit``)."""

    multiple: Annotated[int, Meta(ge=4)] = SIDE_MULTIPLE
    """Sides are multiples of this."""
    degrees: bool = True
    """Whether the network has degrees of anisotropy (SPAD-Nets): along a thick axis it halves less often."""
    degree_ratios: Annotated[tuple[Length, ...], Meta(min_length=1)] = DEGREE_RATIOS
    """From these ratios of thick to thin spacing on each degree of anisotropy holds, the first from 1."""
    crop_air: bool = True
    """See ``Layout``."""

    def __post_init__(self) -> None:
        """Raise ValueError where ratios do not grow, or are more than a side can be halved."""
        if list(self.degree_ratios) != sorted(set(self.degree_ratios)):
            raise ValueError(f"`degree_ratios` is {self.degree_ratios}; wanted are numbers that grow")
        if self.multiple % (1 << len(self.degree_ratios)):
            raise ValueError(
                f"`degree_ratios` has {len(self.degree_ratios)} degrees; sides are multiples of "
                f"{self.multiple}, which cannot be halved so often"
            )

    @property
    def min_voxels(self) -> int:
        """The smallest cube that the network can halve."""
        return self.multiple**3

    def view(self, box: Box, volume: VolumeGrid, voxels: int, finest_mm: float) -> View:
        """See ``geometry.fit.fit_view``."""
        ratios = self.degree_ratios if self.degrees else ()
        thickest_mm = volume.thickest_slice_mm
        return _fit(box, volume.spacing_dhw_mm, voxels, finest_mm, self.multiple, ratios, thickest_mm)


class Window(Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="window"):
    """A window of fixed shape at a fixed spacing; coarser where more windows would be needed than allowed."""

    window_dhw: Counts
    """Voxels of a window, (D, H, W)."""
    spacing_dhw_mm: tuple[Length, Length, Length] | None = None
    """Spacing that the network was trained at; null: the volume's own."""
    crop_air: bool = True
    """See ``Layout``."""

    @property
    def min_voxels(self) -> int:
        """One window."""
        return math.prod(self.window_dhw)

    def view(self, box: Box, volume: VolumeGrid, voxels: int, finest_mm: float) -> View:
        """A view of at least one window around ``box``, in as many windows as ``voxels`` are for."""
        native = volume.spacing_dhw_mm
        size_mm = [max(n, 1e-3) * s for n, s in zip(box.size, native, strict=True)]
        allowed, factor = max(1, voxels // self.min_voxels), 1.0
        while True:
            spacing = triple(max(s * factor, finest_mm) for s in self.spacing_dhw_mm or native)
            sides = [math.ceil(e / s - 1e-6) for e, s in zip(size_mm, spacing, strict=True)]
            if math.prod(-(-n // w) for n, w in zip(sides, self.window_dhw, strict=True)) <= allowed:
                break
            factor *= SEARCH_FACTOR
        d, h, w = (max(n, w) for n, w in zip(sides, self.window_dhw, strict=True))
        return laid_around(box, native, spacing, (d, h, w), 0, 0, FixedTiling(self.window_dhw))


class Stretch(Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="stretch"):
    """The whole region brought to one shape, up or down, whatever its proportions."""

    shape_dhw: Counts
    """Voxels of the view, (D, H, W): one window."""
    crop_air: bool = False
    """See ``Layout``."""

    @property
    def min_voxels(self) -> int:
        """The one shape."""
        return math.prod(self.shape_dhw)

    def view(self, box: Box, volume: VolumeGrid, voxels: int, finest_mm: float) -> View:
        """The view whose edges are those of ``box``; it has no other spacing to offer."""
        step = triple(max(n, 1e-3) / m for n, m in zip(box.size, self.shape_dhw, strict=True))
        return View(box.start, step, self.shape_dhw, 0, 0, FixedTiling(self.shape_dhw))


class Slices(Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="slices"):
    """Whole slices along one axis, as acquired, in runs with context at both ends."""

    axis: Literal[0, 1, 2] | None = None
    """Axis of (D, H, W) along which slices are run; null: the one with the longest voxels."""
    run: Count = 1
    """Slices that are predicted at once."""
    context: Annotated[int, Meta(ge=0, le=64)] = 0
    """Slices before and behind a run that the network sees too."""
    border: Literal["edge", "reflect"] = "edge"
    """What is seen beyond the last slice: that slice again, or those before it."""
    plane: tuple[Count, Count] | None = None
    """Voxels that every slice is brought to, its two axes in their order; null: as acquired."""
    multiple: Count = 1
    """Sides of a slice as acquired are filled up to multiples of this."""
    crop_air: bool = False
    """See ``Layout``."""

    @property
    def min_voxels(self) -> int:
        """One slice of the smallest size."""
        return self.multiple**2

    def view(self, box: Box, volume: VolumeGrid, voxels: int, finest_mm: float) -> View:
        """The slices of ``box`` and their context; in-plane coarser where ``voxels`` are too few for them."""
        native = volume.spacing_dhw_mm
        axis = int(np.argmax(native)) if self.axis is None else self.axis
        first = max(0, math.floor(box.start[axis]) - self.context)
        last = min(volume.shape[axis], math.ceil(box.stop[axis]) + self.context)
        start, step, sides = list(box.start), [1.0, 1.0, 1.0], [last - first] * 3
        start[axis] = float(first)
        across = [a for a in range(3) if a != axis]
        factor = 1.0
        while True:
            for place, a in enumerate(across):
                sides[a], step[a] = self._side(place, box.size[a], native[a], factor, finest_mm)
                first_voxel = (box.start[a] + box.stop[a]) / 2 - sides[a] * step[a] / 2
                # As acquired: no interpolation where none is needed.
                start[a] = float(round(first_voxel)) if step[a] == 1.0 else first_voxel
            smallest = all(sides[a] <= self.multiple for a in across)
            if math.prod(sides) <= voxels or smallest:
                break
            factor *= SEARCH_FACTOR
        tiling = SliceTiling(axis, self.run, self.context, self.border)
        return View(triple(start), triple(step), (sides[0], sides[1], sides[2]), 0, axis, tiling)

    def _side(
        self, place: int, size: float, native_mm: float, factor: float, finest_mm: float
    ) -> tuple[int, float]:
        """Voxels and step of one axis of a slice."""
        if self.plane is not None:
            side = max(1, round(self.plane[place] / factor / self.multiple)) * self.multiple
            return side, max(size, 1e-3) / side
        step = max(1.0, finest_mm / native_mm) * factor
        return max(1, math.ceil(size / step / self.multiple - 1e-6)) * self.multiple, step


def first_box(layout: Layout, image: np.ndarray) -> Box:
    """What the first stage looks at of an image (D, H, W): native voxel edges; a layout of a family's own may
    say it itself.
    """
    if (own := getattr(layout, "first_box", None)) is not None:
        found: Box = own(image)
        return found
    return foreground_box(image) if layout.crop_air else whole(image.shape)

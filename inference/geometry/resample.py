"""Separable linear resampling between a volume and a view, axis by axis.

Shrinking widens the triangle of the linear interpolation to the view's step (an area filter, so that thin
structures do not alias away); growing is plain linear interpolation. Along each axis the weights of one view
voxel sum to one, or are all zero where its centre lies outside the volume: surroundings are 0, the background
of challenge volumes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from vesal.inference.geometry.banded_product import banded_product
from vesal.inference.geometry.bands import Band
from vesal.inference.geometry.resample_weights import axis_weights, corner_weights, nearest_weights
from vesal.inference.geometry.views import View
from vesal.inference.runtime.threads import in_parallel, in_slabs

SLAB_VOXELS = 1 << 17
"""Voxels that one thread works on at a time: 0.5 MB of float32, half of a processor's cache."""
LABEL_SLAB_VOXELS = 1 << 19
"""`SLAB_VOXELS` for labels, which are only moved: a usual view is done before a second thread has begun."""
ON_VOXEL = 1e-7
"""An output voxel this near to the centre of an input voxel, in input voxels, takes its value as it is:
rounding could leave it below both neighbours."""


def to_view(volume: np.ndarray, view: View) -> np.ndarray:
    """Sample ``volume`` (D, H, W) numbers on ``view``: float32 of ``view.shape``, 0 outside the volume."""
    if view.sampling is not None and not view.sampling.corners:
        return _as_torch(volume, view)
    if view.sampling is None and view.step == (1.0, 1.0, 1.0) and all(a.is_integer() for a in view.start):
        return _as_acquired(volume, view)
    bands = [_onto(volume.shape[a], view, a) for a in range(3)]
    # What repeats a published code is as precise as that.
    return banded_product(volume, bands, wide=view.sampling is not None)


def _as_acquired(volume: np.ndarray, view: View) -> np.ndarray:
    """A view whose voxels are those of the volume, and zeros beyond it."""
    out = np.zeros(view.shape, np.float32)
    first = [int(a) for a in view.start]
    sides = [(max(0, a), min(n, a + m)) for a, n, m in zip(first, volume.shape, view.shape, strict=True)]
    if all(a < b for a, b in sides):
        at = tuple(slice(a - f, b - f) for (a, b), f in zip(sides, first, strict=True))
        out[at] = volume[tuple(slice(a, b) for a, b in sides)]
    return out


def _as_torch(volume: np.ndarray, view: View) -> np.ndarray:
    """What a published code samples with torch, and zeros for what is missing of the view."""
    # Imported here: the default weights never need it, and a start counts.
    from vesal.inference.geometry.fused_linear import fused_linear, places_of

    sampling = view.sampling
    assert sampling is not None
    first = [view.first(axis) for axis in range(3)]
    source = volume[tuple(slice(f, f + n) for f, n in zip(first, sampling.source, strict=True))]
    places = places_of(sampling.source, sampling.grid, sampling.nearest_axis)
    out = np.zeros(view.shape, np.float32)
    out[tuple(map(slice, sampling.grid))] = fused_linear(source, places, sampling.nearest_axis)
    return out


def _onto(n_in: int, view: View, axis: int) -> Band:
    """Weights of one axis: corner on corner where the view's sampling says so, else by area."""
    sampling = view.sampling
    if sampling is None:
        return axis_weights(n_in, view.start[axis], view.step[axis], view.shape[axis])
    make = nearest_weights if axis == sampling.nearest_axis else corner_weights
    band = make(sampling.source[axis], sampling.grid[axis])
    return band.placed(n_in, view.first(axis), view.shape[axis])


def between(values: np.ndarray, source: View, target: View) -> np.ndarray:
    """Bring ``values`` (d, h, w) of view ``source`` onto view ``target``; float32, 0 outside ``source``."""
    bands = []
    for a in range(3):
        start = (target.start[a] - source.start[a]) / source.step[a]
        bands.append(axis_weights(source.shape[a], start, target.step[a] / source.step[a], target.shape[a]))
    return banded_product(values, bands)


def to_native(
    values: np.ndarray, view: View, corner: tuple[int, int, int], shape: tuple[int, int, int]
) -> np.ndarray:
    """Interpolate ``values`` (d, h, w) of ``view`` at native voxels ``corner`` on, float32 of ``shape``.

    Native voxels outside the view repeat its border, so no plane at an edge is lost. A voxel's value hangs on
    the eight around it alone, to the last bit: any part gives what the whole would.
    """
    taps = [Taps.of(view, a, slice(corner[a], corner[a] + shape[a])) for a in range(3)]
    values = values.astype(np.float32, copy=False)
    out = np.empty(shape, np.float32)

    def fill(slab: slice) -> None:
        out[slab] = enlarge(values, [taps[0].part(slab), taps[1], taps[2]])

    in_parallel(fill, in_slabs(shape[0], SLAB_VOXELS // max(1, shape[1] * shape[2])))
    return out


def enlarge(values: np.ndarray, taps: Sequence[Taps]) -> np.ndarray:
    """Interpolate (d, h, w) float32 along all axes: planes first, so that slabs share no work, rows last, as
    whole rows are gathered fastest."""
    values = values[tuple(t.used for t in taps)]
    for axis in (0, 2, 1):
        values = taps[axis].apply(values, axis)
    return values


def between_corners(corners: np.ndarray, fractions: Sequence[np.ndarray]) -> np.ndarray:
    """Interpolate in many cells of a grid at a time, to the last bit as `enlarge` does.

    Args:
        corners: (8, n) float32, the values of n cells at (2, 2, 2) voxels, the last axis fastest.
        fractions: where outputs lie in their cells: (k, n) float32 for each axis.

    Returns:
        (D, W, H, n) float32; cells are the last axis, as there are more of them than outputs in one.
    """
    d, h, w = fractions
    values = corners[:4] + (corners[4:] - corners[:4]) * d[:, None]
    values = values[:, None, ::2] + (values[:, None, 1::2] - values[:, None, ::2]) * w[:, None]
    out = (values[:, :, 1:] - values[:, :, :1]) * h
    out += values[:, :, :1]
    return out


@dataclass(frozen=True)
class Taps:
    """Linear interpolation along one axis between two neighbours: out[k] = (1 - f) in[i] + f in[i + 1]."""

    low: np.ndarray
    """(n,) int64, i"""
    fraction: np.ndarray
    """(n,) float32, f, from 0 to below 1; 0 where i is the last"""

    @classmethod
    def of(cls, view: View, axis: int, native: slice) -> Taps:
        """Those that bring ``view`` to the voxels ``native`` of the volume; beyond the view its border."""
        n_in, step = view.shape[axis], view.step[axis]
        centre = (np.arange(native.start, native.stop) + 0.5 - view.start[axis]) / step - 0.5
        centre = np.clip(centre, 0, n_in - 1)
        low = np.floor(centre + ON_VOXEL).astype(np.int64)
        return cls(low, np.where(centre - low < ON_VOXEL, 0, centre - low).astype(np.float32))

    @cached_property
    def high(self) -> np.ndarray:
        """(n,) int64, the other neighbour, i + 1; i where it does not count."""
        return self.low + (self.fraction > 0)

    @property
    def used(self) -> slice:
        """The input voxels that count."""
        return slice(int(self.low[0]), int(self.high[-1]) + 1)

    def part(self, outputs: slice | np.ndarray) -> Taps:
        """Those of some outputs, a slice or (m,) indices in any order."""
        return Taps(self.low[outputs], self.fraction[outputs])

    def within(self, inputs: slice) -> slice:
        """The outputs that need no other input voxels."""
        first = np.searchsorted(self.low, inputs.start)
        return slice(int(first), int(np.searchsorted(self.high, inputs.stop)))

    def reached(self, inputs: slice) -> slice:
        """The outputs that need some of these input voxels."""
        first = np.searchsorted(self.high, inputs.start)
        return slice(int(first), int(np.searchsorted(self.low, inputs.stop)))

    def numbered_from(self, first: int) -> Taps:
        """The same, where a part of the input begins with its voxel ``first``."""
        return Taps(self.low - first, self.fraction)

    @property
    def nearest(self) -> np.ndarray:
        """(n,) the input voxel nearest to each output; of two the first."""
        return self.low + (self.fraction > 0.5)

    def centred(self) -> Taps:
        """As these, but the output nearest to each input voxel (the first of two) takes its value."""
        nearest = self.nearest
        away = np.abs(self.low + self.fraction - nearest)
        by_input = np.lexsort((away, nearest))
        _, first = np.unique(nearest[by_input], return_index=True)
        low, fraction = self.low.copy(), self.fraction.copy()
        at = by_input[first]
        low[at], fraction[at] = nearest[at], 0
        return Taps(low, fraction)

    def apply(self, values: np.ndarray, axis: int) -> np.ndarray:
        """Interpolate float32 of any shape along ``axis``, of which ``values`` hold what is ``used``."""
        low = self.low - self.low[0]
        if not self.fraction.any():
            return np.take(values, low, axis)
        out = np.take(values, low, axis)
        beyond = np.take(values, np.minimum(low + 1, values.shape[axis] - 1), axis)
        beyond -= out
        beyond *= self.fraction.reshape([-1 if a == axis else 1 for a in range(3)])
        out += beyond
        return out


def labels_to_view(labels: np.ndarray, view: View) -> np.ndarray:
    """Nearest-neighbour sampling of integer ``labels`` (D, H, W) on ``view``; 0 outside the volume."""
    at = [
        np.floor(view.start[a] + (np.arange(n) + 0.5) * view.step[a] + 1e-9) for a, n in enumerate(view.shape)
    ]
    d, h, w = (c.clip(0, n - 1).astype(np.intp) for c, n in zip(at, labels.shape, strict=True))
    # Whole rows first, which lie together in memory, and of these the columns.
    rows = labels.reshape(-1, labels.shape[2])
    out = np.empty(view.shape, labels.dtype)

    def fill(slab: slice) -> None:
        wanted = (d[slab, None] * labels.shape[1] + h).reshape(-1)
        out[slab] = rows.take(wanted, 0, mode="clip").take(w, 1, mode="clip").reshape(-1, len(h), len(w))

    in_parallel(fill, in_slabs(view.shape[0], LABEL_SLAB_VOXELS // (len(h) * len(w))))
    for a, (c, n) in enumerate(zip(at, labels.shape, strict=True)):
        outside = (c < 0) | (c >= n)
        if outside.any():
            out[(slice(None),) * a + (outside,)] = 0
    return out

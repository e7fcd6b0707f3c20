"""Linear interpolation as torch's `interpolate` computes it on a CPU, to the last bit.

Networks of published systems saw volumes that torch resampled, and voxels near a threshold hang on the last
bits of these: sums that are more exact than torch's repeat a recorded whole run less well.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vesal.inference.runtime.threads import in_parallel, in_slabs

SLAB_VOXELS = 1 << 18
"""Outputs that one thread works on at a time; the products of each take 16 bytes."""


@dataclass(frozen=True)
class Places:
    """Where the outputs of one axis lie between two of its inputs."""

    low: np.ndarray
    """(n,) int64; never falls"""
    high: np.ndarray
    """(n,) int64: the next input, the last one again beyond it"""
    share: np.ndarray
    """(n,) float32: how far from ``low`` to ``high``"""

    @classmethod
    def linear(cls, n_in: int, n_out: int) -> Places:
        """Between voxel centres, edges repeated."""
        scale = np.float64(np.float32(n_in) / np.float32(n_out))
        # Rounded to float32 once, as by a fused multiply and add.
        at = np.maximum(((np.arange(n_out) + 0.5) * scale - 0.5).astype(np.float32), np.float32(0))
        low = np.minimum(at.astype(np.int64), n_in - 1)
        return cls(low, np.minimum(low + 1, n_in - 1), (at - low.astype(np.float32)).astype(np.float32))

    @classmethod
    def nearest(cls, n_in: int, n_out: int) -> Places:
        """The voxel under each output voxel's centre."""
        scale = np.float32(n_in) / np.float32(n_out)
        at = np.floor((np.arange(n_out, dtype=np.float32) + np.float32(0.5)) * scale).astype(np.int64)
        at = np.minimum(at, n_in - 1)
        return cls(at, at, np.zeros(n_out, np.float32))

    @property
    def needed(self) -> slice:
        """The inputs that are used."""
        return slice(int(self.low[0]), int(self.high[-1]) + 1)

    def reached(self, inputs: slice) -> slice:
        """The outputs that some of the inputs have a weight in."""
        of_low = (self.low >= inputs.start) & (self.low < inputs.stop)
        of_high = (self.high >= inputs.start) & (self.high < inputs.stop) & (self.share > 0)
        rows = np.flatnonzero(of_low | of_high)
        return slice(int(rows[0]), int(rows[-1]) + 1) if rows.size else slice(0, 0)

    def of(self, rows: slice) -> Places:
        """Those of some outputs."""
        return Places(self.low[rows], self.high[rows], self.share[rows])

    def part(self, rows: slice) -> Places:
        """Those of some outputs, inputs numbered from the first that they need on."""
        found = self.of(rows)
        return Places(found.low - found.low[0], found.high - found.low[0], found.share)


def places_of(old: Sequence[int], new: Sequence[int], nearest_axis: int | None = None) -> list[Places]:
    """The places of each axis (D, H, W): nearest neighbours along ``nearest_axis``, else linear."""
    pairs = enumerate(zip(old, new, strict=True))
    return [(Places.nearest if a == nearest_axis else Places.linear)(n, m) for a, (n, m) in pairs]


def fused_linear(volume: np.ndarray, places: Sequence[Places], nearest_axis: int | None = None) -> np.ndarray:
    """(D, H, W) numbers at the places of the three axes -> float32.

    torch takes rows first, then columns, then planes. Planes that are taken by themselves (``nearest_axis``)
    it interpolates with four weights a pixel.
    """
    if nearest_axis is not None:
        planes = np.take(volume, places[nearest_axis].low, nearest_axis).astype(np.float32, copy=False)
        first, second = (axis for axis in range(3) if axis != nearest_axis)
        return _in_planes(planes, (places[first], first), (places[second], second))
    for axis in (2, 1, 0):
        volume = _along(volume, places[axis], axis)
    return volume


def _along(volume: np.ndarray, at: Places, axis: int) -> np.ndarray:
    """low * (1 - share) + high * share along one axis, the sum rounded once; float32."""
    shape = list(volume.shape)
    shape[axis] = len(at.low)
    out = np.empty(shape, np.float32)
    rest = np.float32(1) - at.share

    def fill(slab: slice) -> None:
        mine = slab if axis == 0 else slice(None)
        source = volume if axis == 0 else volume[slab]
        low, high = (np.take(source, side[mine], axis).astype(np.float32) for side in (at.low, at.high))
        out[slab] = _fused(low, _on_axis(rest[mine], axis), high * _on_axis(at.share[mine], axis))

    in_parallel(fill, in_slabs(shape[0], max(1, SLAB_VOXELS // max(1, shape[1] * shape[2]))))
    return out


def _in_planes(volume: np.ndarray, first: tuple[Places, int], second: tuple[Places, int]) -> np.ndarray:
    """(D, H, W) float32 between four neighbours in the planes of two axes, added one after the other."""
    corners = []
    for far in (False, True):
        at, axis = first
        row = np.take(volume, at.high if far else at.low, axis)
        weight = _on_axis(at.share if far else np.float32(1) - at.share, axis)
        at, axis = second
        near = np.take(row, at.low, axis), weight * _on_axis(np.float32(1) - at.share, axis)
        corners += [near, (np.take(row, at.high, axis), weight * _on_axis(at.share, axis))]
    (a, of_a), (b, of_b), (c, of_c), (d, of_d) = corners
    return _fused(d, of_d, _fused(c, of_c, _fused(a, of_a, b * of_b)))


def _fused(values: np.ndarray, weights: np.ndarray, more: np.ndarray) -> np.ndarray:
    """values * weights + more, of one shape, rounded once: the product of two float32 is exact in float64."""
    return (values.astype(np.float64) * weights + more).astype(np.float32)


def _on_axis(values: np.ndarray, axis: int) -> np.ndarray:
    """(n,) values along one of three axes."""
    return values.reshape([-1 if a == axis else 1 for a in range(3)])

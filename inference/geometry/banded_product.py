"""A volume times weights along each axis, to the last bit the same on every processor.

A library of linear algebra picks its kernel by the processor, and kernels add in different orders. So what is
added are whole numbers (values and weights are rounded to fixed points), few enough bits of them that every
sum is exact, in any order (see `runtime.exact`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vesal.inference.geometry.bands import BLOCK_ROWS, Band, Block, fixed_blocks
from vesal.inference.runtime.exact import round_to, value_bits
from vesal.inference.runtime.threads import in_parallel, in_slabs

CHUNK_VOXELS = 1 << 22
"""Voxels that are held at a time, of the volume or as float64: the peak does not grow with the volume."""
TILE_VOXELS = 1 << 18
"""Voxels that one thread works on at a time: 1 MB of float32. A quarter of it takes half as long again."""
NARROW_BITS = 15
"""Bits of a weight where values are uint8: with them float32 adds exactly (24 bits), and with those of all
three axes float64 (53)."""
WIDE_BITS, VALUE_BITS, SUM_BITS = 24, 24, 28
"""Bits of other weights, of values, and of sums that are added again: at most 52 with a weight."""


@dataclass(frozen=True)
class _Group:
    """Neighbouring blocks that are worked on together: their outputs, and the inputs of all of them."""

    blocks: list[Block]
    rows: slice
    span: slice


def banded_product(volume: np.ndarray, bands: Sequence[Band], wide: bool = False) -> np.ndarray:
    """(D, H, W) numbers times the weights of its axes -> float32 of their outputs.

    Only what carries weight is read, in slabs. uint8 and bool are added with weights of 15 bits, first in
    float32, which is fastest and good to 0.02; all else, and everything if ``wide``, in float64.
    """
    shape = tuple(len(band.first) for band in bands)
    cut = volume[tuple(band.used for band in bands)]
    if not cut.size:
        return np.zeros(shape, np.float32)
    planes = _Planes(cut, bands[1:], wide or cut.dtype not in (np.uint8, np.bool_))
    out = np.empty((shape[0], shape[1] * shape[2]), np.float32)
    held, first = np.empty((0, out.shape[1])), 0
    depth = fixed_blocks(bands[0], planes.weight_bits, np.dtype(np.float64))
    for group in _groups(depth, CHUNK_VOXELS // max(cut[0].size, out.shape[1])):
        start, following = group.span.start, max(group.span.start, first + len(held))
        new = planes.along_both(following, group.span.stop)
        kept = held[start - first :]
        held, first = np.concatenate([kept, new]) if len(kept) else new, start
        _along_planes(held, group, out)
    return out.reshape(shape)


def plane_product(planes: np.ndarray, bands: Sequence[Band]) -> np.ndarray:
    """(N, h, w) numbers times the weights of h and w -> (N, H, W) float32 of their outputs.

    A plane's values hang on it alone, to the last bit, whatever is beside it: what is rounded is rounded by
    its own largest value.
    """
    out = np.empty((len(planes), *(len(band.first) for band in bands)), np.float32)

    def fill(at: int) -> None:
        plane = planes[at : at + 1, bands[0].used, bands[1].used]
        out[at] = _Planes(plane, bands, wide=True).along_both(0, 1).reshape(out[at].shape)

    in_parallel(fill, range(len(planes)) if planes.size else ())
    return out


def _along_planes(held: np.ndarray, group: _Group, out: np.ndarray) -> None:
    """(planes, m) float64, those that a group of outputs of D needs, into its (D outputs, m) float32."""

    def add(part: slice) -> None:
        for block in group.blocks[part]:
            out[block.rows] = block.weights @ held[_from(block.span, group.span.start)]

    # A usual view is done before a second thread has begun.
    in_parallel(add, in_slabs(len(group.blocks), CHUNK_VOXELS // (BLOCK_ROWS**2 * out.shape[1])))


class _Planes:
    """A volume (D, H, W) and the weights of H and W."""

    def __init__(self, volume: np.ndarray, bands: Sequence[Band], wide: bool) -> None:
        self._volume, self._wide = volume, wide
        self._bits = value_bits(volume) if wide else 0
        self._type, double = np.dtype(np.float64 if wide else np.float32), np.dtype(np.float64)
        self.weight_bits = WIDE_BITS if wide else NARROW_BITS
        """Of all axes."""
        rows = fixed_blocks(bands[0], self.weight_bits, self._type)
        # Rows of 512 voxels stay whole; only where steps or axes are long are they cut as well.
        width = TILE_VOXELS // max(block.span.stop - block.span.start for block in rows)
        self._columns = _groups(fixed_blocks(bands[1], self.weight_bits, double), width)
        self._rows = _groups(rows, TILE_VOXELS // max(1, min(width, volume.shape[2])))
        self._sides = len(bands[0].first), len(bands[1].first)

    def along_both(self, start: int, stop: int) -> np.ndarray:
        """(stop - start, outputs of H times those of W) float64 of some planes."""
        out = np.empty((max(0, stop - start), *self._sides))
        parts = [
            (slab, rows, columns)
            for slab in in_slabs(len(out), TILE_VOXELS // self._volume[0].size)
            for rows in self._rows
            for columns in self._columns
        ]

        def fill(part: tuple[slice, _Group, _Group]) -> None:
            slab, rows, columns = part
            values = self._volume[_from(slab, -start), rows.span, columns.span].astype(self._type)
            self._along_columns(self._along_rows(values, rows), columns, out[slab, rows.rows])

        in_parallel(fill, parts)
        return out.reshape(len(out), self._sides[0] * self._sides[1])

    def _along_rows(self, values: np.ndarray, rows: _Group) -> np.ndarray:
        """(d, inputs, w) float -> (d, outputs, w) float64; ``values`` are changed."""
        if self._wide:
            round_to(values, self._bits - VALUE_BITS)
        shorter = np.empty((len(values), rows.rows.stop - rows.rows.start, values.shape[2]), self._type)
        for block in rows.blocks:
            into = shorter[:, _from(block.rows, rows.rows.start)]
            np.matmul(block.weights, values[:, _from(block.span, rows.span.start)], out=into)
        if self._wide:
            round_to(shorter, self._bits - SUM_BITS)
        return shorter.astype(np.float64, copy=False)

    def _along_columns(self, values: np.ndarray, columns: _Group, out: np.ndarray) -> None:
        """(d, h, inputs) float64 into some columns of (d, h, W outputs)."""
        for block in columns.blocks:
            span = _from(block.span, columns.span.start)
            np.matmul(values[:, :, span], block.weights.T, out=out[:, :, block.rows])
        if self._wide:
            round_to(out[:, :, columns.rows], self._bits - SUM_BITS)


def _groups(blocks: Sequence[Block], most: int) -> list[_Group]:
    """All blocks, together as long as they need at most ``most`` inputs."""
    groups: list[_Group] = []
    for block in blocks:
        last = groups[-1] if groups else None
        if last is not None and block.span.stop - last.span.start <= most:
            rows, span = slice(last.rows.start, block.rows.stop), slice(last.span.start, block.span.stop)
            groups[-1] = _Group([*last.blocks, block], rows, span)
        else:
            groups.append(_Group([block], block.rows, block.span))
    return groups


def _from(part: slice, start: int) -> slice:
    """``part`` counted from ``start`` on."""
    return slice(part.start - start, part.stop - start)

"""Compressed probabilities of several classes between the stages.

They are kept without loss: from one stage to the next, too, they decide between classes. Bytes of the same
significance are packed together (exponents repeat, ends of fractions do not) with zlib, which every Python
has. blosc2 was measured and not used: it packs such bytes no smaller (`python -m benchmarks.keeping`), its
import takes as long as half a case, and with its dependencies it adds 35 MB to an image of 475.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator, Sequence

import numpy as np

from vesal.inference.runtime.threads import in_parallel

LEVEL = 1
"""zlib's fastest: higher levels gain a few percent here."""
TRIAL_BYTES = 1 << 14
"""Sample from the middle, packed first to see whether packing all is worth its time."""
WORTH_PACKING = 0.75
"""Bytes are packed if the sample shrinks at least to this share."""
DENSE_BYTES = 32 << 20
"""Up to this size probabilities are not worth packing: it would take longer than it saves."""


class PackedProbability:
    """(N, D, H, W) probabilities; gives float32 by class and by box.

    It grows by slabs of planes along one axis, D by default. ``packed[row]``, ``packed[[rows]]`` and
    ``packed[:, box]`` (slices) give arrays; iterating gives one class after the other.
    """

    ndim = 4

    def __init__(self, classes: int, plane: tuple[int, int], axis: int = 0) -> None:
        """Empty; ``plane`` is (H, W), or what is left of (D, H, W) without ``axis``."""
        self._plane, self._axis = plane, axis
        self._rows: list[list[Packed]] = [[] for _ in range(classes)]
        self._edges = [0]
        self._band: tuple[int, int, np.ndarray] | None = None

    @classmethod
    def of(cls, probability: Probabilities) -> PackedProbability:
        """All of (N, D, H, W) float32, packed class by class."""
        packed = cls(0, (probability.shape[2], probability.shape[3]))
        packed._edges.append(probability.shape[1])
        for row in probability:
            packed._rows.append([_pack(row)])
        return packed

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(N, D, H, W)."""
        sides = list(self._plane)
        sides.insert(self._axis, self._edges[-1])
        return len(self._rows), sides[0], sides[1], sides[2]

    @property
    def nbytes(self) -> int:
        """Packed size in bytes."""
        return sum(len(content) for row in self._rows for packed in row for content, _ in packed)

    def append(self, slab: np.ndarray) -> None:
        """Append the next planes, (N, d, H, W) float32."""
        self.append_packed(pack_planes(slab, self._axis), slab.shape[1 + self._axis])

    def append_packed(self, packed: Sequence[Packed], planes: int) -> None:
        """Append the next planes, so many, as ``pack_planes`` gave them."""
        self._band = None
        for row, content in zip(self._rows, packed, strict=True):
            row.append(content)
        self._edges.append(self._edges[-1] + planes)

    def extend(self, other: PackedProbability) -> None:
        """Append another's classes, which must have the same planes and slabs."""
        mine, theirs = ((packed._edges, packed._plane, packed._axis) for packed in (self, other))
        if mine != theirs:
            raise ValueError(f"slabs and planes are {theirs}; wanted {mine}")
        self._band = None
        self._rows += other._rows

    def __len__(self) -> int:
        """Number of classes."""
        return len(self._rows)

    def __iter__(self) -> Iterator[np.ndarray]:
        """Each class, (D, H, W) float32."""
        return (self._row(number) for number in range(len(self)))

    def __getitem__(self, index: int | Sequence[int] | slice | tuple[slice, ...]) -> np.ndarray:
        """A class (D, H, W), some classes (n, D, H, W), or a box of all of them (N, d, h, w)."""
        if isinstance(index, tuple):
            at = [*index, *([slice(None)] * (4 - len(index)))]
            first, last, _ = at[1 + self._axis].indices(self._edges[-1])
            at[1 + self._axis] = slice(None)
            return self._turned(self._read_band(first, max(first, last)))[tuple(at)]
        if isinstance(index, slice):
            index = range(len(self))[index]
        if isinstance(index, (list, range)):
            return np.stack([self._row(number) for number in index])
        return self._row(int(index))  # type: ignore[arg-type]

    def __setitem__(self, rows: Sequence[int], values: np.ndarray) -> None:
        """Replace the values (n, D, H, W) of some classes."""
        self._band = None
        for row, value in zip(rows, values, strict=True):
            slabs = zip(self._edges, self._edges[1:], strict=False)
            planes = np.moveaxis(value, self._axis, 0)
            self._rows[row] = [_pack(planes[first:last]) for first, last in slabs]

    @property
    def axis(self) -> int:
        """Of (D, H, W), along which planes are packed: those of another axis cost as much as all of them."""
        return self._axis

    @property
    def slabs(self) -> tuple[list[list[Packed]], list[int]]:
        """The packed slabs of each class, and the planes at which they begin and end."""
        return self._rows, self._edges

    def planes(self, row: int, first: int, last: int) -> np.ndarray:
        """Some planes of one class, (n, a, b) float32."""
        found: np.ndarray = self._read_rows([row], first, last)[0]
        return found

    def empty_planes(self, row: int, keep: np.ndarray) -> None:
        """Set planes of a class to 0; ``keep`` (n,) bool says which stay. One slab is unpacked at a time."""
        self._band = None
        slabs = list(self._rows[row])
        for number, (first, last) in enumerate(zip(self._edges, self._edges[1:], strict=False)):
            if keep[first:last].all():
                continue
            planes = np.zeros((last - first, *self._plane), np.float32)
            if keep[first:last].any():
                planes = _unpack(slabs[number]).reshape(planes.shape) * keep[first:last, None, None]
            slabs[number] = _pack(planes)
        self._rows[row] = slabs

    def copy(self) -> PackedProbability:
        """A copy; packed bytes are shared until they are replaced."""
        other = PackedProbability(0, self._plane, self._axis)
        other._rows, other._edges = list(self._rows), self._edges
        return other

    def __array__(self, dtype: np.dtype | None = None, copy: bool | None = None) -> np.ndarray:
        """All of it; for numpy's functions."""
        return np.asarray(self._turned(self._read(0, self._edges[-1])), dtype)

    def _turned(self, planes: np.ndarray) -> np.ndarray:
        """(n, planes, a, b) as part of (N, D, H, W)."""
        return np.moveaxis(planes, 1, 1 + self._axis)

    def _row(self, number: int) -> np.ndarray:
        row: np.ndarray = self._turned(self._read_rows([number], 0, self._edges[-1]))[0]
        return row

    def _read_band(self, first: int, last: int) -> np.ndarray:
        """Planes of all classes; the last ones stay unpacked, as neighbouring windows need the same."""
        if self._band is None or (first, last) != self._band[:2]:
            self._band = None  # free the old band before the new one is made
            self._band = (first, last, self._read(first, last))
        return self._band[2]

    def _read(self, first: int, last: int) -> np.ndarray:
        return self._read_rows(range(len(self)), first, last)

    def _read_rows(self, rows: Sequence[int], first: int, last: int) -> np.ndarray:
        out = np.empty((len(rows), last - first, *self._plane), np.float32)
        slabs = [s for s, edge in enumerate(self._edges[:-1]) if edge < last and self._edges[s + 1] > first]

        def read(part: tuple[int, int]) -> None:
            place, slab = part
            start, stop = self._edges[slab], self._edges[slab + 1]
            planes = _unpack(self._rows[rows[place]][slab]).reshape(-1, *self._plane)
            a, b = max(first, start), min(last, stop)
            out[place, a - first : b - first] = planes[a - start : b - start]

        in_parallel(read, [(place, slab) for place in range(len(rows)) for slab in slabs])
        return out


Probabilities = np.ndarray | PackedProbability
"""(N, D, H, W) float32, either way: both give a class by its number and a box by slices."""


def join_classes(parts: Sequence[Probabilities]) -> Probabilities:
    """The classes of results (n, D, H, W) on one view as one (N, D, H, W), for the next stage.

    Above ``DENSE_BYTES`` they are packed.
    """
    if sum(4 * math.prod(part.shape) for part in parts) <= DENSE_BYTES:
        if len(parts) == 1:
            return np.asarray(parts[0])
        return np.concatenate([np.asarray(part) for part in parts])
    if len(parts) == 1 and isinstance(parts[0], PackedProbability):
        return parts[0]
    whole = PackedProbability.of(parts[0])
    for part in parts[1:]:
        whole.extend(PackedProbability.of(part))
    return whole


Packed = tuple[tuple[bytes, bool], ...]
"""The first bytes of all numbers, the second ones and so on, each with whether zlib packed it."""


def pack_planes(slab: np.ndarray, axis: int = 0) -> list[Packed]:
    """Planes (N, d, H, W) float32 along an axis of (D, H, W), class by class."""
    return in_parallel(_pack, list(np.moveaxis(slab, 1 + axis, 1)))


def unpack_planes(packed: Sequence[Packed], plane: tuple[int, int]) -> np.ndarray:
    """(N, planes, a, b) float32 of ``pack_planes``, planes first."""
    return np.stack([_unpack(content).reshape(-1, *plane) for content in packed])


def _pack(values: np.ndarray) -> Packed:
    numbers = np.ascontiguousarray(values, np.float32).reshape(-1)
    places = np.ascontiguousarray(numbers.view(np.uint8).reshape(-1, numbers.itemsize).T)
    return tuple(_pack_bytes(place) for place in places)


def _pack_bytes(content: np.ndarray) -> tuple[bytes, bool]:
    middle = max(0, (len(content) - TRIAL_BYTES) // 2)
    trial = content[middle : middle + TRIAL_BYTES]
    if len(zlib.compress(trial.data, LEVEL)) > WORTH_PACKING * len(trial):
        return content.tobytes(), False
    return zlib.compress(content.data, LEVEL), True


def _unpack(packed: Packed) -> np.ndarray:
    """(n,) float32 of ``_pack``."""
    places = [
        np.frombuffer(zlib.decompress(content) if is_packed else content, np.uint8)
        for content, is_packed in packed
    ]
    return np.stack(places, 1).view(np.float32)[:, 0]

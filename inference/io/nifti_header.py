"""Headers of NIfTI-1 and NIfTI-2 in one file, and the affine that they give (nifti1.h, nifti2.h)."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass

import numpy as np

from vesal.inference.data.errors import NiftiError
from vesal.inference.geometry.views import Sides

BYTES_1, BYTES_2 = 348, 540
MAX_HEADER_BYTES = 1 << 24
"""Header and extensions; those that are known have kilobytes."""
SINGLE_FILE_1, SINGLE_FILE_2 = b"n+1\0", b"n+2\0\r\n\x1a\n"
PAIR_1, PAIR_2 = b"ni1\0", b"ni2\0\r\n\x1a\n"
# Codes of `datatype` that hold one real number a voxel.
TYPES = {
    2: "u1",
    4: "i2",
    8: "i4",
    16: "f4",
    64: "f8",
    256: "i1",
    512: "u2",
    768: "u4",
    1024: "i8",
    1280: "u8",
}
COLOURS = {32: "complex", 1792: "complex", 128: "RGB", 2304: "RGBA"}
MM_PER_UNIT = {1: 1000.0, 3: 0.001}
"""By the code of `xyzt_units`, its lowest three bits; all others are mm."""
MM, MICROMETRES = 2, 3


@dataclass(frozen=True)
class NiftiHeader:
    """What is used of a header."""

    shape_dhw: Sides
    volumes: int
    """Along the axes beyond three."""
    dtype: np.dtype
    """With the file's byte order."""
    offset: int
    """Byte of the file at which the voxels begin."""
    slope: float
    intercept: float
    pixdim: tuple[float, ...]
    """qfac, then the lengths along i, j, k."""
    qform_code: int
    sform_code: int
    quaternion: tuple[float, ...]
    """b, c, d, and the offsets along x, y, z."""
    rows: tuple[float, ...]
    """Of the sform, 3 x 4."""
    units: int
    """`xyzt_units`."""

    @property
    def data_bytes(self) -> int:
        """Bytes of the voxels of one volume."""
        return math.prod(self.shape_dhw) * self.dtype.itemsize

    @property
    def is_scaled(self) -> bool:
        """Whether stored numbers stand for others; a slope of 0 or NaN means that they do not."""
        has_slope = math.isfinite(self.slope) and self.slope != 0
        return has_slope and (self.slope, self.intercept) != (1.0, 0.0)

    @property
    def mm_per_unit(self) -> float:
        """Of the lengths in the header."""
        return MM_PER_UNIT.get(self.units & 7, 1.0)

    def sform(self) -> np.ndarray | None:
        """(4,4) of the rows, in the header's unit; None where they do not count, or are all 0."""
        if self.sform_code <= 0:
            return None
        affine = np.vstack([np.array(self.rows, np.float64).reshape(3, 4), [0, 0, 0, 1]])
        return affine if np.any(affine[:3, :3]) else None

    def qform(self) -> np.ndarray | None:
        """(4,4) of the quaternion (nifti1.h, method 2), in the header's unit; None if it does not count."""
        if self.qform_code <= 0:
            return None
        b, c, d, *offset = self.quaternion
        a = math.sqrt(max(0.0, 1.0 - (b * b + c * c + d * d)))
        rotation = np.array(
            [
                [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
                [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
                [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
            ]
        )
        qfac = -1.0 if self.pixdim[0] < 0 else 1.0
        affine = np.eye(4)
        affine[:3, :3] = rotation * (np.abs(self.pixdim[1:4]) * (1.0, 1.0, qfac))
        affine[:3, 3] = offset
        return affine


def parse_header(name: str, data: bytes) -> NiftiHeader:
    """Header out of its first bytes, 540 or what there is, either byte order; `name` is for messages.

    Raises:
        NiftiError: no NIfTI in one file, fields that make no volume of three axes or more, or voxels
            that are no real numbers.
    """
    for order, size in _orders(name, data):
        if size == BYTES_1 and data[344:348] == SINGLE_FILE_1:
            return _first(name, data, order, BYTES_1)
        if size == BYTES_2 and data[4:12] == SINGLE_FILE_2 and len(data) >= BYTES_2:
            return _second(name, data, order, BYTES_2)
    raise NiftiError(
        f"{name}: no NIfTI-1 volume in one file, and no NIfTI-2 (it begins {data[:4]!r}); save it as .nii or "
        ".nii.gz."
    )


def parse_pair_header(name: str, data: bytes) -> NiftiHeader:
    """The same of a file `.hdr` beside one with voxels; Analyze 7.5 has sizes and lengths alone.

    Raises:
        NiftiError: no such header, or as ``parse_header``.
    """
    for order, size in _orders(name, data):
        if size == BYTES_2 and data[4:12] == PAIR_2 and len(data) >= BYTES_2:
            return _second(name, data, order, 0)
        if size == BYTES_1 and data[344:348] == PAIR_1:
            return _first(name, data, order, 0)
        if size == BYTES_1 and data[344:348] not in (SINGLE_FILE_1, PAIR_1):
            # Analyze has a history of the subject where NIfTI has its forms, slope and unit.
            plain = data[:112] + bytes(11) + bytes([MM]) + bytes(BYTES_1 - 124)
            return _first(name, plain, order, 0)
    raise NiftiError(
        f"{name}: no header of NIfTI or Analyze (it begins {data[:4]!r}); save the volume as .nii.gz."
    )


def _orders(name: str, data: bytes) -> list[tuple[str, int]]:
    """Either byte order, and the size of the header in it. Raises NiftiError where it is cut short."""
    if len(data) < BYTES_1:
        raise NiftiError(f"{name}: {len(data)} bytes; a NIfTI-1 header alone has {BYTES_1}.")
    return [(order, struct.unpack_from(order + "i", data)[0]) for order in "<>"]


def _first(name: str, data: bytes, order: str, least: int) -> NiftiHeader:
    """``least``: where the voxels begin at the earliest."""

    def get(fields: str, at: int) -> tuple:
        return struct.unpack_from(order + fields, data, at)

    shape, volumes = _sides(name, get("8h", 40))
    offset, slope, intercept = get("3f", 108)
    qform, sform = get("2h", 252)
    return NiftiHeader(
        shape,
        volumes,
        _dtype(name, get("h", 70)[0], order),
        _offset(name, offset, least),
        slope,
        intercept,
        get("4f", 76),
        qform,
        sform,
        get("6f", 256),
        get("12f", 280),
        data[123],
    )


def _second(name: str, data: bytes, order: str, least: int) -> NiftiHeader:
    """See ``_first``."""

    def get(fields: str, at: int) -> tuple:
        return struct.unpack_from(order + fields, data, at)

    shape, volumes = _sides(name, get("8q", 16))
    slope, intercept = get("2d", 176)
    qform, sform = get("2i", 344)
    return NiftiHeader(
        shape,
        volumes,
        _dtype(name, get("h", 12)[0], order),
        _offset(name, get("q", 168)[0], least),
        slope,
        intercept,
        get("4d", 104),
        qform,
        sform,
        get("6d", 352),
        get("12d", 400),
        get("i", 500)[0] & 255,
    )


def _sides(name: str, dim: tuple[int, ...]) -> tuple[Sides, int]:
    """(D,H,W), and the number of volumes."""
    axes, lengths = dim[0], list(dim[1 : 1 + max(0, min(7, dim[0]))])
    if not 3 <= axes <= 7 or min(lengths) < 1:
        raise NiftiError(f"{name}: axes of lengths {lengths}; three of 1 or more are wanted.")
    x, y, z = lengths[:3]
    return (z, y, x), math.prod(lengths[3:])


def _dtype(name: str, code: int, order: str) -> np.dtype:
    if code in COLOURS:
        raise NiftiError(
            f"{name}: data type {code}, {COLOURS[code]}, is not read; one real number for each voxel is "
            "wanted. Save one grey volume."
        )
    if code not in TYPES:
        raise NiftiError(f"{name}: data type {code} is not read; save whole numbers, such as uint8.")
    return np.dtype(order + TYPES[code])


def _offset(name: str, offset: float, least: int) -> int:
    if not least <= offset <= MAX_HEADER_BYTES:  # also where it is NaN
        wanted = f"{least} to {MAX_HEADER_BYTES}"
        raise NiftiError(f"{name}: voxels are said to begin at byte {offset}; {wanted} is wanted.")
    return int(offset)

"""Read a NIfTI-1 volume without a library: a header of 348 bytes, then the voxels (nifti1.h, NIfTI-1.1)."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

import numpy as np

from vesal.inference.data.errors import NiftiError, UnreadableFileError
from vesal.inference.io.files import open_regular_file

SUFFIXES = (".nii.gz", ".nii")
HEADER_BYTES = 348
MAX_HEADER_BYTES = 1 << 24
"""Header and extensions; those that are known have kilobytes."""
SINGLE_FILE = b"n+1\0"
GZIP_MAGIC = b"\x1f\x8b"
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


@dataclass(frozen=True)
class NiftiHeader:
    """What is used of a header."""

    shape_dhw: tuple[int, int, int]
    dtype: np.dtype
    """With the file's byte order."""
    offset: int
    """Byte of the file at which the voxels begin."""
    slope: float
    intercept: float

    @property
    def data_bytes(self) -> int:
        """Bytes of the voxels."""
        return math.prod(self.shape_dhw) * self.dtype.itemsize

    @property
    def is_scaled(self) -> bool:
        """Whether stored numbers stand for others; a slope of 0 or NaN means that they do not."""
        has_slope = math.isfinite(self.slope) and self.slope != 0
        return has_slope and (self.slope, self.intercept) != (1.0, 0.0)


def read_nifti(path: Path, wanted_dhw: tuple[int, int, int] | None = None) -> np.ndarray:
    """Read `path` (.nii or .nii.gz) as (D,H,W): the file's x is W, its z is D, as stored.

    Orientation and position in the header are not used: the grid must be the volume's own.

    Args:
        path: the file.
        wanted_dhw: refuse any other shape before a voxel is read; None takes every shape.

    Returns:
        (D,H,W), C-contiguous, in the file's type, or float64 where the header scales it.

    Raises:
        UnreadableFileError: it cannot be opened.
        NiftiError: not a single-file NIfTI-1 volume of real numbers with three axes, cut short, or of another
            shape than `wanted_dhw`.
    """
    path = Path(path)
    try:
        with open_regular_file(path) as raw:
            packed = raw.read(2) == GZIP_MAGIC
            raw.seek(0)
            stream = cast(IO[bytes], gzip.GzipFile(fileobj=raw) if packed else raw)
            return _read(path.name, stream, wanted_dhw)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise NiftiError(f"{path.name}: cut short or damaged ({error}). Copy or save it again.") from error
    except OSError as error:
        raise UnreadableFileError(f"{path} cannot be read: {error.strerror or error}.") from error


def _read(name: str, stream: IO[bytes], wanted_dhw: tuple[int, int, int] | None) -> np.ndarray:
    """(D,H,W) of an unpacked stream; `name` is for messages."""
    header = parse_header(name, stream.read(HEADER_BYTES))
    if wanted_dhw is not None and header.shape_dhw != tuple(wanted_dhw):
        raise NiftiError(
            f"{name}: shape (D,H,W) is {header.shape_dhw}; the volume's, {tuple(wanted_dhw)}, is wanted."
        )
    stream.read(header.offset - HEADER_BYTES)
    data = stream.read(header.data_bytes)
    if len(data) != header.data_bytes:
        raise NiftiError(
            f"{name}: {len(data)} of {header.data_bytes} bytes of voxels are there; the file is cut short. "
            "Copy or save it again."
        )
    voxels = np.frombuffer(data, header.dtype).reshape(header.shape_dhw)
    if header.is_scaled:
        return voxels * header.slope + header.intercept
    return voxels.astype(header.dtype.newbyteorder("="))


def parse_header(name: str, data: bytes) -> NiftiHeader:
    """Header out of its 348 bytes, either byte order; `name` is for messages. Raises NiftiError."""
    if len(data) < HEADER_BYTES:
        raise NiftiError(f"{name}: {len(data)} bytes; a NIfTI-1 header alone has {HEADER_BYTES}.")
    order = next((o for o in "<>" if struct.unpack_from(o + "i", data)[0] == HEADER_BYTES), None)
    if order is None or data[344:348] != SINGLE_FILE:
        raise NiftiError(
            f"{name}: no NIfTI-1 volume in one file (it begins {data[:4]!r}); save it as .nii or .nii.gz."
        )
    axes, *lengths = struct.unpack_from(order + "8h", data, 40)
    code = struct.unpack_from(order + "h", data, 70)[0]
    offset, slope, intercept = struct.unpack_from(order + "3f", data, 108)
    lengths = lengths[: max(axes, 0)]
    if not 3 <= axes <= 7 or min(lengths) < 1 or any(n != 1 for n in lengths[3:]):
        raise NiftiError(f"{name}: axes of lengths {lengths}; three of 1 or more are wanted.")
    if code not in TYPES:
        raise NiftiError(f"{name}: data type {code} is not read; save whole numbers, such as uint8.")
    if not HEADER_BYTES <= offset <= MAX_HEADER_BYTES:  # also where it is NaN
        wanted = f"{HEADER_BYTES} to {MAX_HEADER_BYTES}"
        raise NiftiError(f"{name}: voxels are said to begin at byte {offset}; {wanted} is wanted.")
    x, y, z = lengths[:3]
    return NiftiHeader((z, y, x), np.dtype(order + TYPES[code]), int(offset), slope, intercept)

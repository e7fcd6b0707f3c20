"""Read a NIfTI volume without a library: a header, then the voxels (nifti1.h, nifti2.h)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

import numpy as np

from vesal.inference.data.errors import NiftiError, UnreadableFileError
from vesal.inference.geometry.views import Sides
from vesal.inference.io.files import open_regular_file
from vesal.inference.io.nifti_header import BYTES_2, TYPES, NiftiHeader, parse_header

__all__ = ["SUFFIXES", "TYPES", "OpenNifti", "open_nifti", "parse_header", "read_nifti"]

SUFFIXES = (".nii.gz", ".nii")
GZIP_MAGIC = b"\x1f\x8b"
MOST_PACKED = 1032
"""Bytes that one byte of deflate can stand for (RFC 1951: 258 bytes in two bits)."""
PORTION = 1 << 24


class OpenVoxels:
    """Voxels of a file that is open, after what stands in front of them."""

    def __init__(
        self, name: str, header: NiftiHeader, stream: IO[bytes], most_bytes: int, ahead: bytes = b""
    ) -> None:
        """``ahead`` is what was read of them already."""
        self._name, self.header, self._stream, self._ahead = name, header, stream, ahead
        self.most_bytes = most_bytes
        """More than this the file cannot hold, unpacked."""

    def read(self, volume: int = 0) -> np.ndarray:
        """(D,H,W) of one volume, C-contiguous, native, slope and intercept applied. Raises NiftiError."""
        header = self.header
        voxels = np.empty(header.shape_dhw, header.dtype)
        for _ in range(volume):
            self._fill(voxels)
        self._fill(voxels)
        if not header.dtype.isnative:
            voxels = voxels.byteswap(inplace=True).view(header.dtype.newbyteorder("="))
        if not header.is_scaled:
            return voxels
        scaled = voxels.astype(values_dtype(header))
        scaled *= scaled.dtype.type(header.slope)
        scaled += scaled.dtype.type(header.intercept)
        return scaled

    def _fill(self, voxels: np.ndarray) -> None:
        """The next volume; what is not there is not waited for."""
        target = voxels.reshape(-1).view(np.uint8).data
        filled = min(len(self._ahead), len(target))
        target[:filled], self._ahead = self._ahead[:filled], self._ahead[filled:]
        while filled < len(target):
            part = self._stream.read(min(PORTION, len(target) - filled))
            if not part:
                raise NiftiError(
                    f"{self._name}: {filled} of {len(target)} bytes of voxels are there; the file is cut "
                    "short. Copy or save it again."
                )
            target[filled : filled + len(part)] = part
            filled += len(part)


class OpenNifti(OpenVoxels):
    """A file that is open, its header read; the voxels come next."""

    def __init__(self, path: Path, raw: IO[bytes]) -> None:
        """Raises NiftiError."""
        stream, most_bytes = open_stream(raw)
        head = stream.read(BYTES_2)
        header = parse_header(path.name, head)
        super().__init__(path.name, header, stream, most_bytes, head[header.offset :])
        stream.read(max(0, header.offset - len(head)))


def open_stream(raw: IO[bytes]) -> tuple[IO[bytes], int]:
    """What a file that is open holds, unpacked where it is packed, and how many bytes that are at most."""
    packed = raw.read(2) == GZIP_MAGIC
    raw.seek(0)
    file_bytes = os.fstat(raw.fileno()).st_size
    return (_unpacked(raw), file_bytes * MOST_PACKED) if packed else (raw, file_bytes)


@contextmanager
def named_errors(path: Path) -> Iterator[None]:
    """What is wrong with a file is raised as NiftiError or UnreadableFileError inside of the `with`."""
    import zlib
    from gzip import BadGzipFile

    from isal import isal_zlib

    try:
        yield
    except (EOFError, zlib.error, BadGzipFile, isal_zlib.IsalError) as error:  # type: ignore[misc]  # its stub
        raise NiftiError(f"{path.name}: cut short or damaged ({error}). Copy or save it again.") from error
    except OSError as error:
        raise UnreadableFileError(f"{path} cannot be read: {error.strerror or error}.") from error


@contextmanager
def open_nifti(path: Path) -> Iterator[OpenNifti]:
    """Open `path` (.nii or .nii.gz); what is wrong inside of the `with` too is raised as named errors.

    Raises:
        UnreadableFileError: it cannot be opened.
        NiftiError: no NIfTI volume of real numbers in one file, or cut short.
    """
    path = Path(path)
    with named_errors(path), open_regular_file(path) as raw:
        yield OpenNifti(path, raw)


def read_nifti(path: Path, wanted_dhw: Sides | None = None) -> np.ndarray:
    """Read `path` (.nii or .nii.gz) as (D,H,W): the file's x is W, its z is D, as stored.

    Orientation and position in the header are not used: the grid must be the volume's own.

    Args:
        path: the file.
        wanted_dhw: refuse any other shape before a voxel is read; None takes every shape.

    Returns:
        (D,H,W), C-contiguous, in the file's type, or the one that the header's scaling needs.

    Raises:
        UnreadableFileError: it cannot be opened.
        NiftiError: not a single-file NIfTI volume of real numbers with three axes, cut short, or of another
            shape than `wanted_dhw`.
    """
    with open_nifti(path) as opened:
        header = opened.header
        if header.volumes != 1:
            lengths = [*header.shape_dhw[::-1], header.volumes]
            raise NiftiError(f"{Path(path).name}: axes of lengths {lengths}; three of 1 or more are wanted.")
        if wanted_dhw is not None and header.shape_dhw != tuple(wanted_dhw):
            raise NiftiError(
                f"{Path(path).name}: shape (D,H,W) is {header.shape_dhw}; the volume's, {tuple(wanted_dhw)}, "
                "is wanted."
            )
        return opened.read()


def values_dtype(header: NiftiHeader) -> np.dtype:
    """The type of the numbers that are meant: the stored one, or where they are scaled one that holds them.

    Whole numbers stay whole where slope and intercept are, in 32 bits if those hold them all.
    """
    stored = header.dtype.newbyteorder("=")
    if not header.is_scaled:
        return stored
    if stored.kind == "f" or not (float(header.slope).is_integer() and float(header.intercept).is_integer()):
        return np.dtype(np.float64 if stored.itemsize == 8 else np.float32)
    info = np.iinfo(stored)
    ends = [end * int(header.slope) + int(header.intercept) for end in (info.min, info.max)]
    return np.dtype(np.int32 if max(map(abs, ends)) < 2**31 else np.float64)


def _unpacked(raw: IO[bytes]) -> IO[bytes]:
    from isal import igzip

    return cast(IO[bytes], igzip.IGzipFile(fileobj=raw))

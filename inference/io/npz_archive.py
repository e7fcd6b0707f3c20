"""The npz container: a zip of npy members, read without trusting anything that it says about itself.

`numpy.load` is not used: it would unpickle on request, allocates what a header promises before looking at the
data, and raises whatever zip, codec and numpy happen to raise. Here every failure is a `CaseError` with a
message.
"""

import io
import math
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Self, TypeAlias, cast

import numpy as np
from numpy.lib import format as npy

from vesal.inference.data.errors import (
    ArrayHeaderError,
    CaseError,
    MissingKeyError,
    NotAnArchiveError,
    TooManyArraysError,
    TruncatedArchiveError,
    shown,
)
from vesal.inference.io.files import open_regular_file
from vesal.inference.io.inflate import Inflated
from vesal.inference.io.limits import MAX_DIRECTORY_BYTES

LOCAL_HEADER = b"PK\x03\x04"
EMPTY_ARCHIVE = END = b"PK\x05\x06"
END_BYTES = 22 + 65535 + 76
"""The end of an archive with the longest comment, and what is before it where sizes take 64 bits."""
WIDE_END, WIDE_END_BYTES, WIDE_LOCATOR_BYTES = b"PK\x06\x06", 56, 20

# The zip module's LZMA and bzip2 readers expand all the compressed bytes they are handed, whatever size was
# promised. Small portions keep the overshoot of a forged member to a few hundred megabytes.
PORTION_BYTES = 32 * 1024

Stream: TypeAlias = io.BufferedIOBase | Inflated
"""A member of an archive as it is read."""


@dataclass(frozen=True)
class ArrayHeader:
    """What an npy header says: shape, dtype, memory order; and how many bytes follow it in the member."""

    shape: tuple[int, ...]
    dtype: np.dtype
    fortran_order: bool
    data_bytes: int

    @property
    def promised_bytes(self) -> int:
        """Bytes that shape and dtype call for; meaningless for object arrays, which hold a pickle."""
        return math.prod(self.shape) * self.dtype.itemsize


def read_npy_header(stream: Stream) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Read the header of an npy stream, up to the data; return (shape, fortran_order, dtype).

    Raises ValueError (or what numpy's parser raises) on anything that is no npy header, and on negative
    lengths, which numpy lets pass.
    """
    version = npy.read_magic(stream)
    # Version 3.0 differs from 2.0 in the encoding of field names only, and no array with fields is wanted
    # here.
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, fortran_order, dtype = read(stream)
    if any(length < 0 for length in shape):
        raise ValueError(f"the npy header has a negative length in its shape {shape}")
    return tuple(int(length) for length in shape), bool(fortran_order), dtype


class NpzArchive:
    """An npz file opened for reading; use it as a context manager.

    Members are looked at one at a time and only when asked for, so keys that nobody needs (`gts`, `boxes`,
    ...) are neither decompressed nor unpickled. Where `file` is given it is the file, open already, and stays
    open. Raises UnreadableFileError, NotAnArchiveError or TruncatedArchiveError.
    """

    def __init__(self, path: Path, file: IO[bytes] | None = None) -> None:
        """Open `path`, unless it is open, and read the table of its members."""
        self.path = Path(path)
        self._own = file is None
        self._file = open_regular_file(self.path) if file is None else file
        try:
            self._zip = self._open_zip()
            self._members = {info.filename.removesuffix(".npy"): info for info in self._zip.infolist()}
        except BaseException:
            self._close_file()
            raise

    def __enter__(self) -> Self:
        """Return the open archive."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file, if it was opened here."""
        self.close()

    def close(self) -> None:
        """Read no more."""
        self._zip.close()
        self._close_file()

    def __contains__(self, key: str) -> bool:
        """Say whether there is an array of this name."""
        return key in self._members

    @property
    def keys(self) -> tuple[str, ...]:
        """Names of the arrays, in the order of the file."""
        return tuple(self._members)

    def missing(self, key: str, advice: str) -> MissingKeyError:
        """Return the error that says that `key` is not there, which keys are, and what to do."""
        there = ", ".join(shown(name, 40) for name in self.keys[:20]) or "no arrays at all"
        return MissingKeyError(f"{self.path.name}: no array '{key}'; the file has {there}. {advice}")

    def header(self, key: str) -> ArrayHeader:
        """Read the npy header of one array without its data; raises MissingKeyError and ArrayHeaderError."""
        with self._open_member(key) as stream:
            return self._header(key, stream)

    def read_array(self, key: str, max_bytes: int, any_order: bool = False) -> np.ndarray:
        """Read one array of plain numbers or text, C-contiguous; object arrays are refused.

        With `any_order` its axes keep the order in which they are stored, which takes no second copy. Nothing
        is allocated before the header's shape agrees with the size of the member and stays below `max_bytes`.
        """
        with self._open_member(key) as stream:
            header = self._header(key, stream)
            if header.dtype.hasobject:
                raise ArrayHeaderError(
                    f"{self.path.name}: array '{key}' holds Python objects; numbers are wanted."
                )
            _check_size(self.path, key, header, max_bytes)
            with self._blame(f"array '{key}'"):
                data = self._fill(np.empty(header.data_bytes, np.uint8), stream)
        # A shape with a 0 has no bytes to view; numpy cannot change the item size of an empty buffer.
        flat = data.view(header.dtype) if data.size else np.empty(0, header.dtype)
        if header.fortran_order:
            stored = flat.reshape(header.shape[::-1]).T
            return stored if any_order else np.ascontiguousarray(stored)
        return flat.reshape(header.shape)

    def read_raw(self, key: str, max_bytes: int) -> tuple[ArrayHeader, bytes]:
        """Read one array's header and the untouched bytes behind it (for an object array: its pickle)."""
        with self._open_member(key) as stream:
            header = self._header(key, stream)
            if header.data_bytes > max_bytes:
                raise ArrayHeaderError(
                    f"{self.path.name}: array '{key}' takes {header.data_bytes} bytes; at most "
                    f"{max_bytes} are read."
                )
            with self._blame(f"array '{key}'"):
                return header, self._fill(np.empty(header.data_bytes, np.uint8), stream).tobytes()

    def _close_file(self) -> None:
        if self._own:
            self._file.close()

    def _open_zip(self) -> zipfile.ZipFile:
        start = self._file.read(8)
        self._file.seek(0)
        if not start or not (LOCAL_HEADER.startswith(start[:4]) or start[:4] == EMPTY_ARCHIVE):
            raise NotAnArchiveError(
                f"{self.path.name}: {_what_it_looks_like(start)}, not the zip archive that an npz is. "
                "Save the case with numpy.savez_compressed(path, imgs=..., spacing=..., text_prompts=...)."
            )
        with self._blame("its table of members"):
            _check_directory(self.path, self._file)
            return zipfile.ZipFile(self._file)

    @contextmanager
    def _open_member(self, key: str) -> Iterator[Stream]:
        if key not in self._members:
            raise self.missing(key, f"Save the case with '{key}'.")
        with self._blame(f"array '{key}'"):
            info = self._members[key]
            # Looks at the local header, too.
            stream: Stream = cast(zipfile.ZipExtFile, self._zip.open(info))
            if info.compress_type == zipfile.ZIP_DEFLATED:
                stream.close()
                stream = Inflated(self._file, info)
        with stream:
            yield stream

    def _header(self, key: str, stream: Stream) -> ArrayHeader:
        with self._blame(f"the header of array '{key}'", ArrayHeaderError):
            shape, fortran_order, dtype = read_npy_header(stream)
            return ArrayHeader(shape, dtype, fortran_order, self._members[key].file_size - stream.tell())

    @staticmethod
    def _fill(data: np.ndarray, stream: Stream) -> np.ndarray:
        """Read all of `stream` into (n,) uint8; raises EOFError unless it has exactly so many bytes."""
        filled, rest = 0, data.data
        while count := stream.readinto(rest[:PORTION_BYTES]):
            filled, rest = filled + count, rest[count:]
        filled += len(stream.read(1))
        if filled != data.size:
            raise EOFError(f"{filled} of {data.size} bytes are there")
        return data

    @contextmanager
    def _blame(self, what: str, kind: type[CaseError] = TruncatedArchiveError) -> Iterator[None]:
        # Zip, four codecs and numpy's header parser raise an open list of exceptions on damaged bytes, so all
        # of them are translated here; the original stays attached as the cause.
        try:
            yield
        except CaseError:
            raise
        except Exception as error:
            detail = f"{type(error).__name__}: {error}"[:200]
            raise kind(
                f"{self.path.name}: {what} cannot be read ({detail}); the file is cut short or damaged "
                f"({self.path.stat().st_size} bytes). Copy or save it again."
            ) from error


def _check_size(path: Path, key: str, header: ArrayHeader, max_bytes: int) -> None:
    if header.dtype.itemsize == 0:
        raise ArrayHeaderError(
            f"{path.name}: array '{key}' has elements of no length ({header.dtype}). Save what it is to hold."
        )
    if header.promised_bytes != header.data_bytes:
        raise ArrayHeaderError(
            f"{path.name}: array '{key}' promises {header.dtype} of shape {header.shape}, "
            f"{header.promised_bytes} bytes, but {header.data_bytes} are stored. "
            "The file is damaged or forged; save it again."
        )
    if header.promised_bytes > max_bytes:
        raise ArrayHeaderError(
            f"{path.name}: array '{key}' of shape {header.shape} takes {header.promised_bytes} bytes; "
            f"at most {max_bytes} are read. Crop or resample it."
        )


def _check_directory(path: Path, file: IO[bytes]) -> None:
    """Raise TooManyArraysError where the table of members is too long to be read (APPNOTE 4.3.14, 4.3.16)."""
    size = file.seek(0, io.SEEK_END)
    start = max(0, size - END_BYTES)
    file.seek(start)
    tail = file.read(END_BYTES)
    at = tail.rfind(END)
    table = int.from_bytes(tail[at + 12 : at + 16], "little") if at >= 0 else 0
    wide = at - WIDE_LOCATOR_BYTES - WIDE_END_BYTES
    if wide >= 0 and tail[wide : wide + 4] == WIDE_END:
        table = max(table % 0xFFFFFFFF, int.from_bytes(tail[wide + 40 : wide + 48], "little"))
    file.seek(0)
    if table > MAX_DIRECTORY_BYTES:
        raise TooManyArraysError(
            f"{path.name}: its table of arrays has {table} bytes; at most {MAX_DIRECTORY_BYTES} are read. "
            "Save imgs, spacing and text_prompts alone."
        )


def _what_it_looks_like(start: bytes) -> str:
    known = {
        b"\x93NUMPY": "this is a single npy array",
        b"\x1f\x8b": "this is gzip",
        b"\x80": "this is a pickle",
    }
    if not start:
        return "the file is empty (0 bytes)"
    return next(
        (name for magic, name in known.items() if start.startswith(magic)), f"it starts with {start!r}"
    )

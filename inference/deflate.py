"""A zip archive of one member whose parts are compressed side by side (PKWARE APPNOTE 4.3, RFC 1951).

Each part is a deflate stream of its own up to a full flush, which ends on a byte and forgets what came
before; parts one behind the other are one valid stream. They are cut by size alone, so the same content gives
the same bytes whatever the number of threads, and parts of zeros, of which label maps are full, are
compressed once.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import IO

import numpy as np

from inference.parallel import in_parallel, threads_allowed

LEVEL = 1
"""Label maps are mostly runs of one value: on a 63x512x512 map level 1 is several times faster than numpy's
level 6, and the file grows by some tens of kilobytes."""
LARGEST_32 = 0xFFFFFFFF
"""A size or offset of this much or more stands in the member's zip64 field instead."""

_DEFLATED, _DATE, _ZIP64 = 8, 0x21, 0x0001
"""The date is zip's first, 1980-01-01, so that the time of writing does not reach the file."""
_LAST_BLOCK = b"\x03\x00"
"""An empty block with fixed codes that says it is the last."""
_PLAIN, _WIDE = 20, 45
"""Versions needed to extract: deflate, zip64."""
_UNIX_RW_R_R = 0o100644 << 16


def write_zip(file: IO[bytes], name: str, parts: Iterable[np.ndarray]) -> None:
    """Write the archive into an empty, seekable ``file``.

    Args:
        file: opened for writing at its beginning.
        name: of the member, ASCII.
        parts: the member's content, contiguous arrays of uint8; a few are held at a time.
    """
    encoded = name.encode("ascii")
    file.write(bytes(_local_size(encoded)))
    crc = size = packed = 0
    zeros: dict[int, bytes] = {}
    for batch in _batches(iter(parts), 4 * threads_allowed()):
        for part, stream in zip(batch, in_parallel(lambda part: _deflated(part, zeros), batch), strict=True):
            crc = zlib.crc32(part.data, crc)
            size += part.size
            packed += file.write(stream)
    packed += file.write(_LAST_BLOCK)
    directory_at = file.tell()
    directory = _directory(encoded, crc, size, packed)
    file.write(directory + _end(len(directory), directory_at))
    file.seek(0)
    file.write(_local(encoded, crc, size, packed))


def _batches(parts: Iterator[np.ndarray], count: int) -> Iterator[list[np.ndarray]]:
    while batch := list(islice(parts, count)):
        yield batch


def _deflated(part: np.ndarray, zeros: dict[int, bytes]) -> bytes:
    """A part as deflate blocks up to a full flush; those of zeros are kept in ``zeros`` by size."""
    blank = not part.any()
    if blank and part.size in zeros:
        return zeros[part.size]
    packer = zlib.compressobj(LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
    stream = packer.compress(part.data) + packer.flush(zlib.Z_FULL_FLUSH)
    if blank:
        zeros[part.size] = stream
    return stream


def _local_size(name: bytes) -> int:
    """Bytes of the local header; its zip64 field is always there, as the sizes are not known before."""
    return 30 + len(name) + 20


def _local(name: bytes, crc: int, size: int, packed: int) -> bytes:
    """Local file header (4.3.7) with the sizes in a zip64 field (4.5.3)."""
    fields = (_WIDE, 0, _DEFLATED, 0, _DATE, crc, LARGEST_32, LARGEST_32, len(name), 20)
    extra = struct.pack("<HHQQ", _ZIP64, 16, size, packed)
    return struct.pack("<4s5H3I2H", b"PK\x03\x04", *fields) + name + extra


def _directory(name: bytes, crc: int, size: int, packed: int) -> bytes:
    """The member's entry in the central directory (4.3.12); its local header stands at 0."""
    wide = max(size, packed) >= LARGEST_32
    sizes = (LARGEST_32, LARGEST_32) if wide else (packed, size)
    extra = struct.pack("<HHQQ", _ZIP64, 16, size, packed) if wide else b""
    made_by = 3 << 8 | _WIDE  # Unix, so that the permissions count
    fields = (made_by, _WIDE if wide else _PLAIN, 0, _DEFLATED, 0, _DATE, crc, *sizes, len(name), len(extra))
    rest = (0, 0, 0, _UNIX_RW_R_R, 0)
    return struct.pack("<4s6H3I2H3H2I", b"PK\x01\x02", *fields, *rest) + name + extra


def _end(directory_size: int, directory_at: int) -> bytes:
    """End of the central directory (4.3.16), behind a zip64 one (4.3.14) where the file is that long."""
    wide = b""
    if directory_at >= LARGEST_32:
        fields = (44, _WIDE, _WIDE, 0, 0, 1, 1, directory_size, directory_at)
        wide = struct.pack("<4sQ2H2I4Q", b"PK\x06\x06", *fields)
        wide += struct.pack("<4sIQI", b"PK\x06\x07", 0, directory_at + directory_size, 1)
    short = (directory_size, min(directory_at, LARGEST_32))
    return wide + struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, 1, 1, *short, 0)

"""The shape of an array in a broken zip archive, out of the members' local headers (PKWARE APPNOTE 4.3.7).

Every input gets an output of its shape, so the shape is looked for where the archive's directory is lost or
wrong; only the first bytes of the array are decompressed, by the methods that numpy writes.
"""

import io
import mmap
import os
import zlib
from collections.abc import Iterator
from typing import IO

from vesal.inference.io.inflate import LOCAL_FIELDS
from vesal.inference.io.npz_archive import LOCAL_HEADER, read_npy_header

STORED, DEFLATED = 0, 8

# numpy writes headers of 128 bytes and reads none above 10,000.
HEADER_BYTES = 16 * 1024


def shape_in_local_headers(file: IO[bytes], key: str) -> tuple[int, ...] | None:
    """The shape of array `key` of an npz that is open for reading; None where no header of it can be read.

    The file's position stays where it is. Raises OSError where the system cannot read the file.
    """
    if os.fstat(file.fileno()).st_size < LOCAL_FIELDS.size:
        return None
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        for method, start in _members_named(data, f"{key}.npy".encode()):
            try:
                plain = _first_bytes(method, data[start : start + 4 * HEADER_BYTES])
                return read_npy_header(io.BytesIO(plain))[0]
            # What a codec or numpy's parser raises on broken bytes is an open list; the next member may be
            # sound.
            except Exception:
                continue
    return None


def _members_named(data: mmap.mmap, name: bytes) -> Iterator[tuple[int, int]]:
    """Yield (method, start of the compressed bytes) of each local header of this name, from the front."""
    at = data.find(LOCAL_HEADER)
    while 0 <= at <= len(data) - LOCAL_FIELDS.size:
        fields = LOCAL_FIELDS.unpack(data[at : at + LOCAL_FIELDS.size])
        method, name_length, extra_length = fields[3], fields[9], fields[10]
        name_at = at + LOCAL_FIELDS.size
        if data[name_at : name_at + name_length] == name:
            yield method, name_at + name_length + extra_length
        at = data.find(LOCAL_HEADER, at + 1)


def _first_bytes(method: int, packed: bytes) -> bytes:
    if method == STORED:
        return packed
    if method == DEFLATED:
        return zlib.decompressobj(-zlib.MAX_WBITS).decompress(packed, HEADER_BYTES)
    raise ValueError(f"zip method {method} is not one of numpy's")

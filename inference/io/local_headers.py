"""The shape of an array in a broken zip archive, out of the members' local headers (PKWARE APPNOTE 4.3.7).

Every input gets an output of its shape, so the shape is looked for where the archive's directory is lost or
wrong; only the first bytes of the array are decompressed, by the methods that numpy writes. The file is read
in portions and never mapped: others may shorten it meanwhile.
"""

import errno
import io
import os
import zlib
from collections.abc import Iterator
from typing import IO

from vesal.inference.io.inflate import LOCAL_FIELDS
from vesal.inference.io.limits import MAX_CANDIDATES, MAX_SEARCHED
from vesal.inference.io.npz_archive import LOCAL_HEADER, read_npy_header

STORED, DEFLATED = 0, 8

# numpy writes headers of 128 bytes and reads none above 10,000.
HEADER_BYTES = 16 * 1024
PORTION_BYTES = 1 << 20


def shape_in_local_headers(file: IO[bytes], key: str) -> tuple[int, ...] | None:
    """The shape of array `key` of an npz that is open for reading; None where no header of it can be read.

    The file's position stays where it is. Not more than `limits.MAX_SEARCHED` bytes are looked through; holes
    of a sparse file do not count. Raises OSError where the system cannot read the file.
    """
    for method, start in _members_named(file.fileno(), f"{key}.npy".encode()):
        try:
            plain = _first_bytes(method, os.pread(file.fileno(), 4 * HEADER_BYTES, start))
            return read_npy_header(io.BytesIO(plain))[0]
        # What a codec or numpy's parser raises on broken bytes is an open list; the next member may be sound.
        except Exception:
            continue
    return None


def _members_named(descriptor: int, name: bytes) -> Iterator[tuple[int, int]]:
    """Yield (method, start of the compressed bytes) of each local header of this name, from the front."""
    length = LOCAL_FIELDS.size + len(name)
    candidates = 0
    for start, portion in _portions(descriptor, length):
        at = portion.find(LOCAL_HEADER)
        while 0 <= at <= len(portion) - length:
            candidates += 1
            if candidates > MAX_CANDIDATES:
                return
            fields = LOCAL_FIELDS.unpack_from(portion, at)
            method, name_length, extra_length = fields[3], fields[9], fields[10]
            if name_length == len(name) and portion[at + LOCAL_FIELDS.size : at + length] == name:
                yield method, start + at + length + extra_length
            at = portion.find(LOCAL_HEADER, at + 1)


def _portions(descriptor: int, overlap: int) -> Iterator[tuple[int, bytes]]:
    """Yield (offset, bytes) of what a file holds; neighbours share all but one of ``overlap`` bytes."""
    at = searched = 0
    while searched < MAX_SEARCHED:
        portion = os.pread(descriptor, PORTION_BYTES, at)
        if not portion:
            return
        yield at, portion
        searched += len(portion)
        beyond = at + len(portion) - overlap + 1
        if len(portion) < overlap or beyond <= at:
            return
        following = _next_data(descriptor, at + len(portion))
        if following is None:
            return
        at = max(beyond, following - overlap + 1)


def _next_data(descriptor: int, at: int) -> int | None:
    """Where a sparse file's next bytes are from ``at`` on, None where there are none.

    ``at`` itself where the system does not say.
    """
    before = os.lseek(descriptor, 0, os.SEEK_CUR)
    try:
        return os.lseek(descriptor, at, os.SEEK_DATA)
    except OSError as error:
        return None if error.errno == errno.ENXIO else at
    except AttributeError:
        return at
    finally:
        os.lseek(descriptor, before, os.SEEK_SET)


def _first_bytes(method: int, packed: bytes) -> bytes:
    if method == STORED:
        return packed
    if method == DEFLATED:
        return zlib.decompressobj(-zlib.MAX_WBITS).decompress(packed, HEADER_BYTES)
    raise ValueError(f"zip method {method} is not one of numpy's")

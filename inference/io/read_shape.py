"""The shape of a case's volume when the case itself cannot be read.

Every input gets an output of its shape, so the shape is dug out of files that are broken otherwise: out of
the zip directory when there is one, else out of the members' local headers (PKWARE APPNOTE 4.3.7),
decompressing only the first bytes.
"""

import bz2
import io
import lzma
import math
import mmap
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

from vesal.inference.data.errors import CaseError
from vesal.inference.io.inflate import LOCAL_FIELDS
from vesal.inference.io.npz_archive import LOCAL_HEADER, NpzArchive, read_npy_header

# A larger volume than this (1290 voxels a side) is not believed: the caller will write that many zeros.
MAX_VOXELS = 2**31

STORED, DEFLATED, BZIP2, LZMA = 0, 8, 12, 14

# numpy writes headers of 128 bytes and reads none above 10,000.
HEADER_BYTES = 16 * 1024

# A header never refers further back than to its own beginning, so a forged dictionary size need not be
# allocated.
LZMA_DICTIONARY_BYTES = 1 << 20


def read_shape(path: Path, key: str = "imgs") -> tuple[int, ...] | None:
    """Return the shape in the npy header of array `key`, or None when it cannot be known; never raises.

    The volume is not read, and neither its dtype nor the number of axes is judged. Shapes above `MAX_VOXELS`
    voxels count as unknown.
    """
    try:
        shape = _from_directory(Path(path), key)
        if shape is None:
            shape = _from_local_headers(Path(path), key)
    except (OSError, ValueError):
        return None
    return shape if shape is not None and math.prod(shape) <= MAX_VOXELS else None


def _from_directory(path: Path, key: str) -> tuple[int, ...] | None:
    try:
        with NpzArchive(path) as archive:
            return archive.header(key).shape
    except CaseError:
        return None


def _from_local_headers(path: Path, key: str) -> tuple[int, ...] | None:
    if not path.is_file() or path.stat().st_size < LOCAL_FIELDS.size:
        return None
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
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
    if method == BZIP2:
        return bz2.BZ2Decompressor().decompress(packed, HEADER_BYTES)
    if method == LZMA:
        return _first_lzma_bytes(packed)
    raise ValueError(f"zip method {method} is unknown here")


def _first_lzma_bytes(packed: bytes) -> bytes:
    """Decompress a zip LZMA member: version (2 bytes), size of the properties (2), these, raw stream."""
    properties_size = struct.unpack_from("<H", packed, 2)[0]
    packed_bits, dictionary = struct.unpack_from("<BI", packed, 4)
    literals, positions = packed_bits % 9, packed_bits // 9
    filters = [
        {
            "id": lzma.FILTER_LZMA1,
            "dict_size": max(4096, min(dictionary, LZMA_DICTIONARY_BYTES)),
            "lc": literals,
            "lp": positions % 5,
            "pb": positions // 5,
        }
    ]
    decoder = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=filters)
    return decoder.decompress(packed[4 + properties_size :], HEADER_BYTES)

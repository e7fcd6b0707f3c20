"""A deflated member of a zip archive, read in portions (PKWARE APPNOTE 4.3.7, RFC 1951).

Python's zip module inflates with zlib, which takes three times as long as ISA-L: most of the time that a
volume takes to be read.
"""

from __future__ import annotations

import io
import struct
import zipfile
from typing import IO

from isal import isal_zlib

LOCAL_FIELDS = struct.Struct("<4s5H3I2H")
"""A local header up to its name: signature first, lengths of name and extra field last."""
PACKED_BYTES = 1 << 16
"""Read from the file at once."""


class Inflated(io.RawIOBase):
    """The content of one member, as a stream.

    No more is inflated than is requested, or than the archive's table gives as the member's size.
    """

    def __init__(self, file: IO[bytes], info: zipfile.ZipInfo) -> None:
        """``file`` is the archive, which nobody else reads meanwhile; ``info`` the member's entry in its
        table.
        """
        self._file, self._info = file, info
        file.seek(info.header_offset)
        *_, name_bytes, extra_bytes = LOCAL_FIELDS.unpack(file.read(LOCAL_FIELDS.size))
        file.seek(name_bytes + extra_bytes, io.SEEK_CUR)
        self._packed_left, self._at, self._crc = info.compress_size, 0, 0
        self._inflater = isal_zlib.decompressobj(-isal_zlib.MAX_WBITS)

    def readable(self) -> bool:
        """It is."""
        return True

    def tell(self) -> int:
        """Bytes of the content that were read."""
        return self._at

    def readinto(self, buffer: memoryview, /) -> int:  # type: ignore[override]
        """Fill ``buffer``, or as much of it as there is; 0 at the end.

        Raises EOFError where the stream ends too early, BadZipFile where the checksum is another, and what
        ISA-L raises on a stream that is none.
        """
        wanted = min(len(buffer), self._info.file_size - self._at)
        filled = 0
        while filled < wanted:
            packed = self._inflater.unconsumed_tail or self._more()
            part = self._inflater.decompress(packed, wanted - filled)
            if not part and not packed:
                raise EOFError(f"the stream ends after {self._at + filled} of {self._info.file_size} bytes")
            buffer[filled : filled + len(part)] = part
            self._crc = isal_zlib.crc32(part, self._crc)
            filled += len(part)
        self._at += filled
        if filled and self._at == self._info.file_size and self._crc != self._info.CRC:
            raise zipfile.BadZipFile(f"the checksum of {self._info.filename!r} is another than promised")
        return filled

    def _more(self) -> bytes:
        packed = self._file.read(min(PACKED_BYTES, self._packed_left))
        self._packed_left -= len(packed)
        return packed

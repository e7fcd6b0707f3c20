"""PNG with a palette, written with zlib alone; for pictures of slices and their contours."""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Sequence

import numpy as np

from vesal.inference.data.colours import RGB

SIGNATURE = b"\x89PNG\r\n\x1a\n"
GRAY_LEVELS = 48
"""Of a picture of a slice: more are not told apart on a page, and cost a third more bytes each time they
double."""


def gray_palette(levels: int = GRAY_LEVELS) -> list[RGB]:
    """Even steps from black to white."""
    return [(v, v, v) for v in (round(i * 255 / (levels - 1)) for i in range(levels))]


def gray_indices(values: np.ndarray, levels: int = GRAY_LEVELS) -> np.ndarray:
    """Indices into ``gray_palette``, uint8, for values 0..255 of any shape."""
    return np.clip(np.rint(values * ((levels - 1) / 255)), 0, levels - 1).astype(np.uint8)


def palette_png(indices: np.ndarray, palette: Sequence[RGB], alpha: Sequence[int] = ()) -> bytes:
    """A PNG of palette indices; as few bits a pixel as the palette needs.

    Args:
        indices: (rows, columns) uint8, each less than the palette's length.
        palette: 1 to 256 colours.
        alpha: opacity 0..255 of the first colours; the others are opaque.
    """
    rows, columns = indices.shape
    bits = next(bits for bits in (1, 2, 4, 8) if len(palette) <= 1 << bits)
    header = struct.pack(">IIBBBBB", columns, rows, bits, 3, 0, 0, 0)
    lines = _packed(np.ascontiguousarray(indices, np.uint8), bits)
    raw = np.concatenate([np.zeros((rows, 1), np.uint8), lines], 1).tobytes()
    parts = [(b"IHDR", header), (b"PLTE", bytes(value for colour in palette for value in colour))]
    if alpha:
        parts.append((b"tRNS", bytes(alpha)))
    parts += [(b"IDAT", zlib.compress(raw, 9)), (b"IEND", b"")]
    return SIGNATURE + b"".join(_chunk(kind, data) for kind, data in parts)


def data_uri(png: bytes) -> str:
    """The picture inside a page."""
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")


def _packed(indices: np.ndarray, bits: int) -> np.ndarray:
    """Each row's pixels in bytes, the first pixel in the highest bits."""
    if bits == 8:
        return indices
    shifts = np.arange(bits - 1, -1, -1, dtype=np.uint8)
    return np.packbits(((indices[:, :, None] >> shifts) & 1).reshape(len(indices), -1), axis=1)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

"""A volume in memory as the bytes of a NIfTI-1 file, for viewers (nifti1.h)."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np

CODES = {"u1": 2, "i2": 4, "i4": 8, "f4": 16, "u2": 512, "u4": 768}
"""Code of the data type, by that of numpy."""
OFFSET = 352
SCANNER, MM = 1, 2


def nifti_bytes(
    volume: np.ndarray, spacing_dhw_mm: Sequence[float], signs: Sequence[int] = (1, 1, 1)
) -> bytes:
    """An uncompressed NIfTI-1 file of a volume.

    Args:
        volume: (D, H, W) of a type in ``CODES``.
        spacing_dhw_mm: of a voxel.
        signs: for D, H, W 1 where the index grows towards S, A, R, and -1 where it grows to I, P, L. The
            centre of the volume is the origin.

    Raises:
        KeyError: NIfTI-1 has no such type.
    """
    code = CODES[volume.dtype.str[1:]]
    shape, spacing = volume.shape[::-1], [float(mm) for mm in spacing_dhw_mm][::-1]
    header = bytearray(OFFSET)
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, 3, *shape, 1, 1, 1, 1)
    struct.pack_into("<2h", header, 70, code, 8 * volume.itemsize)
    struct.pack_into("<8f", header, 76, 1, *spacing, 1, 1, 1, 1)
    struct.pack_into("<3f", header, 108, OFFSET, 1, 0)
    struct.pack_into("<B", header, 123, MM)
    struct.pack_into("<2h", header, 252, 0, SCANNER)
    for axis, (mm, sign, count) in enumerate(zip(spacing, signs[::-1], shape, strict=True)):
        row = [0.0] * 4
        row[axis], row[3] = mm * sign, -mm * sign * (count - 1) / 2
        struct.pack_into("<4f", header, 280 + 16 * axis, *row)
    header[344:348] = b"n+1\0"
    return bytes(header) + np.ascontiguousarray(volume, volume.dtype.newbyteorder("<")).tobytes()

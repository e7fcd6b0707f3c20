"""Read the two kinds of volume that the demo's packages hold, as arrays."""

import gzip
import struct
from pathlib import Path

import numpy as np
from PIL import Image, ImageSequence

NIFTI_HEADER_BYTES = 352
NIFTI_UINT8 = 2


def read_tiff(path: Path) -> np.ndarray:
    """Return the pages of a grey-level TIFF stack as (pages, rows, columns), in the file's own type."""
    with Image.open(path) as stack:
        return np.stack([np.asarray(page) for page in ImageSequence.Iterator(stack)])


def read_nifti(path: Path) -> np.ndarray:
    """Return a gzipped NIfTI-1 volume as (z, y, x) uint8, exactly as stored.

    Reads what the demo's files are: little-endian, unsigned bytes, no scaling. Raises ValueError otherwise.
    """
    data = gzip.decompress(path.read_bytes())
    if struct.unpack_from("<i", data, 0) != (348,):
        raise ValueError(f"{path.name} is no little-endian NIfTI-1 file")
    columns, rows, slices = struct.unpack_from("<3h", data, 42)
    kind, slope = struct.unpack_from("<h", data, 70)[0], struct.unpack_from("<f", data, 112)[0]
    if kind != NIFTI_UINT8 or slope not in (0.0, 1.0):
        raise ValueError(f"{path.name} has type {kind} and slope {slope}; only unscaled uint8 is read here")
    count = columns * rows * slices
    return np.frombuffer(data, np.uint8, count, NIFTI_HEADER_BYTES).reshape(slices, rows, columns)

"""A label map as the challenge wants it: `segs` of an npz, with the same bytes for the same labels."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np
from numpy.lib import format as npy

from vesal.inference.data.errors import CaseError
from vesal.inference.io.deflate import write_zip
from vesal.inference.io.npz_archive import NpzArchive
from vesal.inference.runtime.threads import in_slabs

# Handed to the compressor at once: no second copy of the map.
PART_BYTES = 1 << 20


def write_npz_labels(file: IO[bytes], labels: np.ndarray, dtype: np.dtype, header: object = None) -> None:
    """Write `labels`, of any shape, as an array of `dtype`; see `formats.LabelWriter`."""
    write_zip(file, "segs.npy", _npy(labels, dtype))


def _npy(labels: np.ndarray, dtype: np.dtype) -> Iterator[np.ndarray]:
    """The bytes of an npy file of `labels`, a few slices of axis 0 at a time, each as 1-d uint8."""
    start = io.BytesIO()
    fields = {"descr": npy.dtype_to_descr(dtype), "fortran_order": False, "shape": labels.shape}
    npy.write_array_header_1_0(start, fields)
    yield np.frombuffer(start.getvalue(), np.uint8)
    planes = labels if labels.ndim else labels[None]
    plane_bytes = dtype.itemsize * max(1, planes[:1].size)
    for slab in in_slabs(len(planes), PART_BYTES // plane_bytes):
        yield np.ascontiguousarray(planes[slab], dtype).reshape(-1).view(np.uint8)


def holds_npz_labels(path: Path, shape: tuple[int, ...] | None) -> bool:
    """Whether a file is an npz with a label map of this shape; its voxels are not read. Never raises."""
    try:
        with NpzArchive(path) as archive:
            header = archive.header("segs")
            return header.shape == shape and header.dtype.kind == "u"
    except (CaseError, OSError):
        return False

"""The output: a label map in an npz, whole or not there at all, with the same bytes for the same labels."""

import errno
import io
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np
from numpy.lib import format as npy

from vesal.inference.data.errors import LabelMapError, shown
from vesal.inference.io.deflate import write_zip
from vesal.inference.runtime.threads import in_slabs

# Handed to the compressor at once: no second copy of the map.
PART_BYTES = 1 << 20

_NOT_SUPPORTED = (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS)


def write_label_map(path: Path, labels: np.ndarray) -> None:
    """Write `labels` as `segs` of the npz at `path`, in the smallest unsigned type that holds them.

    `labels` are whole numbers (or bool) from 0 on, of any shape; an empty array is written as uint8. The file
    appears at once or not at all (a temporary file in the same folder, synchronised, then renamed), with the
    permissions that the umask asks for. Raises LabelMapError for other labels, OSError when the folder cannot
    be written.
    """
    path = Path(path)
    dtype = _smallest_type(np.asarray(labels))
    # A fixed short name: the case's own may be as long as the file system allows.
    temporary = path.parent / f".vesal-{secrets.token_hex(8)}.tmp"
    try:
        with os.fdopen(os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666), "w+b") as file:
            write_zip(file, "segs.npy", _npy(np.asarray(labels), dtype))
            file.flush()
            _synchronise(file)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _smallest_type(labels: np.ndarray) -> np.dtype:
    if labels.dtype.kind not in "bui":
        raise LabelMapError(
            f"A label map has dtype {labels.dtype}; whole numbers are wanted. Round and cast it first."
        )
    if labels.size == 0:
        return np.dtype(np.uint8)
    if labels.dtype.kind == "i" and labels.min() < 0:
        raise LabelMapError(
            f"A label map goes down to {shown(int(labels.min()))}; labels from 0 on are wanted."
        )
    return np.min_scalar_type(int(labels.max()))


def _npy(labels: np.ndarray, dtype: np.dtype) -> Iterator[np.ndarray]:
    """The bytes of an npy file of ``labels``, a few slices at a time: no second copy of the map."""
    start = io.BytesIO()
    header = {"descr": npy.dtype_to_descr(dtype), "fortran_order": False, "shape": labels.shape}
    npy.write_array_header_1_0(start, header)
    yield np.frombuffer(start.getvalue(), np.uint8)
    planes = labels if labels.ndim else labels[None]
    plane_bytes = dtype.itemsize * max(1, planes[:1].size)
    for slab in in_slabs(len(planes), PART_BYTES // plane_bytes):
        yield np.ascontiguousarray(planes[slab], dtype).reshape(-1).view(np.uint8)


def _synchronise(file: IO[bytes]) -> None:
    try:
        os.fsync(file.fileno())
    except OSError as error:  # some mounted folders know no fsync; a full disk is still an error
        if error.errno not in _NOT_SUPPORTED:
            raise

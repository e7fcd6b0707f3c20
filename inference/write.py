"""The output: a label map in an npz, whole or not there at all, with the same bytes for the same labels."""

import errno
import os
import secrets
import zipfile
from pathlib import Path
from typing import IO

import numpy as np
from numpy.lib import format as npy

from inference.errors import LabelMapError, shown

# Label maps are mostly runs of one value: on a 63x512x512 map level 1 is several times faster than numpy's
# level 6, and the file grows by some tens of kilobytes.
COMPRESSION_LEVEL = 1

# Zip's first date, so that the time of writing does not reach the file.
NO_DATE = (1980, 1, 1, 0, 0, 0)

# Above this size the member's header needs 64-bit fields.
ZIP64_BYTES = 1 << 30

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
            _write_npz(file, np.asarray(labels), dtype)
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


def _write_npz(file: IO[bytes], labels: np.ndarray, dtype: np.dtype) -> None:
    member = zipfile.ZipInfo("segs.npy", NO_DATE)
    member.compress_type = zipfile.ZIP_DEFLATED
    member.create_system = 3
    member.external_attr = 0o644 << 16
    header = {"descr": npy.dtype_to_descr(dtype), "fortran_order": False, "shape": labels.shape}
    big = labels.size * dtype.itemsize > ZIP64_BYTES
    with (
        zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=COMPRESSION_LEVEL) as archive,
        archive.open(member, "w", force_zip64=big) as stream,
    ):
        npy.write_array_header_1_0(stream, header)
        for part in labels if labels.ndim > 1 else [labels]:  # slice by slice: no second copy of the map
            stream.write(np.ascontiguousarray(part, dtype).tobytes())


def _synchronise(file: IO[bytes]) -> None:
    try:
        os.fsync(file.fileno())
    except OSError as error:  # some mounted folders know no fsync; a full disk is still an error
        if error.errno not in _NOT_SUPPORTED:
            raise

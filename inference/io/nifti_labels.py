"""Label maps in NIfTI, with the geometry of the case: `NAME.nii` and `NAME.nii.gz` (nifti1.h, nifti2.h)."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Sequence
from typing import IO

import numpy as np

from vesal.inference.io.file_axes import MAX_SHEAR, FileAxes
from vesal.inference.io.nifti_header import BYTES_1, BYTES_2, SINGLE_FILE_1, SINGLE_FILE_2, NiftiHeader
from vesal.inference.runtime.threads import in_slabs

TYPES = {1: 2, 2: 512, 4: 768, 8: 1280}
"""Code of the data type, by the bytes of an unsigned one."""
FLOAT = 16
"""Code of 32-bit numbers, for probabilities."""
LABELS = 1002
"""NIFTI_INTENT_LABEL"""
SCANNER, MM, MICROMETRES = 1, 2, 3
MAX_SIDE_1 = 32767
"""Of NIfTI-1, whose sides have 16 bits."""
LEVEL = 1
"""Of ISA-L, as for an npz (`deflate`)."""
PART_BYTES = 1 << 20
GZIP_BITS = 31
"""zlib's sign for a gzip stream; ISA-L's has no time in it."""

Extension = tuple[int, bytes]
"""Code of nifti1.h and content."""


def write_nifti(
    file: IO[bytes],
    labels: np.ndarray,
    dtype: np.dtype,
    header: object = None,
    extensions: Sequence[Extension] = (),
) -> None:
    """Write labels (D,H,W) of the engine on the case's own grid; see `formats.LabelWriter`.

    ``header`` is the `FileAxes` of the case's reader; without one, or with another shape, voxels are 1 mm and
    nothing is said of directions.
    """
    for part in _parts(labels, dtype, header, extensions):
        file.write(part)


def write_nifti_gz(
    file: IO[bytes],
    labels: np.ndarray,
    dtype: np.dtype,
    header: object = None,
    extensions: Sequence[Extension] = (),
) -> None:
    """The same, (D,H,W) labels, packed; the same labels give the same bytes."""
    from isal import isal_zlib

    packer = isal_zlib.compressobj(LEVEL, isal_zlib.DEFLATED, GZIP_BITS)
    for part in _parts(labels, dtype, header, extensions):
        file.write(packer.compress(part))
    file.write(packer.flush())


def _parts(
    labels: np.ndarray, dtype: np.dtype, header: object, extensions: Sequence[Extension]
) -> Iterator[bytes | memoryview]:
    """The bytes of a file, a few slices at a time."""
    axes = header if isinstance(header, FileAxes) and header.fits(labels) else None
    labels = labels.reshape((1,) * (3 - labels.ndim) + labels.shape)
    stored = labels if axes is None else axes.stored_labels(labels)
    extra = _extended(extensions)
    own = axes.own if axes is not None and isinstance(axes.own, NiftiHeader) else _fields(axes)
    yield _head(stored.shape, dtype, own, len(extra)) + extra
    plane_bytes = dtype.itemsize * max(1, stored[:1].size)
    for slab in in_slabs(len(stored), max(1, PART_BYTES // plane_bytes)):
        yield np.ascontiguousarray(stored[slab], dtype.newbyteorder("<")).reshape(-1).view(np.uint8).data


def _extended(extensions: Sequence[Extension]) -> bytes:
    """The four bytes that say whether there are extensions, and these, each of a multiple of 16 bytes."""
    written = bytes([1 if extensions else 0, 0, 0, 0])
    for code, content in extensions:
        size = 8 + len(content)
        size += -size % 16
        written += struct.pack("<2i", size, code) + content.ljust(size - 8, b"\0")
    return written


def _fields(axes: FileAxes | None) -> NiftiHeader:
    """Header fields of geometry for a case that came in another format."""
    affine = np.eye(4) if axes is None else axes.affine.copy()
    unit = MICROMETRES if axes is not None and axes.in_micrometres else MM
    if unit == MICROMETRES:
        affine[:3] *= 1000.0
    known = axes is not None and axes.codes is not None
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    directions = affine[:3, :3] / lengths
    qfac = -1.0 if np.linalg.det(directions) < 0 else 1.0
    straight = float(abs(directions.T @ directions - np.eye(3)).max()) <= MAX_SHEAR
    quaternion = _quaternion(directions * (1.0, 1.0, qfac))
    return NiftiHeader(
        (1, 1, 1),
        1,
        np.dtype("u1"),
        0,
        1.0,
        0.0,
        (qfac, *map(float, lengths)),
        SCANNER if known and straight else 0,
        SCANNER if known else 0,
        (*quaternion, *map(float, affine[:3, 3])),
        tuple(map(float, affine[:3].ravel())),
        unit,
    )


def _quaternion(rotation: np.ndarray) -> tuple[float, float, float]:
    """b, c, d of a (3,3) rotation, of which a is 0 or more (nifti1.h), as the nearest eigenvector."""
    m = rotation
    matrix = np.array(
        [
            [m[0, 0] - m[1, 1] - m[2, 2], m[0, 1] + m[1, 0], m[0, 2] + m[2, 0], m[2, 1] - m[1, 2]],
            [m[0, 1] + m[1, 0], m[1, 1] - m[0, 0] - m[2, 2], m[1, 2] + m[2, 1], m[0, 2] - m[2, 0]],
            [m[0, 2] + m[2, 0], m[1, 2] + m[2, 1], m[2, 2] - m[0, 0] - m[1, 1], m[1, 0] - m[0, 1]],
            [m[2, 1] - m[1, 2], m[0, 2] - m[2, 0], m[1, 0] - m[0, 1], m[0, 0] + m[1, 1] + m[2, 2]],
        ]
    )
    values, vectors = np.linalg.eigh(matrix)
    b, c, d, a = vectors[:, int(np.argmax(values))]
    sign = -1.0 if a < 0 else 1.0
    return float(sign * b), float(sign * c), float(sign * d)


def _head(shape: Sequence[int], dtype: np.dtype, own: NiftiHeader, extra: int) -> bytes:
    """The header of labels with the geometry of ``own``; NIfTI-2 where a side is too long for NIfTI-1."""
    wide = max(shape) > MAX_SIDE_1
    size = BYTES_2 if wide else BYTES_1
    head = bytearray(size)
    dim = (3, *reversed(shape), 1, 1, 1, 1)
    offset = size + extra  # 352 or 544, and extensions of a multiple of 16
    pixdim = (*own.pixdim, *(1.0,) * 4)
    pixdim = tuple(value if math.isfinite(value) else 0.0 for value in pixdim)
    is_float = dtype.kind == "f"
    code, bits = FLOAT if is_float else TYPES[dtype.itemsize], 8 * dtype.itemsize
    intent = 0 if is_float else LABELS

    def put(fields: str, at: int, *values: float) -> None:
        struct.pack_into("<" + fields, head, at, *values)

    if wide:
        head[4:12] = SINGLE_FILE_2
        put("i", 0, size)
        put("2h8q", 12, code, bits, *dim)
        put("8d", 104, *pixdim)
        put("q2d", 168, offset, 1.0, 0.0)
        put("2i", 344, own.qform_code, own.sform_code)
        put("6d12d", 352, *own.quaternion, *own.rows)
        put("2i", 500, own.units, intent)
    else:
        head[344:348] = SINGLE_FILE_1
        put("i", 0, size)
        put("8h", 40, *dim)
        put("3h", 68, intent, code, bits)
        put("8f", 76, *pixdim)
        put("3f", 108, offset, 1.0, 0.0)
        put("B", 123, own.units)
        put("2h", 252, own.qform_code, own.sform_code)
        put("6f12f", 256, *own.quaternion, *own.rows)
    return bytes(head)

"""Label maps in NRRD and MetaImage, with the geometry of the case, as ITK and 3D Slicer read them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import IO

import numpy as np
from isal import isal_zlib

from vesal.inference.io.file_axes import LPS, FileAxes
from vesal.inference.runtime.threads import in_slabs

NRRD_TYPES = {1: "uint8", 2: "uint16", 4: "uint32", 8: "uint64"}
META_TYPES = {1: "MET_UCHAR", 2: "MET_USHORT", 4: "MET_UINT", 8: "MET_ULONG_LONG"}
"""By the bytes of an unsigned type."""
NRRD_FLOAT, META_FLOAT = "float", "MET_FLOAT"
"""Of 32 bits, for probabilities."""
LEVEL = 1
"""Of ISA-L, as for an npz (`deflate`)."""
GZIP_BITS, ZLIB_BITS = 31, 15
PART_BYTES = 1 << 20
SIZE_DIGITS = 20
"""Of the field that is filled in at the end."""


def write_nrrd(
    file: IO[bytes],
    labels: np.ndarray,
    dtype: np.dtype,
    header: object = None,
    fields: Mapping[str, str] | None = None,
) -> None:
    """Write labels (D,H,W) of the engine on the case's own grid; see `formats.LabelWriter`.

    Without a header nothing is said of directions. ``fields`` are further `key:=value` pairs.
    """
    axes, stored = _stored(labels, header)
    matrix, origin = _lps(axes)
    vectors = " ".join("(" + ",".join(map(_number, matrix[:, axis])) + ")" for axis in range(3))
    kind = NRRD_FLOAT if dtype.kind == "f" else NRRD_TYPES[dtype.itemsize]
    lines = ["NRRD0004", f"type: {kind}", "dimension: 3"]
    if axes is not None and axes.codes is not None:
        lines.append("space: left-posterior-superior")
    sizes = " ".join(map(str, reversed(stored.shape)))
    lines += [f"sizes: {sizes}", "kinds: domain domain domain", "endian: little", "encoding: gzip"]
    if axes is not None and axes.codes is not None:
        lines += [f"space directions: {vectors}", f"space origin: ({','.join(map(_number, origin))})"]
    else:
        lines.append("spacings: " + " ".join(_number(matrix[axis, axis]) for axis in range(3)))
    lines += [f"{key}:={value}" for key, value in (fields or {}).items()]
    file.write("\n".join(lines).encode() + b"\n\n")
    for part in _packed(stored, dtype, GZIP_BITS):
        file.write(part)


def write_mha(
    file: IO[bytes],
    labels: np.ndarray,
    dtype: np.dtype,
    header: object = None,
    fields: Mapping[str, str] | None = None,
) -> None:
    """The same in one MetaImage file, of (D,H,W) labels; ``fields`` are further `key = value` lines."""
    axes, stored = _stored(labels, header)
    matrix, origin = _lps(axes)
    lengths = np.linalg.norm(matrix, axis=0)
    lines = ["ObjectType = Image", "NDims = 3", "BinaryData = True", "BinaryDataByteOrderMSB = False"]
    lines += ["CompressedData = True", "CompressedDataSize = "]
    start = "\n".join(lines).encode()
    rest = [""]
    if axes is not None and axes.codes is not None:
        directions = (matrix / lengths).T.ravel()  # one axis after the other
        rest += [f"TransformMatrix = {' '.join(map(_number, directions))}"]
        rest += [f"Offset = {' '.join(map(_number, origin))}", "CenterOfRotation = 0 0 0"]
    rest += [f"ElementSpacing = {' '.join(map(_number, lengths))}"]
    rest += [f"DimSize = {' '.join(map(str, reversed(stored.shape)))}"]
    rest += [f"{key} = {value}" for key, value in (fields or {}).items()]
    kind = META_FLOAT if dtype.kind == "f" else META_TYPES[dtype.itemsize]
    rest += [f"ElementType = {kind}", "ElementDataFile = LOCAL", ""]
    file.write(start + b"0" * SIZE_DIGITS + "\n".join(rest).encode())
    size = sum(file.write(part) for part in _packed(stored, dtype, ZLIB_BITS))
    file.seek(len(start))
    file.write(str(size).zfill(SIZE_DIGITS).encode())


def _stored(labels: np.ndarray, header: object) -> tuple[FileAxes | None, np.ndarray]:
    """The grid of the case where labels fit it, and labels (D,H,W) on it."""
    axes = header if isinstance(header, FileAxes) and header.fits(labels) else None
    labels = labels.reshape((1,) * (3 - labels.ndim) + labels.shape)
    return axes, labels if axes is None else axes.stored_labels(labels)


def _lps(axes: FileAxes | None) -> tuple[np.ndarray, np.ndarray]:
    """Steps along i, j, k in the columns of (3,3), and the origin, in LPS mm; lengths alone as they are."""
    if axes is None:
        return np.eye(3), np.zeros(3)
    affine = axes.affine if axes.codes is None else LPS @ axes.affine
    return affine[:3, :3], affine[:3, 3]


def _number(value: float) -> str:
    """The shortest text that gives the same number."""
    return repr(float(value) + 0.0)


def _packed(stored: np.ndarray, dtype: np.dtype, bits: int) -> Iterator[bytes]:
    """The voxels (D,H,W), packed, a few slices at a time."""
    packer = isal_zlib.compressobj(LEVEL, isal_zlib.DEFLATED, bits)
    plane_bytes = dtype.itemsize * max(1, stored[:1].size)
    for slab in in_slabs(len(stored), max(1, PART_BYTES // plane_bytes)):
        part = np.ascontiguousarray(stored[slab], dtype.newbyteorder("<")).reshape(-1).view(np.uint8)
        yield packer.compress(part.data)
    yield packer.flush()

"""Label maps in TIFF, a page for each slice, with the voxel size of the case: OME-TIFF, or ImageJ's."""

from __future__ import annotations

import hashlib
import io
import uuid
from typing import IO, Any

import numpy as np

from vesal.inference.io.file_axes import FileAxes
from vesal.inference.io.optional import needed


def write_ome_tiff(file: IO[bytes], labels: np.ndarray, dtype: np.dtype, header: object = None) -> None:
    """Write labels (D,H,W) with their voxel size in OME-XML; see `formats.LabelWriter`."""
    stored, (z, y, x), unit = _stored(labels, header)
    stored = np.ascontiguousarray(stored, dtype)
    # In the place of one that tifffile draws: the same labels give the same bytes.
    metadata: dict[str, Any] = {"axes": "ZYX", "UUID": _identity(stored)}
    for axis, length in zip("ZYX", (z, y, x), strict=True):
        metadata |= {f"PhysicalSize{axis}": length, f"PhysicalSize{axis}Unit": unit}
    _write(file, stored, ome=True, metadata=metadata, compression="zlib")


def write_tiff(file: IO[bytes], labels: np.ndarray, dtype: np.dtype, header: object = None) -> None:
    """The same, (D,H,W) labels, as ImageJ reads it; ids above 65535, which it cannot hold, as OME-TIFF."""
    if dtype.itemsize > 2:
        write_ome_tiff(file, labels, dtype, header)
        return
    stored, (z, y, x), unit = _stored(labels, header)
    metadata = {"axes": "ZYX", "spacing": z, "unit": "um" if unit == "µm" else unit}
    _write(file, stored.astype(dtype, copy=False), imagej=True, resolution=(1 / x, 1 / y), metadata=metadata)


def _write(file: IO[bytes], stored: np.ndarray, **options: Any) -> None:
    with needed("the label map"):
        import tifffile
    # tifffile asks a file for its path, which one opened by its descriptor has not.
    content = io.BytesIO()
    tifffile.imwrite(content, stored, photometric="minisblack", software="vesal", **options)
    file.write(content.getbuffer())


def _stored(labels: np.ndarray, header: object) -> tuple[np.ndarray, tuple[float, ...], str]:
    """Labels (D,H,W) on the case's axes, lengths along (z,y,x), and their unit."""
    axes = header if isinstance(header, FileAxes) and header.fits(labels) else None
    labels = labels.reshape((1,) * (3 - labels.ndim) + labels.shape)
    if axes is None:
        return labels, (1.0, 1.0, 1.0), "mm"
    factor, unit = (1000.0, "µm") if axes.in_micrometres else (1.0, "mm")
    lengths = tuple(round(mm * factor, 9) for mm in axes.spacing_dhw_mm)
    return axes.stored_labels(labels), lengths, unit


def _identity(stored: np.ndarray) -> str:
    """A UUID of (D,H,W) labels, by their bytes alone."""
    return str(uuid.UUID(bytes=hashlib.sha256(stored.data).digest()[:16]))

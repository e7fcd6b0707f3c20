"""Cases in TIFF: stacks of pages, OME-TIFF, and those of ImageJ, with the voxel size that they give."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from html import unescape
from typing import Any

import numpy as np

from vesal.inference.data.errors import (
    CaseError,
    ColourError,
    FileFormatError,
    MissingPackageError,
    VolumeShapeError,
)
from vesal.inference.data.notes import Caution
from vesal.inference.io.file_axes import MM_PER_UNIT, axes_of_lengths
from vesal.inference.io.files import open_regular_file
from vesal.inference.io.optional import needed
from vesal.inference.io.several_volumes import chosen_volume
from vesal.inference.io.volume_reader import StoredVolume, VolumeReader

SLICES = "ZQI"
"""Letters of tifffile for the axis of slices: of depth, or of pages that nobody named. Others are volumes."""
SAMPLES = "S"
CODECS = "imagecodecs"
"""Package of codecs, 60 MB, which tifffile uses where it is installed; without it LZW is not read."""
PIXELS = re.compile(r"<(?:\w+:)?Pixels\b([^>]*)>")
ATTRIBUTE = re.compile(r"""\bPhysicalSize([XYZ])(Unit)?\s*=\s*["']([^"']*)["']""")
INCH, CENTIMETRE = 2, 3
"""Of the tag ResolutionUnit."""
PRINTERS = (72.0, 96.0, 100.0, 150.0, 200.0, 300.0, 600.0, 1200.0)
"""Dots per inch that programs write where they know no size."""
SMALLEST_MM = 0.01
"""In the plane; a volume of finer voxels is taken for microscopy."""


@dataclass(frozen=True)
class VoxelSize:
    """What a file says of it."""

    z: float | None
    y: float
    x: float
    """mm"""
    source: str


class TiffReader(VolumeReader):
    """A case in a TIFF stack; see `volume_reader.VolumeReader`. Pages are read one by one."""

    suffixes = (".ome.tiff", ".ome.tif", ".tiff", ".tif")

    def _describe(self) -> StoredVolume:
        with self._open() as tiff:
            series = tiff.series[0]
            shape = self._pages(series)[1]
            size = _ome_size(tiff) or _imagej_size(tiff) or _plain_size(tiff)
            several = len(tiff.series) > 1
            notes = [Caution(f"the first of {len(tiff.series)} images is taken")] if several else []
            dtype = series.dtype
        if size is None:
            notes.append(Caution("the file gives no voxel size: 1 mm is taken along every axis"))
            return StoredVolume(axes_of_lengths(self.path.name, shape, (1.0, 1.0, 1.0)), dtype, tuple(notes))
        z = size.z
        if z is None:
            z = size.x
            told = f"no distance between slices is given: that of pixels, {z:g} mm, is taken"
            notes.append(Caution(told))
        is_microscopy = max(size.y, size.x) < SMALLEST_MM
        axes = axes_of_lengths(self.path.name, shape, (z, size.y, size.x), is_microscopy)
        said = ("Microscopy", f"the size of pixels in {size.source}") if is_microscopy else (None, None)
        return StoredVolume(axes, dtype.newbyteorder("="), tuple(notes), *said)

    def _voxels(self, volume: StoredVolume) -> np.ndarray:
        with self._open() as tiff:
            series = tiff.series[0]
            order, shape, volumes = self._pages(series)
            number = chosen_volume(self.path.name, volumes, self.options.volume)
            if len(series.pages) != order.size:
                whole = series.asarray().reshape(-1, *shape[1:])
                return np.ascontiguousarray(whole[order[number]], volume.dtype)
            voxels = np.empty(shape, volume.dtype)
            for at, page in enumerate(order[number]):
                voxels[at] = series.pages[int(page)].asarray()
            return voxels

    @contextmanager
    def _open(self) -> Iterator[Any]:
        """The file of tifffile. Raises FileFormatError for what it cannot read."""
        with needed(self.path.name):
            import tifffile
        with open_regular_file(self.path) as file:
            try:
                with tifffile.TiffFile(file, name=self.path.name, _multifile=False) as tiff:
                    yield tiff
            except CaseError:
                raise
            except MemoryError:
                raise
            except Exception as error:  # tifffile raises anything on foreign bytes
                said = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
                if CODECS in said:
                    raise MissingPackageError(
                        f"{self.path.name}: its compression is read by the package {CODECS} ({said}). "
                        f"Install it, pip install {CODECS}, or save the file without compression, or with "
                        "deflate."
                    ) from error
                raise FileFormatError(
                    f"{self.path.name}: no TIFF that is read here ({said}). Copy it again, or save it "
                    "without compression."
                ) from error

    def _pages(self, series: Any) -> tuple[np.ndarray, tuple[int, int, int], int]:
        """Numbers of pages (volumes, D), the shape (D,H,W) of a volume, and how many there are."""
        axes, lengths = str(series.axes), list(series.shape)
        if SAMPLES in axes:
            raise ColourError(
                f"{self.path.name}: the pixels are colours (axes {axes}, RGB); one grey value each is "
                "wanted. Save one channel."
            )
        if not axes.endswith("YX"):
            raise VolumeShapeError(
                f"{self.path.name}: axes {axes} of lengths {lengths}; slices of rows and columns are wanted."
            )
        further, lengths = axes[:-2], lengths[:-2]
        depth = next((letter for letter in SLICES if letter in further), None)
        numbers = np.arange(math.prod(lengths)).reshape(lengths)
        numbers = numbers[..., None] if depth is None else np.moveaxis(numbers, further.index(depth), -1)
        numbers = numbers.reshape(-1, numbers.shape[-1])
        height, width = (int(n) for n in series.shape[-2:])
        return numbers, (numbers.shape[1], height, width), len(numbers)


def _ome_size(tiff: Any) -> VoxelSize | None:
    """Of the OME-XML; lengths without a unit are in micrometres (its schema)."""
    found = PIXELS.search(tiff.ome_metadata or "") if tiff.is_ome else None
    if found is None:
        return None
    values = {
        (axis, bool(unit)): unescape(value).strip() for axis, unit, value in ATTRIBUTE.findall(found[1])
    }
    z, y, x = (_length(values.get((a, False)), values.get((a, True), "µm")) for a in "ZYX")
    return VoxelSize(z, y, x, "OME-XML") if y and x else None


def _imagej_size(tiff: Any) -> VoxelSize | None:
    """Of ImageJ's description and the resolution; its unit may be escaped."""
    said: Mapping[str, Any] | None = tiff.imagej_metadata if tiff.is_imagej else None
    unit = str((said or {}).get("unit", "")).replace("\\u00B5", "µ")
    if said is None or unit.strip().lower() not in MM_PER_UNIT:
        return None
    y, x = (_inverse(tiff, name) for name in ("YResolution", "XResolution"))
    z = _length(said.get("spacing"), unit)
    mm = MM_PER_UNIT[unit.strip().lower()]
    return VoxelSize(z, y * mm, x * mm, "ImageJ's description") if y and x else None


def _plain_size(tiff: Any) -> VoxelSize | None:
    """Of the resolution in dots per centimetre or inch, unless it is one that printers have."""
    tag = tiff.pages[0].tags.get("ResolutionUnit")
    unit = int(tag.value) if tag is not None else 1
    y, x = (_inverse(tiff, name) for name in ("YResolution", "XResolution"))
    if unit not in (INCH, CENTIMETRE) or not y or not x:
        return None
    if unit == INCH and round(1 / x, 3) in PRINTERS:
        return None
    mm = 25.4 if unit == INCH else 10.0
    return VoxelSize(None, y * mm, x * mm, "the resolution")


def _inverse(tiff: Any, name: str) -> float | None:
    """Length of a pixel by a tag of resolution, a fraction of two numbers."""
    tag = tiff.pages[0].tags.get(name)
    try:
        above, below = tag.value
        return float(below) / float(above) if above > 0 and below > 0 else None
    except (AttributeError, TypeError, ValueError):
        return None


def _length(value: Any, unit: str) -> float | None:
    """mm, or None where it is no positive length."""
    factor = MM_PER_UNIT.get(unit.strip().lower())
    try:
        length = abs(float(value)) * (factor or 0.0)
    except (TypeError, ValueError):
        return None
    return length if math.isfinite(length) and length > 0 else None

"""Cases that are DICOM series: a folder, a zip, or one file of several frames (DICOM PS3.3, PS3.5)."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np

from vesal.inference.data.errors import CaseError, ColourError, DicomError
from vesal.inference.io.dicom_frames import Frame, Series, read_series
from vesal.inference.io.dicom_volume import SliceStack, choose_series, stack
from vesal.inference.io.optional import needed
from vesal.inference.io.volume_reader import StoredVolume, VolumeReader

MODALITIES = {
    "CT": "CT",
    "MR": "MR",
    "US": "US",
    "IVUS": "US",
    "PT": "PET",
    "NM": "PET",
    "SM": "Microscopy",
    "GM": "Microscopy",
}
"""By the tag Modality (0008,0060)."""
INVERTED = "MONOCHROME1"


class DicomReader(VolumeReader):
    """A case of one DICOM series; see `volume_reader.VolumeReader`."""

    suffixes = (".zip", ".dcm")

    @cached_property
    def _series(self) -> tuple[Series, tuple[str, ...]]:
        return choose_series(self.path.name, read_series(self.path), self.options.series)

    @cached_property
    def _stack(self) -> SliceStack:
        return stack(self.path.name, self._series[0], self.options.volume)

    def _describe(self) -> StoredVolume:
        series, notes = self._series
        frames = [frame for frame in self._stack.frames if frame is not None]
        if any(frame.samples != 1 for frame in frames):
            raise ColourError(
                f"{self.path.name}: the images of series {series} are {frames[0].photometric} with "
                f"{frames[0].samples} numbers a pixel (RGB); one grey value is wanted."
            )
        return StoredVolume(
            self._stack.axes,
            values_dtype(frames),
            (*notes, *self._stack.notes),
            MODALITIES.get(series.modality.upper()),
            f"the modality {series.modality} in the DICOM series",
        )

    def _voxels(self, volume: StoredVolume) -> np.ndarray:
        voxels = np.empty(volume.axes.shape, volume.dtype)
        places: dict[Any, list[tuple[int, Frame]]] = {}
        for at, frame in enumerate(self._stack.frames):
            if frame is not None:
                places.setdefault(frame.source, []).append((at, frame))
        for source, wanted in places.items():
            pixels = _pixels(source)
            for at, frame in wanted:
                voxels[at] = _values(pixels, frame, volume.dtype)
        _interpolate(voxels, self._stack.frames)
        return voxels


def values_dtype(frames: list[Frame]) -> np.dtype:
    """The type that holds the rescaled values of all frames: whole numbers where slopes are whole."""
    whole = all(f.slope.is_integer() and f.intercept.is_integer() for f in frames)
    if not whole or frames[0].bits > 16:
        return np.dtype(np.float32)
    ends = [end for frame in frames for end in _range(frame)]
    return np.dtype(next(t for t in ("u1", "i2", "i4", "i8") if _holds(t, min(ends), max(ends))))


def _holds(dtype: str, low: float, high: float) -> bool:
    info = np.iinfo(dtype)
    return info.min <= low and high <= info.max


def _range(frame: Frame) -> tuple[float, float]:
    """Smallest and largest value that the bits of a frame can give."""
    low = -(2 ** (frame.bits - 1)) if frame.signed else 0
    high = 2 ** (frame.bits - frame.signed) - 1
    ends = sorted((low * frame.slope + frame.intercept, high * frame.slope + frame.intercept))
    return ends[0], ends[1]


def _pixels(source: Any) -> np.ndarray:
    """Stored values of one file, (frames, rows, columns). Raises DicomError."""
    with needed(source.name):
        # The decoders are found by pydicom where a file is compressed.
        import libjpeg  # noqa: F401
        import openjpeg  # noqa: F401
        import pydicom
        import pylibjpeg  # noqa: F401
    syntax = "?"
    try:
        with source.open() as file:
            dataset = pydicom.dcmread(file)
        syntax = dataset.file_meta.TransferSyntaxUID.name
        if "PixelData" not in dataset:
            raise DicomError(
                f"{source.name}: the image has no pixel data. Export the series again, with images."
            )
        pixels = np.asarray(dataset.pixel_array)
    except CaseError:
        raise
    except Exception as error:  # pydicom and its decoders raise anything on foreign bytes
        said = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise DicomError(
            f"{source.name}: its pixels cannot be decoded ({syntax}: {said}). Copy the file again, or save "
            "the series without compression."
        ) from error
    return pixels if pixels.ndim == 3 else pixels[None]


def _values(pixels: np.ndarray, frame: Frame, dtype: np.dtype) -> np.ndarray:
    """(rows, columns) of one frame, rescaled. Raises DicomError."""
    if frame.index >= len(pixels) or pixels.shape[1:] != (frame.rows, frame.columns):
        raise DicomError(
            f"{frame.source.name}: its pixels have shape {pixels.shape}, which its header denies."
        )
    values = pixels[frame.index]
    if frame.slope != 1 or frame.intercept != 0 or frame.photometric == INVERTED:
        values = values.astype(np.float64) * frame.slope + frame.intercept
    if frame.photometric == INVERTED:
        values = sum(_range(frame)) - values
    return values.astype(dtype)


def _interpolate(voxels: np.ndarray, frames: tuple[Frame | None, ...]) -> None:
    """Fill missing slices of (D,H,W), in place, linearly between their neighbours."""
    there = [at for at, frame in enumerate(frames) if frame is not None]
    for before, after in zip(there, there[1:], strict=False):
        for at in range(before + 1, after):
            share = (at - before) / (after - before)
            mixed = voxels[before] * (1 - share) + voxels[after].astype(np.float64) * share
            voxels[at] = np.rint(mixed) if voxels.dtype.kind in "iu" else mixed

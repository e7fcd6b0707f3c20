"""A DICOM Segmentation read back as labels on the grid of the case it belongs to (PS3.3 C.8.20)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vesal.inference.data.errors import CaseError, DicomError, MaskShapeError
from vesal.inference.data.orientation import towards
from vesal.inference.io.dicom_files import MAGIC, MAGIC_AT, Source
from vesal.inference.io.dicom_frames import SAME_DIRECTION, SEGMENTATION, Frame, frames_of
from vesal.inference.io.file_axes import LPS, FileAxes, axes_of_affine, ras_of_lps
from vesal.inference.io.files import open_regular_file
from vesal.inference.io.optional import needed

PLACE_VOXELS = 0.1
"""By how much of a voxel a frame may lie beside the slices of the case."""
LABELMAP = "LABELMAP"
FRACTIONAL = "FRACTIONAL"
MAX_SEGMENTS = 65535
LARGEST_FRACTION = 255


@dataclass(frozen=True, eq=False)
class SegLabels:
    """Segments of a file."""

    labels: np.ndarray
    """(D,H,W) uint16 on the stored grid of the case: the number of the smallest segment there"""
    names: dict[int, str]
    """By number."""


def is_dicom_seg(path: Path) -> bool:
    """Whether a file is a DICOM-SEG, by its header; never raises, and without pydicom none is."""
    try:
        with open_regular_file(path) as file:
            if file.read(MAGIC_AT + len(MAGIC))[MAGIC_AT:] != MAGIC:
                return False
            import pydicom

            file.seek(0)
            header = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=["Modality"])
        return str(header.get("Modality", "")).upper() == SEGMENTATION
    except Exception:  # pydicom raises anything on foreign bytes
        return False


def read_dicom_seg(path: Path, axes: FileAxes) -> SegLabels:
    """Read the segments of ``path`` on the stored grid of a case.

    Raises:
        MissingPackageError: pydicom is not installed.
        DicomError: no segmentation, or its pixels cannot be decoded.
        MaskShapeError: a frame lies on another grid than the case, or the case does not say how it lies.
    """
    with needed(path.name):
        import pydicom
    if axes.codes is None:
        raise MaskShapeError(
            f"{path.name}: a DICOM-SEG is placed in the patient, and the case does not say how it lies; give "
            "a label map in the case's format."
        )
    try:
        with open_regular_file(path) as file:
            dataset = pydicom.dcmread(file)
        numbers = [int(each.SegmentNumber) for each in dataset.SegmentSequence]
        names = [str(each.get("SegmentLabel", "") or "") for each in dataset.SegmentSequence]
        masks = _Masks(path.name, axes, dataset)
        labels = masks.merged()
    except (CaseError, OSError):
        raise
    except Exception as error:  # pydicom and its decoders raise anything on foreign bytes
        said = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise DicomError(
            f"{path.name}: no DICOM-SEG that can be read ({said}). Copy or save it again."
        ) from error
    return SegLabels(labels, {n: name or f"segment {n}" for n, name in zip(numbers, names, strict=True)})


class _Masks:
    """Masks of the segments of a file, placed on a case's grid."""

    def __init__(self, name: str, axes: FileAxes, dataset: Any) -> None:
        """Raises MaskShapeError where the frames lie on another grid."""
        self._name, self._axes, self._dataset = name, axes, dataset
        self._frames = list(frames_of(Source(name, Path(name)), dataset))
        if not self._frames:
            raise DicomError(f"{name}: it has no frame. Save it again.")
        own = self._own_axes(self._frames[0])
        assert own.codes is not None and axes.codes is not None
        self._back = towards(own.codes, axes.codes)
        self._grid = axes.turned(towards(axes.codes, own.codes))
        """The case's grid with its axes along those of the frames."""

    def merged(self) -> np.ndarray:
        """(D,H,W) uint16 on the case's stored axes: the number of the smallest segment at each voxel."""
        voxels: dict[int, int] = {}
        for number, _, mask in self._placed():
            voxels[number] = voxels.get(number, 0) + int(np.count_nonzero(mask))
        labels = np.zeros(self._grid.shape, np.uint16)
        size = np.zeros(MAX_SEGMENTS + 1, np.int64)
        size[list(voxels)] = list(voxels.values())
        for number, at, mask in self._placed():
            plane = labels[at]
            plane[mask & ((plane == 0) | (size[plane] > size[number]))] = number
        return np.ascontiguousarray(self._back.turn(labels))

    def _placed(self) -> Iterator[tuple[int, int, np.ndarray]]:
        """For each frame and segment in it: the segment's number, the slice of the grid, and a mask (H,W)."""
        kind = str(self._dataset.get("SegmentationType", "")).upper()
        most = int(self._dataset.get("MaximumFractionalValue", LARGEST_FRACTION) or LARGEST_FRACTION)
        pixels = np.asarray(self._dataset.pixel_array)  # kept by pydicom
        pixels = pixels.reshape(len(self._frames), *pixels.shape[-2:])
        for frame, plane in zip(self._frames, pixels, strict=True):
            at = self._slice_of(frame)
            if kind == LABELMAP:
                yield from ((int(n), at, plane == n) for n in np.unique(plane) if n)
            else:
                yield self._segment_of(frame.index), at, plane > most / 2 if kind == FRACTIONAL else plane > 0

    def _segment_of(self, index: int) -> int:
        groups = self._dataset.PerFrameFunctionalGroupsSequence[index]
        shared = self._dataset.get("SharedFunctionalGroupsSequence") or [{}]
        found = groups.get("SegmentIdentificationSequence") or shared[0].get("SegmentIdentificationSequence")
        number = int(found[0].ReferencedSegmentNumber)
        if not 1 <= number <= MAX_SEGMENTS:
            raise DicomError(f"{self._name}: segment {number}; 1 to {MAX_SEGMENTS} are read.")
        return number

    def _own_axes(self, frame: Frame) -> FileAxes:
        """Of the plane of a frame and its normal, with the case's distance of slices."""
        if frame.position is None or frame.directions is None or frame.pixel_mm is None:
            raise self._elsewhere("says no place in the patient")
        row, column = np.array(frame.directions[:3]), np.array(frame.directions[3:])
        lengths = np.array([frame.pixel_mm[1], frame.pixel_mm[0], 1.0])
        across = np.column_stack([row, column, np.cross(row, column)])
        affine = ras_of_lps(across, lengths, np.array(frame.position))
        return axes_of_affine(self._name, (1, frame.rows, frame.columns), affine)[0]

    def _slice_of(self, frame: Frame) -> int:
        """Index along D of the turned grid at which a frame lies. Raises MaskShapeError."""
        if (frame.rows, frame.columns) != self._grid.shape[1:]:
            raise self._elsewhere(f"has {frame.rows} x {frame.columns} pixels")
        if frame.position is None or not frame.is_like(self._frames[0]):
            raise self._elsewhere("lies in another direction than the first one")
        i, j, k = (np.linalg.inv(self._grid.affine) @ LPS @ [*frame.position, 1.0])[:3]
        at = round(float(k))
        if max(abs(i), abs(j), abs(k - at)) > PLACE_VOXELS or not 0 <= at < self._grid.shape[0]:
            raise self._elsewhere(f"begins at voxel ({i:.2f}, {j:.2f}, {k:.2f})")
        self._check_directions(frame)
        return at

    def _check_directions(self, frame: Frame) -> None:
        sides = (LPS @ self._grid.affine)[:3, :2]
        lengths = np.linalg.norm(sides, axis=0)
        own = np.array(frame.directions).reshape(2, 3).T
        if np.abs(sides / lengths - own).max() > SAME_DIRECTION:
            raise self._elsewhere("lies in another direction")
        assert frame.pixel_mm is not None
        if np.abs(np.array(frame.pixel_mm[::-1]) / lengths - 1).max() > PLACE_VOXELS / max(self._grid.shape):
            raise self._elsewhere(f"has pixels of {frame.pixel_mm} mm")

    def _elsewhere(self, what: str) -> MaskShapeError:
        return MaskShapeError(
            f"{self._name}: a frame of it {what}, and so is not on the grid of the case, (D,H,W) "
            f"{self._axes.shape}. Give the segmentation of this series, or resample it."
        )

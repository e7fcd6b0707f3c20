"""Headers of DICOM images, a record for each frame: size, place, scaling (DICOM PS3.3 C.7.6)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vesal.inference.data.errors import DicomError
from vesal.inference.io.dicom_files import Source, sources
from vesal.inference.io.optional import needed

TAGS = (
    "SOPInstanceUID",
    "SeriesInstanceUID",
    "SeriesDescription",
    "Modality",
    "ImageType",
    "Rows",
    "Columns",
    "NumberOfFrames",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "BitsAllocated",
    "BitsStored",
    "PixelRepresentation",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "ImagerPixelSpacing",
    "SliceThickness",
    "SpacingBetweenSlices",
    "RescaleSlope",
    "RescaleIntercept",
    "InstanceNumber",
    "AcquisitionNumber",
    "TemporalPositionIdentifier",
    "EchoNumbers",
    "TriggerTime",
    "AcquisitionTime",
    "SequenceOfUltrasoundRegions",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
)
"""All that is read of a header."""
SERIES_TAGS = ("SeriesInstanceUID", "Modality", "SeriesDescription")
SEGMENTATION = "SEG"
NO_SCANS = (SEGMENTATION, "RTDOSE")
"""Modalities whose files have pixels and are made of a scan: a label map beside a series is no series."""
CENTIMETRES = 3
"""PhysicalUnitsXDirection of an ultrasound region (C.8.5.5)."""
MAX_FRAMES = 65_536

Numbers = tuple[float, ...]


SAME_DIRECTION = 0.002
"""Largest difference of direction cosines of one volume's slices: a tenth of a degree."""
SAME_PIXEL_MM = 0.001
"""Largest difference of their pixel spacings."""


@dataclass(frozen=True)
class Frame:
    """One slice of a series."""

    source: Source
    index: int
    """In its file, from 0 on."""
    uid: str
    """Of the file and frame: copies of a file have the same."""
    rows: int
    columns: int
    position: Numbers | None
    """ImagePositionPatient: LPS mm of the first pixel's centre."""
    directions: Numbers | None
    """ImageOrientationPatient: of a row, then of a column."""
    pixel_mm: Numbers | None
    """PixelSpacing: between rows, then between columns."""
    thickness: float | None
    slope: float
    intercept: float
    samples: int
    photometric: str
    bits: int
    signed: bool
    order: tuple[float, ...]
    """By which frames at one place are sorted: acquisition, time, number."""
    localizer: bool

    def is_like(self, other: Frame) -> bool:
        """Whether both may be slices of one volume: size, direction and pixel spacing are the same.

        Scanners write directions and spacings with a jitter in their last digits.
        """
        sizes = (self.rows, self.columns, self.samples) == (other.rows, other.columns, other.samples)
        near = _near(self.directions, other.directions, SAME_DIRECTION)
        return sizes and near and _near(self.pixel_mm, other.pixel_mm, SAME_PIXEL_MM)


@dataclass(frozen=True)
class Series:
    """All frames of one SeriesInstanceUID."""

    uid: str
    modality: str
    description: str
    frames: tuple[Frame, ...]
    damaged: tuple[str, ...] = ()
    """Names of damaged DICOM images at the same path; of which series is not known."""

    def __str__(self) -> str:
        """For messages."""
        return f"{self.uid} ({self.modality or '?'}, {self.description[:40]!r}, {len(self.frames)} images)"


def read_series(path: Path) -> list[Series]:
    """All series at a path, the largest first. Raises DicomError where there is no image."""
    with needed(path.name):
        import pydicom
    found: dict[str, list[tuple[str, str, list[Frame]]]] = {}
    others, seen, damaged = 0, set[str](), list[str]()
    for source in sources(path):
        try:
            with source.open() as file:
                header = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=list(TAGS))
            frames = list(frames_of(source, header))
            uid, *said = (str(header.get(name) or "") for name in SERIES_TAGS)
        except Exception:  # no DICOM, or damaged: pydicom raises anything on foreign bytes
            others += 1
            damaged += [source.name] if source.is_dicom() else []
            continue
        if said[0].upper() in NO_SCANS:
            others += 1
            continue
        damaged += [source.name] if not frames and _is_of_image(header) else []
        new = [frame for frame in frames if frame.uid not in seen]
        seen.update(frame.uid for frame in new)
        if new:
            found.setdefault(uid, []).append((said[0], said[1], new))
    if not found:
        raise DicomError(f"{path.name}: no DICOM image is in it, and {others} other files.")
    series = [
        Series(
            uid,
            parts[0][0],
            parts[0][1],
            tuple(frame for *_, frames in parts for frame in frames),
            tuple(damaged),
        )
        for uid, parts in found.items()
    ]
    return sorted(series, key=lambda each: (-_size(each), each.uid))


def _is_of_image(header: Any) -> bool:
    """Whether a file says that it is an image, however much of it is there."""
    kind = header.file_meta.get("MediaStorageSOPClassUID")
    return kind is not None and kind.name.endswith("Image Storage")


def _size(series: Series) -> int:
    """Pixels, of which those of localizers do not count."""
    return sum(frame.rows * frame.columns for frame in series.frames if not frame.localizer)


def frames_of(source: Source, header: Any) -> Iterator[Frame]:
    """The frames of a file; none where it is no image. Raises whatever pydicom does on damaged fields."""
    rows, columns = int(header.get("Rows", 0) or 0), int(header.get("Columns", 0) or 0)
    count = int(header.get("NumberOfFrames", 1) or 1)
    if rows < 1 or columns < 1 or not 1 <= count <= MAX_FRAMES:
        return
    shared = _first(header.get("SharedFunctionalGroupsSequence"))
    each = header.get("PerFrameFunctionalGroupsSequence") or []
    uid = str(header.get("SOPInstanceUID", source.name))
    for index in range(count):
        groups = [each[index] if index < len(each) else None, shared]
        yield _frame(source, header, groups, index, f"{uid}, {index}")


def _frame(source: Source, header: Any, groups: Sequence[Any], index: int, uid: str) -> Frame:
    def value(name: str, group: str | None = None) -> Any:
        """A field of the frame's own functional group, or of the shared one, or of the file itself."""
        for each in filter(None, groups):
            item = _first(each.get(group)) if group else None
            if item is not None and item.get(name) is not None:
                return item.get(name)
        return header.get(name)

    kind = [str(word).upper() for word in _listed(header.get("ImageType"))]
    position = _numbers(value("ImagePositionPatient", "PlanePositionSequence"), 3)
    times = [header.get(name) for name in ("AcquisitionNumber", "TemporalPositionIdentifier", "EchoNumbers")]
    times += [header.get(name) for name in ("TriggerTime", "AcquisitionTime", "InstanceNumber")]
    return Frame(
        source,
        index,
        uid,
        int(header.Rows),
        int(header.Columns),
        position,
        _numbers(value("ImageOrientationPatient", "PlaneOrientationSequence"), 6),
        _pixel_mm(header, value("PixelSpacing", "PixelMeasuresSequence")),
        _number(value("SpacingBetweenSlices", "PixelMeasuresSequence"))
        or _number(value("SliceThickness", "PixelMeasuresSequence")),
        _number(value("RescaleSlope", "PixelValueTransformationSequence")) or 1.0,
        _number(value("RescaleIntercept", "PixelValueTransformationSequence")) or 0.0,
        int(header.get("SamplesPerPixel", 1) or 1),
        str(header.get("PhotometricInterpretation", "MONOCHROME2") or "MONOCHROME2"),
        int(header.get("BitsStored", 0) or header.get("BitsAllocated", 16) or 16),
        bool(header.get("PixelRepresentation", 0)),
        (*(_number(time) or 0.0 for time in times), float(index)),
        "LOCALIZER" in kind,
    )


def _pixel_mm(header: Any, pixel_spacing: Any) -> Numbers | None:
    """Between rows and between columns; of ultrasound from its region."""
    found = _numbers(pixel_spacing, 2) or _numbers(header.get("ImagerPixelSpacing"), 2)
    region = _first(header.get("SequenceOfUltrasoundRegions"))
    if found or region is None or region.get("PhysicalUnitsXDirection") != CENTIMETRES:
        return found
    x, y = _number(region.get("PhysicalDeltaX")), _number(region.get("PhysicalDeltaY"))
    return (abs(y) * 10, abs(x) * 10) if x and y else None


def _near(one: Numbers | None, other: Numbers | None, most: float) -> bool:
    if one is None or other is None:
        return one is other
    return all(abs(a - b) <= most for a, b in zip(one, other, strict=True))


def _first(sequence: Any) -> Any:
    return sequence[0] if sequence else None


def _listed(value: Any) -> list[Any]:
    return [] if value is None else [value] if isinstance(value, str) else list(value)


def _number(value: Any) -> float | None:
    values = _numbers(value, 1)
    return values[0] if values else None


def _numbers(value: Any, count: int) -> Numbers | None:
    """So many finite numbers, or None."""
    values = _listed(value) if not isinstance(value, (int, float)) else [value]
    try:
        numbers = tuple(float(each) for each in values[:count])
    except (TypeError, ValueError):
        return None
    return numbers if len(numbers) == count and bool(np.isfinite(numbers).all()) else None

"""A DICOM Segmentation of a series (PS3.3 A.51, C.8.20), written with highdicom, the extra `dicom-seg`.

A segment for each prompt, where prompts overlap each whole; every frame refers to the image it lies on. UIDs
and times come from the content and the series, so that the same input gives the same bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vesal.inference.data.colours import RGB
from vesal.inference.data.errors import DicomError, MissingPackageError
from vesal.inference.io.dicom_codes import segment_codes
from vesal.inference.io.dicom_frames import Frame, read_series
from vesal.inference.io.dicom_volume import choose_series, stack
from vesal.inference.io.file_axes import FileAxes
from vesal.inference.io.read_options import ReadOptions
from vesal.inference.io.temporary import replacing

SERIES_NUMBER = 300
MANUFACTURER, MODEL, SERIAL = "Vesal", "Vesal", "0"
DEFAULT_DATE, DEFAULT_TIME = "19000101", "000000"
"""Where the series has none."""
MAX_LABEL = 64
"""Characters of a segment's label (VR LO)."""
PATIENT_AND_STUDY = (
    *("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "StudyID", "StudyDate"),
    *("StudyTime", "AccessionNumber", "ReferringPhysicianName"),
)
"""Type 2 in PS3.3 C.7.1.1 and C.7.2.1: may be empty, must be there; exports leave them out."""


@dataclass(frozen=True)
class Segment:
    """One segment."""

    name: str
    names: tuple[str, ...]
    """By which a code is looked up, without a side."""
    kind: str
    side: str | None
    colour: RGB
    mask: np.ndarray
    """(D,H,W) bool on the engine's axes"""


@dataclass(frozen=True)
class MadeBy:
    """What made a segmentation."""

    weights: str
    version: str
    """Of Vesal."""


def check_dicom_seg() -> None:
    """Raise MissingPackageError where highdicom is not installed."""
    try:
        import highdicom  # noqa: F401
    except ImportError as error:
        raise MissingPackageError(
            f'A DICOM-SEG needs highdicom ({error}); pip install ".[dicom-seg]", or ask for none.'
        ) from error


def write_dicom_seg(
    path: Path, source: Path, options: ReadOptions, segments: Sequence[Segment], made_by: MadeBy
) -> None:
    """Write segments of the series at ``source``.

    Args:
        path: of the file.
        source: a folder, zip or file, as it was read.
        options: as it was read with.
        segments: at least one; numbered from 1 on in this order.
        made_by: for the algorithm's identification.

    Raises:
        DicomError: the series does not say where its images lie, or lacks what a segmentation refers to.
        MissingPackageError: highdicom is not installed.
    """
    check_dicom_seg()
    import pydicom

    series, _ = choose_series(source.name, read_series(source), options.series)
    stacked = stack(source.name, series, options.volume)
    images, order = _images(source, stacked.frames)
    masks = np.stack([_stored(segment.mask, stacked.axes)[order] for segment in segments], axis=-1)
    try:
        seg = _segmentation(images, masks, segments, made_by)
    except (ValueError, AttributeError, KeyError, TypeError) as error:
        raise DicomError(
            f"{source.name}: no DICOM-SEG can be made of this series ({error}). Ask for a label map in NIfTI."
        ) from error
    with replacing(path) as file:
        pydicom.dcmwrite(file, seg, enforce_file_format=True)


def _stored(mask: np.ndarray, axes: FileAxes) -> np.ndarray:
    """(D,H,W) on the axes of the series."""
    return axes.stored_labels(mask).astype(np.uint8)


def _images(source: Path, frames: Sequence[Frame | None]) -> tuple[list[Any], list[int]]:
    """Headers of the images, and for each of their frames its place along D; slices without one are left out.

    Raises DicomError where a file has frames that are not of this volume.
    """
    import pydicom

    files: dict[Any, list[tuple[int, int]]] = {}
    for place, frame in enumerate(frames):
        if frame is not None:
            files.setdefault(frame.source, []).append((frame.index, place))
    images, order = [], []
    for file, found in files.items():
        with file.open() as stream:
            image = pydicom.dcmread(stream, stop_before_pixels=True)
        if int(image.get("NumberOfFrames", 1) or 1) != len(found) or len(files) > 1 < len(found):
            raise DicomError(
                f"{source.name}: {file.name} holds frames of several volumes; a DICOM-SEG refers to whole "
                "files. Ask for a label map in NIfTI."
            )
        for name in PATIENT_AND_STUDY:
            if name not in image:
                setattr(image, name, None)
        images.append(image)
        order += [place for _, place in sorted(found)]
    return images, order


def _segmentation(images: list[Any], masks: np.ndarray, segments: Sequence[Segment], made_by: MadeBy) -> Any:
    """The data set; masks (n,H,W,segments) uint8 in the order of the images' frames."""
    import highdicom as hd

    uids = _Uids(images, masks, [segment.name for segment in segments], made_by)
    seg = hd.seg.Segmentation(
        source_images=images,
        pixel_array=masks,
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=[_described(n, each, made_by) for n, each in enumerate(segments, 1)],
        series_instance_uid=uids.next(),
        series_number=SERIES_NUMBER,
        sop_instance_uid=uids.next(),
        instance_number=1,
        manufacturer=MANUFACTURER,
        manufacturer_model_name=MODEL,
        software_versions=made_by.version,
        device_serial_number=SERIAL,
        content_label="SEGMENTATION",
        content_description=f"Vesal, weights {made_by.weights}"[:MAX_LABEL],
        series_description=f"Segmentation {made_by.weights}"[:MAX_LABEL],
    )
    _settle(seg, images[0], uids)
    return seg


def _described(number: int, segment: Segment, made_by: MadeBy) -> Any:
    """The description of one segment."""
    import highdicom as hd
    from pydicom.sr.codedict import codes

    found = segment_codes(segment.names, segment.kind, segment.side)
    described = hd.seg.SegmentDescription(
        segment_number=number,
        segment_label=segment.name[:MAX_LABEL],
        segmented_property_category=found.category,
        segmented_property_type=found.type,
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=hd.AlgorithmIdentificationSequence(
            name=f"Vesal {made_by.weights}"[:MAX_LABEL],
            family=codes.DCM.ArtificialIntelligence,
            version=made_by.version,
        ),
        display_color=hd.color.CIELabColor.from_rgb(*segment.colour),
    )
    if found.modifier is not None:
        coded = hd.sr.CodedConcept.from_code(found.modifier)
        described.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence = [coded]
    return described


class _Uids:
    """UIDs by content (PS3.5 B.2: 2.25 and a number of 128 bits), one after the other."""

    def __init__(
        self, images: Sequence[Any], masks: np.ndarray, names: Sequence[str], made_by: MadeBy
    ) -> None:
        self._hash = hashlib.sha256(repr((names, made_by, masks.shape)).encode())
        for image in images:
            self._hash.update(str(image.SOPInstanceUID).encode())
        self._hash.update(np.packbits(masks).tobytes())

    def next(self) -> str:
        """A further one."""
        self._hash.update(b"next")
        return f"2.25.{int.from_bytes(self._hash.digest()[:16], 'big')}"


def _settle(seg: Any, image: Any, uids: _Uids) -> None:
    """Put times of the series and UIDs of the content where highdicom has those of the moment."""
    date = str(image.get("ContentDate") or image.get("StudyDate") or DEFAULT_DATE)
    time = str(image.get("ContentTime") or image.get("StudyTime") or DEFAULT_TIME)
    for name in ("ContentDate", "SeriesDate", "InstanceCreationDate"):
        if name in seg or name == "ContentDate":
            setattr(seg, name, date)
    for name in ("ContentTime", "SeriesTime", "InstanceCreationTime"):
        if name in seg or name == "ContentTime":
            setattr(seg, name, time)
    for item in seg.get("ContributingEquipmentSequence", ()):
        if "ContributionDateTime" in item:
            item.ContributionDateTime = date + time
    organization = uids.next()
    for item in seg.get("DimensionOrganizationSequence", ()):
        item.DimensionOrganizationUID = organization
    for item in seg.get("DimensionIndexSequence", ()):
        item.DimensionOrganizationUID = organization

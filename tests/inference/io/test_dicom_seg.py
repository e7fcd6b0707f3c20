"""DICOM-SEG of a series, read back with highdicom and pydicom."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.inference.io.written import SHAPE, stored_as
from tests.inference.io.written_dicom import changed, write_series
from tests.inference.runner.own_scans import BoxOpener
from vesal.inference.data.colours import PALETTE
from vesal.inference.data.orientation import AxisCodes
from vesal.inference.io.dicom_codes import segment_codes
from vesal.inference.runner.arguments import read_settings
from vesal.inference.runner.run import run

hd = pytest.importorskip("highdicom", reason="the extra dicom-seg")
pydicom = pytest.importorskip("pydicom")

OUTER, INNER = (slice(1, 4), slice(1, 5), slice(2, 6)), (slice(2, 3), slice(2, 4), slice(3, 5))
MODULES = {
    "general": ("SOPClassUID", "SOPInstanceUID", "PatientID", "PatientName", "StudyInstanceUID", "StudyID"),
    "series": ("SeriesInstanceUID", "SeriesNumber", "Modality", "FrameOfReferenceUID"),
    "equipment": ("Manufacturer", "ManufacturerModelName", "DeviceSerialNumber", "SoftwareVersions"),
    "image": ("ImageType", "SegmentationType", "ContentLabel", "ContentDate", "LossyImageCompression"),
    "pixels": ("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "NumberOfFrames"),
    "frames": ("DimensionOrganizationSequence", "DimensionIndexSequence", "PerFrameFunctionalGroupsSequence"),
    "references": ("ReferencedSeriesSequence", "SharedFunctionalGroupsSequence"),
}
"""Attributes that PS3.3 A.51 asks for in each module."""
SEGMENT = ("SegmentNumber", "SegmentLabel", "SegmentAlgorithmType", "SegmentAlgorithmName")
CODES = ("SegmentedPropertyCategoryCodeSequence", "SegmentedPropertyTypeCodeSequence")


def hounsfield() -> np.ndarray:
    """(D,H,W) on the engine's axes: the inner box is brighter than the outer one."""
    image = np.full(SHAPE, -200, np.int16)
    image[OUTER], image[INNER] = 60, 200
    return image


def series(folder: Path, codes: AxisCodes = ("S", "P", "L"), **fields: Any) -> Path:
    stored, axes = stored_as(codes, hounsfield())
    return write_series(folder, stored, axes, FrameOfReferenceUID="1.2.3.4", **fields)


def segmented(folder: Path, *asked: str) -> Any:
    line = ["-i", str(folder), "-p", *(asked or ("left kidney", "kidneys")), "--dicom-seg"]
    assert run(read_settings(line, {}), BoxOpener()) == 0
    return hd.seg.segread(folder.with_name("ct_seg.dcm"))


def masks(seg: Any, folder: Path) -> np.ndarray:
    """(D,H,W,segments) along the engine's axes, by the places of the source's images."""
    files = [pydicom.dcmread(path) for path in folder.iterdir()]
    files.sort(key=lambda file: float(file.ImagePositionPatient[2]))
    found: np.ndarray = seg.get_pixels_by_source_instance([file.SOPInstanceUID for file in files])
    return found


@pytest.mark.parametrize("codes", [("S", "P", "L"), ("I", "P", "L"), ("S", "A", "R")], ids="".join)
def test_segments_lie_on_the_images_and_are_whole(tmp_path: Path, codes: AxisCodes) -> None:
    folder = series(tmp_path / "ct", codes)
    seg = segmented(folder)
    found = masks(seg, folder)
    inner, outer = np.zeros(SHAPE, bool), np.zeros(SHAPE, bool)
    inner[INNER], outer[OUTER] = True, True
    rows = slice(None, None, -1) if codes[1] == "A" else slice(None)
    columns = slice(None, None, -1) if codes[2] == "R" else slice(None)
    np.testing.assert_array_equal(found[..., 0][:, rows, columns], inner)
    np.testing.assert_array_equal(found[..., 1][:, rows, columns], outer)
    assert seg.SegmentsOverlap == "YES"


def test_what_the_standard_asks_for_is_there(tmp_path: Path) -> None:
    """The rules that dcmqi and dciodvfy go by, as far as they can be told from the standard."""
    folder = series(tmp_path / "ct")
    segmented(folder)
    seg, source = pydicom.dcmread(tmp_path / "ct_seg.dcm"), pydicom.dcmread(next(folder.iterdir()))
    assert seg.SOPClassUID == "1.2.840.10008.5.1.4.1.1.66.4" == seg.file_meta.MediaStorageSOPClassUID
    assert [name for names in MODULES.values() for name in names if name not in seg] == []
    assert (seg.Modality, seg.SegmentationType, seg.BitsAllocated) == ("SEG", "BINARY", 1)
    for name in ("StudyInstanceUID", "PatientID", "PatientName", "FrameOfReferenceUID", "Rows", "Columns"):
        assert seg[name].value == source[name].value
    assert seg.SeriesInstanceUID != source.SeriesInstanceUID
    (referenced,) = seg.ReferencedSeriesSequence
    assert referenced.SeriesInstanceUID == source.SeriesInstanceUID
    images = {pydicom.dcmread(path).SOPInstanceUID for path in folder.iterdir()}
    assert {item.ReferencedSOPInstanceUID for item in referenced.ReferencedInstanceSequence} == images
    assert len(seg.PerFrameFunctionalGroupsSequence) == seg.NumberOfFrames
    shared = seg.SharedFunctionalGroupsSequence[0]
    np.testing.assert_allclose(shared.PixelMeasuresSequence[0].PixelSpacing, source.PixelSpacing)
    for frame in seg.PerFrameFunctionalGroupsSequence:
        assert frame.SegmentIdentificationSequence[0].ReferencedSegmentNumber in (1, 2)
        (derivation,) = frame.DerivationImageSequence
        assert derivation.SourceImageSequence[0].ReferencedSOPInstanceUID in images
        assert len(frame.PlanePositionSequence[0].ImagePositionPatient) == 3


def test_segments_have_coded_terms_and_colours(tmp_path: Path) -> None:
    seg = segmented(series(tmp_path / "ct"), "left kidney", "liver tumor", "the odd thing")
    assert [item.SegmentNumber for item in seg.SegmentSequence] == [1, 2, 3]
    for place, item in enumerate(seg.SegmentSequence):
        assert [name for name in (*SEGMENT, *CODES) if name not in item] == []
        for name in CODES:
            (code,) = item[name].value
            assert code.CodeValue and code.CodingSchemeDesignator == "SCT" and code.CodeMeaning
        lab = hd.color.CIELabColor.from_rgb(*PALETTE[place])
        assert tuple(item.RecommendedDisplayCIELabValue) == tuple(lab.value)
    kidney, tumor, odd = seg.SegmentSequence
    assert kidney.SegmentLabel == "left kidney"
    assert kidney.SegmentedPropertyTypeCodeSequence[0].CodeMeaning == "Kidney"
    modifier = kidney.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence[0]
    assert modifier.CodeMeaning == "Left"
    category = tumor.SegmentedPropertyCategoryCodeSequence[0]
    assert category.CodeMeaning == "Morphologically Abnormal Structure"
    assert odd.SegmentLabel == "the odd thing"


@pytest.mark.parametrize(
    ("names", "kind", "meaning"),
    [(("liver", "hepatic"), "organ", "Liver"), (("no such", "bladder"), "organ", "Bladder")],
)
def test_codes_by_any_name(names: tuple[str, ...], kind: str, meaning: str) -> None:
    assert segment_codes(names, kind, None).type.meaning == meaning


def test_same_input_same_bytes(tmp_path: Path) -> None:
    written = []
    for name in ("one", "two"):
        segmented(series(tmp_path / name / "ct"))
        written.append((tmp_path / name / "ct_seg.dcm").read_bytes())
    assert written[0] == written[1]


def test_a_series_without_a_frame_of_reference_is_a_named_error(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = series(tmp_path / "ct")
    for number in range(1, SHAPE[0] + 1):
        changed(folder, number, FrameOfReferenceUID=None)
    line = ["-i", str(folder), "-p", "liver", "--dicom-seg"]
    assert run(read_settings(line, {}), BoxOpener()) == 1
    assert "DicomError" in caplog.text
    assert not (tmp_path / "ct_seg.dcm").exists()

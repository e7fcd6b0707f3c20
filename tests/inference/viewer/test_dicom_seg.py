"""DICOM-SEG as the result on a page: of vesal, and of other kinds that highdicom writes."""

import sys
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from tests.inference.io.test_dicom_seg import INNER, OUTER, hounsfield, segmented, series
from tests.inference.io.written import SHAPE, stored_as
from tests.inference.io.written_dicom import changed
from vesal.inference.data.errors import DicomError, LabelMapError, MaskShapeError, MissingPackageError
from vesal.inference.data.orientation import CANONICAL, AxisCodes
from vesal.inference.viewer.reading import read_page

hd = pytest.importorskip("highdicom", reason="the extra dicom-seg")
pydicom = pytest.importorskip("pydicom")


def boxes() -> np.ndarray:
    """(D,H,W) on the engine's axes: segment 2, and segment 1 in it, which is the smaller one."""
    labels = np.zeros(SHAPE, np.uint8)
    labels[OUTER], labels[INNER] = 2, 1
    return labels


def nifti(path: Path, codes: AxisCodes) -> Path:
    """The scan of the series as NIfTI."""
    stored, axes = stored_as(codes, hounsfield())
    nibabel.save(nibabel.Nifti1Image(stored.transpose(), axes.affine), path)
    return path


def segmentation(folder: Path, path: Path, kind: str, pixels: np.ndarray, segments: int = 1) -> Path:
    """A segmentation of the series in ``folder``; ``pixels`` (D,H,W) along its slices."""
    images = sorted(
        (pydicom.dcmread(file) for file in folder.iterdir()), key=lambda each: each.InstanceNumber
    )
    for image in images:
        for name in ("PatientBirthDate", "PatientSex", "StudyID", "StudyDate", "StudyTime"):
            image.setdefault(name, "")
        image.AccessionNumber, image.ReferringPhysicianName = "", ""
    code = pydicom.sr.codedict.codes.SCT.Organ
    described = [
        hd.seg.SegmentDescription(n, f"part {n}", code, code, hd.seg.SegmentAlgorithmTypeValues.MANUAL)
        for n in range(1, segments + 1)
    ]
    uids = [hd.UID() for _ in range(2)]
    made = hd.seg.Segmentation(
        images, pixels, kind, described, uids[0], 1, uids[1], 1, "Made", "Model", "1", "0"
    )
    made.save_as(path)
    return path


@pytest.mark.parametrize("codes", [CANONICAL, ("I", "P", "L"), ("R", "A", "S")], ids="".join)
def test_segments_are_labels_with_names(tmp_path: Path, codes: AxisCodes) -> None:
    folder = series(tmp_path / "ct", codes)
    segmented(folder)
    page = read_page(folder, tmp_path / "ct_seg.dcm")
    assert page.labels is not None
    np.testing.assert_array_equal(page.labels, boxes())
    assert page.names == {1: "left kidney", 2: "kidney"}


def test_it_lies_on_the_same_scan_in_nifti(tmp_path: Path) -> None:
    folder = series(tmp_path / "ct", ("I", "P", "L"))
    segmented(folder)
    page = read_page(nifti(tmp_path / "scan.nii", ("P", "S", "R")), tmp_path / "ct_seg.dcm")
    assert page.labels is not None
    np.testing.assert_array_equal(page.labels, boxes())


def test_fractions_above_a_half_are_labels(tmp_path: Path) -> None:
    folder = series(tmp_path / "ct")
    share = np.where(boxes() == 2, 0.4, 0.0) + np.where(boxes() == 1, 0.6, 0.0)
    path = segmentation(folder, tmp_path / "a.dcm", "FRACTIONAL", share.astype(np.float32))
    page = read_page(folder, path)
    np.testing.assert_array_equal(page.labels, boxes() == 1)
    assert page.names == {1: "part 1"}


def test_label_maps_in_dicom(tmp_path: Path) -> None:
    folder = series(tmp_path / "ct")
    path = segmentation(folder, tmp_path / "a.dcm", "LABELMAP", boxes(), segments=2)
    np.testing.assert_array_equal(read_page(folder, path).labels, boxes())


@pytest.mark.parametrize(
    "fields", [{"PixelSpacing": [0.5, 0.5]}, {"ImagePositionPatient": [0, 0, 0]}], ids=lambda each: [*each][0]
)
def test_one_of_another_grid_is_refused(tmp_path: Path, fields: dict[str, Any]) -> None:
    folder = series(tmp_path / "ct")
    segmented(folder)
    other = series(tmp_path / "other")
    for number in range(1, SHAPE[0] + 1):
        more = dict(fields)
        if "ImagePositionPatient" in more:
            more["ImagePositionPatient"] = [0.3, 0, number * 5.0]
        changed(other, number, **more)
    with pytest.raises(MaskShapeError, match=r"ct_seg\.dcm: a frame of it"):
        read_page(other, tmp_path / "ct_seg.dcm")


def test_what_it_cannot_lie_on_or_is_damaged_has_a_named_error(tmp_path: Path) -> None:
    folder = series(tmp_path / "ct")
    segmented(folder)
    path = tmp_path / "ct_seg.dcm"
    np.savez(tmp_path / "case.npz", imgs=np.zeros(SHAPE, np.uint8), spacing=np.ones(3))
    with pytest.raises(LabelMapError, match="does not say how it lies"):
        read_page(tmp_path / "case.npz", path)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(DicomError, match=r"ct_seg\.dcm"):
        read_page(folder, path)


def test_without_pydicom_it_is_said_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = series(tmp_path / "ct")
    segmented(folder)
    scan = nifti(tmp_path / "scan.nii", CANONICAL)
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(MissingPackageError, match="pydicom"):
        read_page(scan, tmp_path / "ct_seg.dcm")

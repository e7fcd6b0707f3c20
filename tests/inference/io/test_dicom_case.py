"""DICOM series: told apart, in order, on their grid; labels lie in the patient where the images do."""

import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest

from tests.inference.fakes import Opener
from tests.inference.io.written import (
    ALL_CODES,
    PROMPTS,
    SHAPE,
    SPACING,
    load,
    made_volume,
    stored_as,
    with_prompts,
)
from tests.inference.io.written_dicom import ROOT, changed, slice_of, write_series
from vesal.inference.data.errors import CaseError, ColourError, DicomError, SeriesError, SeveralVolumesError
from vesal.inference.data.orientation import CANONICAL, AxisCodes
from vesal.inference.io.formats import open_case, read_case
from vesal.inference.io.label_writer import write_label_map
from vesal.inference.io.read_options import NO_OPTIONS, ReadOptions
from vesal.inference.prompts.parser import parse_case
from vesal.inference.runner.case_paths import find_cases
from vesal.inference.runner.run import run
from vesal.inference.runner.settings import Settings


def written(tmp_path: Path, codes: AxisCodes = CANONICAL, name: str = "scan", **fields: Any) -> Path:
    stored, axes = stored_as(codes, made_volume("i2"))
    return with_prompts(write_series(tmp_path / name, stored, axes, **fields))


def numbers(path: Path, options: ReadOptions = NO_OPTIONS) -> np.ndarray:
    with open_case(path, options) as reader:
        case = reader.read()
    assert case.stored is not None
    return case.stored.numbers


@pytest.mark.parametrize("codes", ALL_CODES, ids="".join)
def test_round_trip(tmp_path: Path, codes: AxisCodes) -> None:
    """Slices are sorted along their normal, so half of the 48 are stored the other way round in NIfTI."""
    path = written(tmp_path, codes)
    with open_case(path) as reader:
        assert reader.shape == SHAPE
        case = reader.read()
        assert case.stored is not None and case.axis_codes == CANONICAL
        np.testing.assert_array_equal(case.stored.numbers, made_volume())
        assert case.spacing_dhw_mm == pytest.approx(SPACING)
        write_label_map(tmp_path / "labels.nii.gz", (case.stored.numbers == 200).astype("u1"), reader.header)
    # Where each labelled voxel lies in the patient, by the reference library, is where it was drawn.
    image = load(tmp_path / "labels.nii.gz")
    found = np.argwhere(np.asarray(image.dataobj)) @ image.affine[:3, :3].T + image.affine[:3, 3]
    stored, axes = stored_as(codes, made_volume())
    drawn = np.argwhere(stored.transpose() == 200) @ axes.affine[:3, :3].T + axes.affine[:3, 3]
    np.testing.assert_allclose(sorted(found.round(3).tolist()), sorted(drawn.round(3).tolist()), atol=1e-3)


def test_the_command_takes_folders_and_zips_of_series(tmp_path: Path) -> None:
    """Beside other cases; a zip without DICOM is none."""
    inputs = tmp_path / "in"
    written(inputs, name="one")
    folder = written(inputs, name="two")
    shutil.make_archive(str(inputs / "two"), "zip", folder)
    shutil.rmtree(folder)
    with zipfile.ZipFile(inputs / "papers.zip", "w") as archive:
        archive.writestr("a.txt", "no image")
    (inputs / "empty").mkdir()
    assert run(Settings(inputs, tmp_path / "out"), Opener()) == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["one.nii.gz", "two.nii.gz"]
    for name in ("one", "two"):
        labels = np.asarray(load(tmp_path / "out" / f"{name}.nii.gz").dataobj)
        assert (labels == int(next(iter(PROMPTS)))).sum() == (made_volume() == 200).sum()


def test_a_folder_of_slices_is_one_case(tmp_path: Path) -> None:
    folder = written(tmp_path)
    assert run(Settings(folder, tmp_path / "out"), Opener()) == 0
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["scan.nii.gz"]
    (pair,) = find_cases(folder, tmp_path / "here.nii.gz")
    assert pair.output == tmp_path / "here.nii.gz"


def test_a_patient_with_studies_below_is_one_case(tmp_path: Path) -> None:
    written(tmp_path / "in" / "patient" / "study", name="series")
    (tmp_path / "in" / "patient" / "DICOMDIR").write_bytes(b"no image")
    with_prompts(tmp_path / "in" / "patient")
    assert run(Settings(tmp_path / "in", tmp_path / "out"), Opener()) == 0
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["patient.nii.gz"]


def test_the_largest_series_is_taken_or_the_one_that_is_named(tmp_path: Path) -> None:
    folder = written(tmp_path)
    stored, axes = stored_as(CANONICAL, made_volume("i2"))
    write_series(folder, stored[:3] + 1, axes, series=2)
    write_series(
        folder, np.ones((9, 40, 40), np.int16), axes, series=3, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]
    )
    (folder / "notes.txt").write_text("no image")
    case = read_case(folder)
    assert f"largest of 3 series is taken, {ROOT}1" in " ".join(case.notes)
    np.testing.assert_array_equal(numbers(folder), made_volume())
    np.testing.assert_array_equal(numbers(folder, ReadOptions(series=f"{ROOT}2")), made_volume()[:3] + 1)
    with pytest.raises(SeriesError, match=f"no series '1.2'.*{ROOT}1.*{ROOT}2"):
        numbers(folder, ReadOptions(series="1.2"))
    with pytest.raises(SeriesError, match="localizers"):
        numbers(folder, ReadOptions(series=f"{ROOT}3"))


def test_the_modality_comes_from_the_series(tmp_path: Path) -> None:
    case = read_case(written(tmp_path, Modality="PT"))
    _, choice = parse_case(case)
    assert (choice.modality, choice.source) == ("PET", "file")
    assert "DICOM" in choice.why


def test_values_are_rescaled(tmp_path: Path) -> None:
    whole = numbers(written(tmp_path, name="whole", RescaleSlope=2, RescaleIntercept=-1024))
    assert whole.dtype == np.int32
    np.testing.assert_array_equal(whole, made_volume("i4") * 2 - 1024)
    found = numbers(written(tmp_path, name="part", RescaleSlope=0.5, Modality="PT"))
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, made_volume("f4") / 2)


def test_each_slice_has_its_own_slope(tmp_path: Path) -> None:
    folder = written(tmp_path)
    changed(folder, 2, RescaleSlope=3)
    found = numbers(folder)
    np.testing.assert_array_equal(found[1], made_volume("i4")[1] * 3)
    np.testing.assert_array_equal(found[2], made_volume("i4")[2])


@pytest.mark.parametrize("syntax", ["RLELossless", "JPEG2000Lossless", "JPEGLSLossless"])
def test_compressed_images_are_decoded(tmp_path: Path, syntax: str) -> None:
    folder = written(tmp_path)
    stored = np.kron(made_volume("u2"), np.ones((1, 8, 8), np.uint16))
    for path in folder.iterdir():
        file = pydicom.dcmread(path)
        file.PixelRepresentation = 0
        file.set_pixel_data(stored[file.InstanceNumber - 1], "MONOCHROME2", 16)
        file.compress(getattr(pydicom.uid, syntax), generate_instance_uid=False)
        file.save_as(path)
    np.testing.assert_array_equal(numbers(folder), stored)


def test_phases_at_the_same_places_are_volumes(tmp_path: Path) -> None:
    folder = written(tmp_path)
    stored, axes = stored_as(CANONICAL, made_volume("i2"))
    for at, pixels in enumerate(stored + 7):
        file = slice_of(pixels, axes, at, AcquisitionNumber=2)
        file.SOPInstanceUID = file.file_meta.MediaStorageSOPInstanceUID = f"{ROOT}1.{at + 100}"
        file.save_as(folder / f"later{at}", enforce_file_format=True)
    with pytest.raises(SeveralVolumesError, match="2 volumes"):
        numbers(folder)
    np.testing.assert_array_equal(numbers(folder, ReadOptions(volume=0)), stored)
    np.testing.assert_array_equal(numbers(folder, ReadOptions(volume=1)), stored + 7)


def test_copies_of_a_file_count_once(tmp_path: Path) -> None:
    folder = written(tmp_path)
    shutil.copytree(folder, folder / "copy")
    np.testing.assert_array_equal(numbers(folder), made_volume())


def test_a_missing_slice_is_interpolated_and_told(tmp_path: Path) -> None:
    volume = np.repeat(np.arange(0, 1000, 100, dtype=np.int16), 30).reshape(10, 5, 6)
    _, axes = stored_as(CANONICAL, made_volume())
    folder = with_prompts(write_series(tmp_path / "scan", volume, axes))
    changed(folder, 4).unlink()
    with open_case(folder) as reader:
        case = reader.read()
        assert reader.shape == (10, 5, 6)
    assert "1 slices are missing" in " ".join(case.notes)
    assert case.stored is not None
    np.testing.assert_array_equal(case.stored.numbers, volume)
    for number in (5, 7, 9):
        changed(folder, number).unlink()
    with pytest.raises(SeriesError, match="slices are missing"):
        read_case(folder)


def test_jitter_in_the_last_digits_splits_no_series(tmp_path: Path) -> None:
    """Around 0.0005 in the directions, and around a place, where rounding would fall to either side."""
    folder = written(tmp_path)
    stored, axes = stored_as(CANONICAL, made_volume("i2"))
    for at in range(len(stored)):
        way = 1 if at % 2 else -1
        path = changed(folder, at + 1)
        file = pydicom.dcmread(path)
        file.ImageOrientationPatient = [1, 0.0005 + way * 2e-5, 0, 0, 1, 0]
        x, y, z = map(float, file.ImagePositionPatient)
        file.ImagePositionPatient = [x, y, z + 0.005 + way * 0.003]
        file.save_as(path)
    np.testing.assert_array_equal(numbers(folder), stored)
    assert "mixes" not in " ".join(read_case(with_prompts(folder)).notes)


def test_volumes_whose_places_jitter_are_told_apart(tmp_path: Path) -> None:
    folder = written(tmp_path)
    stored, axes = stored_as(CANONICAL, made_volume("i2"))
    for at, pixels in enumerate(stored + 7):
        file = slice_of(pixels, axes, at, AcquisitionNumber=2)
        x, y, z = map(float, file.ImagePositionPatient)
        file.ImagePositionPatient = [x, y, z + 0.006]
        file.SOPInstanceUID = file.file_meta.MediaStorageSOPInstanceUID = f"{ROOT}1.{at + 100}"
        file.save_as(folder / f"later{at}", enforce_file_format=True)
    np.testing.assert_array_equal(numbers(folder, ReadOptions(volume=1)), stored + 7)


def test_damaged_images_are_told(tmp_path: Path) -> None:
    folder = written(tmp_path)
    paths = [changed(folder, number) for number in (1, 2)]
    for path, length in zip(paths, (300, 400), strict=True):
        path.write_bytes(path.read_bytes()[:length])
    notes = " ".join(read_case(with_prompts(folder)).notes)
    assert "damaged" in notes


def test_segmentations_beside_a_series_are_no_scans(tmp_path: Path) -> None:
    """A DICOM-SEG has a frame for each slice of each segment: more pixels than its scan."""
    folder = written(tmp_path)
    _, axes = stored_as(CANONICAL, made_volume())
    for at in range(60):
        slice_of(np.ones((30, 40), np.int16), axes, at, series=2, Modality="SEG").save_as(
            folder / f"seg{at}", enforce_file_format=True
        )
    np.testing.assert_array_equal(numbers(folder), made_volume())


def test_mixed_sizes_are_told(tmp_path: Path) -> None:
    folder = written(tmp_path)
    _, axes = stored_as(CANONICAL, made_volume())
    file = slice_of(np.zeros((9, 9), np.int16), axes, 50)
    file.save_as(folder / "other", enforce_file_format=True)
    case = read_case(folder)
    assert "mixes images of several sizes" in " ".join(case.notes) and "1 of 9x9" in " ".join(case.notes)
    assert case.image.shape == SHAPE


def test_a_tilted_gantry_is_told_and_kept_in_the_labels(tmp_path: Path) -> None:
    folder = written(tmp_path)
    for path in list(folder.iterdir()):
        file = pydicom.dcmread(path)
        x, y, z = file.ImagePositionPatient
        file.ImagePositionPatient = [x, y + 1.5 * (file.InstanceNumber - 1), z]
        file.save_as(path)
    with open_case(folder) as reader:
        assert "tilted gantry" in " ".join(reader.read().notes)
        write_label_map(tmp_path / "labels.nii.gz", made_volume(), reader.header)
    assert load(tmp_path / "labels.nii.gz").affine[1, 2] == pytest.approx(-1.5)


def test_frames_of_one_file(tmp_path: Path) -> None:
    """An enhanced image, whose frames have their places in functional groups."""
    stored, axes = stored_as(CANONICAL, made_volume("i2"))
    file = slice_of(stored[0], axes, 0, NumberOfFrames=len(stored))
    groups = []
    for at in range(len(stored)):
        one = slice_of(stored[at], axes, at)
        place, directions, measures, frame = (pydicom.Dataset() for _ in range(4))
        place.ImagePositionPatient = one.ImagePositionPatient
        directions.ImageOrientationPatient = one.ImageOrientationPatient
        measures.PixelSpacing, measures.SliceThickness = one.PixelSpacing, one.SliceThickness
        frame.PlanePositionSequence, frame.PlaneOrientationSequence = [place], [directions]
        frame.PixelMeasuresSequence = [measures]
        groups.append(frame)
    del file.ImagePositionPatient, file.ImageOrientationPatient, file.PixelSpacing, file.SliceThickness
    file.PerFrameFunctionalGroupsSequence = groups
    file.PixelData = stored.tobytes()
    file.save_as(tmp_path / "scan.dcm", enforce_file_format=True)
    path = with_prompts(tmp_path / "scan.dcm")
    assert read_case(path).spacing_dhw_mm == pytest.approx(SPACING)
    np.testing.assert_array_equal(numbers(path), stored)
    assert run(Settings(path, tmp_path / "out"), Opener()) == 0
    assert (tmp_path / "out" / "scan.nii.gz").exists()


def test_frames_without_a_place_are_stacked(tmp_path: Path) -> None:
    """As a film of ultrasound is."""
    stored, axes = stored_as(CANONICAL, made_volume("i2"))
    file = slice_of(stored[0], axes, 0, NumberOfFrames=len(stored), Modality="US")
    region = pydicom.Dataset()
    region.PhysicalUnitsXDirection = 3
    region.PhysicalDeltaX, region.PhysicalDeltaY = 0.02, 0.03
    del file.ImagePositionPatient, file.ImageOrientationPatient, file.PixelSpacing, file.SliceThickness
    file.SequenceOfUltrasoundRegions = [region]
    file.PixelData = stored.tobytes()
    file.save_as(tmp_path / "film.dcm", enforce_file_format=True)
    case = read_case(with_prompts(tmp_path / "film.dcm"))
    assert case.axis_codes is None and case.spacing_dhw_mm == pytest.approx((1.0, 0.3, 0.2))
    assert case.modality == "US" and "no side is known" in " ".join(case.notes)


def without_pixels(folder: Path) -> None:
    changed(folder, 3, PixelData=None)


def colours(folder: Path) -> None:
    for number in range(1, 6):
        changed(folder, number, SamplesPerPixel=3, PhotometricInterpretation="RGB")


def cut(folder: Path) -> None:
    path = changed(folder, 3)
    path.write_bytes(path.read_bytes()[:-20])


def lie(folder: Path) -> None:
    for number in range(1, 6):
        changed(folder, number, Rows=60000, Columns=60000)


def garbled(folder: Path) -> None:
    """Said to be JPEG 2000, and none."""
    path = changed(folder, 3)
    file = pydicom.dcmread(path)
    file.PixelData = pydicom.encaps.encapsulate([b"no codestream"])
    file.file_meta.TransferSyntaxUID = pydicom.uid.JPEG2000Lossless
    file["PixelData"].VR = "OB"
    file.save_as(path)


def flat(folder: Path) -> None:
    for number in range(1, 6):
        changed(folder, number, PixelSpacing=[0, 0.5])


def uneven(folder: Path) -> None:
    changed(folder, 2, ImagePositionPatient=[-10, 20, 33])


def text_only(folder: Path) -> None:
    for path in folder.iterdir():
        path.write_bytes(b"\0" * 128 + b"DICM" + b"no data set")


BROKEN = {
    "no pixels": (without_pixels, DicomError, "no pixel data"),
    "RGB": (colours, ColourError, "RGB"),
    "cut": (cut, DicomError, "cannot be decoded"),
    "a lie": (lie, CaseError, "cannot be decoded|at most"),
    "garbled": (garbled, DicomError, "JPEG 2000"),
    "zero spacing": (flat, CaseError, "voxel size"),
    "uneven": (uneven, SeriesError, "unevenly"),
    "no data set": (text_only, DicomError, "no DICOM image"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_broken_series_have_a_named_error_and_the_others_go_on(tmp_path: Path, what: str) -> None:
    breaks, error, said = BROKEN[what]
    inputs = tmp_path / "in"
    breaks(written(inputs, name="bad"))
    written(inputs, name="good")
    with pytest.raises(error, match=said):
        read_case(inputs / "bad")
    assert run(Settings(inputs, tmp_path / "out"), Opener()) == 1
    assert np.asarray(load(tmp_path / "out" / "good.nii.gz").dataobj).any()
    assert (tmp_path / "out" / "bad.nii.gz").exists()


def test_a_zip_is_judged_before_it_is_unpacked(tmp_path: Path) -> None:
    """What it promises to hold counts, and nothing is written outside of it."""
    folder = written(tmp_path)
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for number, file in enumerate(folder.iterdir()):
            archive.write(file, f"../../{number}")
    shutil.rmtree(folder)
    np.testing.assert_array_equal(numbers(with_prompts(path)), made_volume())
    assert sorted(each.name for each in tmp_path.iterdir()) == ["bomb.json", "bomb.zip", "scan.json"]
    content = bytearray(path.read_bytes())
    at = content.rindex(b"PK\x01\x02") + 24
    content[at : at + 4] = (0xFFFFFFF0).to_bytes(4, "little")
    first = content.index(b"PK\x01\x02") + 24
    content[first : first + 4] = content[at : at + 4]
    third = content.index(b"PK\x01\x02", first) + 24
    content[third : third + 4] = content[at : at + 4]
    path.write_bytes(content)
    with pytest.raises(CaseError, match="at most"):
        read_case(path)

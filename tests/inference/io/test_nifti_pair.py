"""Volumes in two files, `.hdr` and `.img`, as nibabel writes them; and headers whose forms are empty."""

from pathlib import Path

import nibabel
import numpy as np
import pytest

from tests.inference.io.written import (
    CANONICAL,
    SHAPE,
    SPACING,
    load,
    made_volume,
    stored_as,
    with_prompts,
)
from vesal.inference.data.errors import AffineError, NiftiError
from vesal.inference.data.orientation import AxisCodes
from vesal.inference.io.formats import label_suffix, open_case, read_case
from vesal.inference.io.label_writer import write_label_map
from vesal.inference.io.nifti import open_nifti
from vesal.inference.io.nifti_axes import nifti_axes
from vesal.inference.runner.case_paths import list_cases

KINDS = {"NIfTI-1": nibabel.Nifti1Pair, "NIfTI-2": nibabel.Nifti2Pair}


def pair(
    folder: Path, kind: type = nibabel.Nifti1Pair, codes: AxisCodes = CANONICAL, dtype: str = "u1"
) -> Path:
    """`scan.hdr` and `scan.img`, with prompts."""
    stored, axes = stored_as(codes, made_volume(dtype))
    nibabel.save(kind(stored.transpose(), axes.affine), folder / "scan.img")
    return with_prompts(folder / "scan.hdr")


@pytest.mark.parametrize("codes", [CANONICAL, ("A", "R", "I")], ids="".join)
@pytest.mark.parametrize("kind", KINDS)
def test_a_pair_is_one_case_and_its_labels_lie_on_its_grid(
    tmp_path: Path, kind: str, codes: AxisCodes
) -> None:
    path = pair(tmp_path, KINDS[kind], codes)
    assert list_cases(tmp_path) == [path] and label_suffix(path) == ".nii.gz"
    with open_case(path) as reader:
        case = reader.read()
        assert reader.shape == SHAPE and case.axis_codes == CANONICAL and case.spacing_dhw_mm == SPACING
        np.testing.assert_array_equal(case.image, made_volume())
        write_label_map(tmp_path / "labels.nii.gz", (case.image == 200).astype(np.uint8), reader.header)
    labels, source = load(tmp_path / "labels.nii.gz"), load(path)
    np.testing.assert_array_equal(labels.affine, source.affine)
    np.testing.assert_array_equal(np.asarray(labels.dataobj) == 1, np.asarray(source.dataobj) == 200)


def test_analyze_does_not_say_how_it_lies(tmp_path: Path) -> None:
    """Whatever stands where NIfTI has its forms."""
    path = pair(tmp_path, nibabel.AnalyzeImage, dtype="i2")
    head = bytearray(path.read_bytes())
    head[148:340] = b"x" * 192
    path.write_bytes(bytes(head))
    with pytest.raises(AffineError, match="no affine"):
        read_case(path)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ("no voxels", "scan.img with its voxels"),
        ("cut", "cut short"),
        ("text", "no header"),
        ("short", "12 bytes"),
    ],
)
def test_what_is_wrong_with_a_pair_is_named(tmp_path: Path, damage: str, said: str) -> None:
    path, voxels = pair(tmp_path), tmp_path / "scan.img"
    if damage == "no voxels":
        voxels.unlink()
    elif damage == "cut":
        voxels.write_bytes(voxels.read_bytes()[:-7])
    else:
        path.write_bytes(b"ENVI samples" * (40 if damage == "text" else 1))
    with pytest.raises(NiftiError, match=said):
        read_case(path)


@pytest.mark.parametrize("qform", [0, 1])
def test_labels_have_no_form_that_is_all_0(tmp_path: Path, qform: int) -> None:
    """A reader that believes such a form puts all voxels into one point."""
    stored, axes = stored_as(("S", "A", "R"), made_volume())
    image = nibabel.Nifti1Image(stored.transpose(), axes.affine)
    image.set_qform(axes.affine, code=qform)
    image.header["sform_code"] = 1
    for row in ("srow_x", "srow_y", "srow_z"):
        image.header[row] = 0
    path = with_prompts(tmp_path / "a.nii")
    image.to_file_map({"image": nibabel.FileHolder(path)})
    raw = bytearray(path.read_bytes())
    raw[252:256] = np.array([qform, 1], "<i2").tobytes()
    raw[280:328] = bytes(48)
    path.write_bytes(bytes(raw))
    with open_nifti(path) as opened:
        scan, _ = nifti_axes("a", opened.header)
    write_label_map(tmp_path / "labels.nii", np.ones(SHAPE, np.uint8), scan)
    written = load(tmp_path / "labels.nii")
    assert int(written.header["sform_code"]) == 0 and int(written.header["qform_code"]) == qform
    assert (scan.codes is None) == (not qform)
    if qform:
        np.testing.assert_allclose(written.affine, axes.affine, atol=1e-5)
    assert written.header.get_zooms() == pytest.approx(SPACING[::-1])


def test_labels_have_the_lengths_of_the_sform_where_the_header_has_none(tmp_path: Path) -> None:
    stored, axes = stored_as(("S", "A", "R"), made_volume())
    path = with_prompts(tmp_path / "a.nii")
    nibabel.save(nibabel.Nifti1Image(stored.transpose(), axes.affine), path)
    raw = bytearray(path.read_bytes())
    raw[80:92] = bytes(12)
    path.write_bytes(bytes(raw))
    with open_case(path) as reader:
        assert reader.read().spacing_dhw_mm == SPACING
        write_label_map(tmp_path / "labels.nii", np.ones(SHAPE, np.uint8), reader.header)
    written = load(tmp_path / "labels.nii")
    assert written.header.get_zooms() == pytest.approx(SPACING[::-1])
    np.testing.assert_allclose(written.affine, axes.affine, atol=1e-5)

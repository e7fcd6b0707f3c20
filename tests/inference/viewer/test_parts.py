"""What the page is made of: labels, image and windows, files, NiiVue."""

from __future__ import annotations

import hashlib
import io
import tarfile
from dataclasses import replace
from itertools import permutations, product
from pathlib import Path

import nibabel
import numpy as np
import pytest

from tests.inference.viewer.made_page import BRIGHT, SHAPE, made_case
from tools import vendor_niivue
from vesal.inference.data.case import StoredNumbers
from vesal.inference.data.errors import LabelMapError, UnreadableFileError, UsageError
from vesal.inference.data.orientation import CANONICAL
from vesal.inference.io.nifti_bytes import nifti_bytes
from vesal.inference.runner import command
from vesal.inference.viewer import assets
from vesal.inference.viewer.grid import SHOWN, PageGrid
from vesal.inference.viewer.labels import Labels
from vesal.inference.viewer.reading import read_page
from vesal.inference.viewer.windows import shown_image

SPACING = (5.0, 2.0, 1.0)
LINES = ("SI", "AP", "RL")
ALL_WAYS = [codes for order in permutations(LINES) for codes in product(*order)]


def labels_of(*masks: np.ndarray) -> Labels:
    """Labels `a`, `b`, ... of masks (D, H, W), added in turn."""
    labels = Labels(SHAPE, SPACING)
    for name, mask in zip("abc", masks, strict=False):
        labels.add(name, f"the {name}", mask)
    return labels


def box(*parts: slice) -> np.ndarray:
    """(D, H, W) bool, of `SHAPE`."""
    mask = np.zeros(SHAPE, bool)
    mask[parts] = True
    return mask


def test_the_file_for_the_page_is_read_by_nibabel_as_it_is() -> None:
    volume = np.arange(np.prod(SHAPE), dtype=np.int16).reshape(SHAPE) - 100
    image = nibabel.Nifti1Image.from_bytes(nifti_bytes(volume, SPACING))
    assert np.array_equal(np.asanyarray(image.dataobj), volume.transpose(2, 1, 0))
    assert nibabel.aff2axcodes(image.affine) == ("R", "A", "S")
    assert image.header.get_zooms() == SPACING[::-1]
    assert image.header.get_xyzt_units()[0] == "mm"


@pytest.mark.parametrize("codes", ALL_WAYS, ids="".join)
def test_each_way_to_lie_is_shown_the_same(codes: tuple[str, str, str]) -> None:
    """A voxel at the right, front and top of the patient is at the end of all axes of the page."""
    case = made_case(axis_codes=codes)
    grid = PageGrid.of(case)
    place = tuple(n - 1 if code in SHOWN else 0 for n, code in zip(SHAPE, codes, strict=True))
    volume = np.zeros(SHAPE, np.uint8)
    volume[place] = 1
    image = nibabel.Nifti1Image.from_bytes(grid.nifti(volume))
    (found,) = np.argwhere(np.asanyarray(image.dataobj))
    assert (found == np.array(image.shape) - 1).all()
    assert grid.voxel_on_page(place) == tuple(n - 1 for n in grid.shape)
    assert grid.known


def test_a_file_that_does_not_say_how_it_lies_is_shown_as_stored_and_says_so() -> None:
    grid = PageGrid.of(made_case())
    assert not grid.known
    assert replace(grid, known=True) == PageGrid.of(made_case(axis_codes=CANONICAL))


def test_the_smaller_label_is_shown_in_front() -> None:
    big, small = box(slice(0, 4)), box(slice(1, 2), slice(0, 3))
    for masks in ((big, small), (small, big)):
        labels = labels_of(*masks)
        ids = {label.voxels: label.id for label in labels.all.values()}
        assert np.array_equal(labels.map == ids[int(small.sum())], small)
        assert np.array_equal(labels.map == ids[int(big.sum())], big & ~small)
        assert "shares voxels with a" in labels.all[2].note
    assert labels_of(box(slice(0, 1)), box(slice(2, 3))).all[2].note == ""


def test_a_label_is_jumped_to_at_one_of_its_voxels() -> None:
    """Also where the mean of its voxels lies outside, as in a ring."""
    ring = box(slice(2, 3)) & ~box(slice(2, 3), slice(2, 6), slice(2, 8))
    label = labels_of(ring).all[1]
    assert label.centre is not None and ring[label.centre]
    assert label.ml == pytest.approx(ring.sum() * 10 / 1000)
    assert labels_of(np.zeros(SHAPE, bool)).all[1].centre is None


def test_a_map_keeps_its_values_and_names_what_is_known() -> None:
    labels, values = Labels(SHAPE, SPACING), np.zeros(SHAPE, np.uint16)
    values[BRIGHT], values[0, 0, 0] = 3, 700
    labels.add_map(values, {3: "liver", 5: "spleen"}, {3: "the liver"})
    assert {id_: (label.name, label.voxels) for id_, label in labels.all.items()} == {
        3: ("liver", 12),
        5: ("spleen", 0),
        700: ("label 700", 1),
    }
    assert labels.add("new", "", box(slice(5, 6))).id == 1


def test_hounsfield_units_are_sent_with_the_windows_of_ct() -> None:
    units = np.full(SHAPE, -1000.0)
    units[BRIGHT], units[0] = 60.0, 20.0
    case = made_case(stored=StoredNumbers(units, (), True))
    image, windows, unit = shown_image(case, "CT")
    assert image.dtype == np.int16 and image[BRIGHT].max() == 60 and unit == "HU"
    ends = {window["name"]: (window["low"], window["high"]) for window in windows}
    assert ends == {
        "soft tissue": (-160, 240),
        "lung": (-910, 590),
        "brain": (0, 80),
        "bone": (-500, 1300),
    }


def test_of_ct_in_grey_values_the_windows_lie_on_the_scale_it_was_stored_in() -> None:
    _, windows, unit = shown_image(made_case(), "CT")
    ends = {window["name"]: (window["low"], window["high"]) for window in windows}
    assert ends["soft tissue"] == (0, 255) and "soft tissue" in unit
    assert ends["brain"] == (pytest.approx(102), pytest.approx(153))
    assert [window["name"] for window in shown_image(made_case(), "MR")[1]] == ["full range"]


def save_case(folder: Path, codes: str) -> tuple[Path, Path]:
    """A case and its label map as NIfTI with these axes, without prompts; the label is where it is bright."""
    case = made_case()
    affine = np.diag([-1.0, -2.0, 5.0, 1.0])  # of canonical axes
    paths = folder / "scan.nii.gz", folder / "labels.nii.gz"
    for path, volume in zip(paths, (case.image, (case.image > 100) * np.uint8(4)), strict=True):
        image = nibabel.Nifti1Image(volume.transpose(2, 1, 0), affine)
        wanted = nibabel.orientations.axcodes2ornt(tuple(codes))
        way = nibabel.orientations.ornt_transform(nibabel.io_orientation(affine), wanted)
        nibabel.save(image.as_reoriented(way), path)
    return paths


@pytest.mark.parametrize("codes", ["LPS", "RAS", "SLA"])
def test_labels_lie_on_the_image_whatever_the_axes_of_their_files(tmp_path: Path, codes: str) -> None:
    """The label map may be stored in another way than the case."""
    scan, _ = save_case(tmp_path, codes)
    (tmp_path / "other").mkdir()
    _, labels = save_case(tmp_path / "other", "PIR")
    files = read_page(scan, labels)
    assert files.labels is not None and files.case.sentences == {}
    assert np.array_equal(files.labels == 4, files.case.image > 100)
    assert files.file_codes == tuple(codes[::-1])
    assert read_page(scan, None, ["the liver", "spleen"]).case.sentences == {1: "the liver", 2: "spleen"}


def test_names_come_from_the_file_beside_the_label_map(tmp_path: Path) -> None:
    scan, labels = save_case(tmp_path, "RAS")
    beside = tmp_path / "labels.json"
    beside.write_text('{"labels": [{"value": 4, "name": "liver"}]}')
    assert read_page(scan, labels).names == {4: "liver"}
    for text in ('{"1": "liver"}', "[", '{"labels": [4]}', '{"labels": [{"value": "x", "name": ""}]}'):
        beside.write_text(text)
        assert read_page(scan, labels).names == {}


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_a_label_map_may_be_in_another_format(tmp_path: Path, kind: type) -> None:
    sitk = pytest.importorskip("SimpleITK")
    scan, labels = save_case(tmp_path, "RAS")
    image = sitk.ReadImage(str(labels))
    values = sitk.GetArrayFromImage(image).astype(kind)
    values[values > 0] = np.iinfo(kind).max
    other = sitk.GetImageFromArray(values)
    other.CopyInformation(image)
    sitk.WriteImage(other, str(tmp_path / "labels.nrrd"))
    files = read_page(scan, tmp_path / "labels.nrrd")
    assert files.labels is not None
    assert np.array_equal(files.labels == np.iinfo(kind).max, files.case.image > 100)


def test_what_is_no_label_map_of_the_case_is_a_named_error(tmp_path: Path) -> None:
    scan, labels = save_case(tmp_path, "RAS")
    np.savez(tmp_path / "other.npz", segs=np.zeros((2, 2, 2), np.uint8))
    np.savez(tmp_path / "parts.npz", segs=np.full(SHAPE, 0.5))
    np.savez(tmp_path / "large.npz", segs=np.full(SHAPE, 70000))
    (tmp_path / "labels.txt").touch()
    for name in ("other.npz", "parts.npz", "large.npz", "labels.txt"):
        with pytest.raises(LabelMapError, match=name):
            read_page(scan, tmp_path / name)
    for paths in ((tmp_path / "none.nii", None), (scan, tmp_path / "none.nii")):
        with pytest.raises(UnreadableFileError, match="none.nii"):
            read_page(*paths)
    assert labels.is_file()


def test_where_niivue_is_not_there_the_command_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(assets, "NIIVUE", tmp_path / "niivue.umd.js")
    with pytest.raises(UsageError, match=r"tools/vendor_niivue.py"):
        assets.read_assets()
    scan, _ = save_case(tmp_path, "RAS")
    assert command.main(["view", str(scan), "--no-browser"]) == 2


@pytest.mark.parametrize(
    "arguments",
    [["--port", "x", "a.npz"], ["--wieghts", "nano", "a.npz"], [], ["a.npz", "--weights", "none"]],
)
def test_a_mistyped_command_ends_at_once(arguments: list[str], tmp_path: Path) -> None:
    assert command.main(["view", *arguments]) == 2


def test_only_the_pinned_niivue_is_taken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as archive:
        member = tarfile.TarInfo(vendor_niivue.MEMBER)
        member.size = 2
        archive.addfile(member, io.BytesIO(b"//"))
    monkeypatch.setattr(vendor_niivue, "fetch", content.getvalue)
    with pytest.raises(ValueError, match="sha512"):
        vendor_niivue.vendor(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_is_not_fetched_again(monkeypatch: pytest.MonkeyPatch, niivue: Path) -> None:
    monkeypatch.setattr(vendor_niivue, "fetch", lambda: pytest.fail("it was fetched"))
    assert vendor_niivue.vendor(niivue.parent) == niivue
    assert hashlib.sha256(niivue.read_bytes()).hexdigest() == vendor_niivue.MEMBER_SHA256

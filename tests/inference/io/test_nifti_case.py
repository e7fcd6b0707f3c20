"""Cases in NIfTI: canonical for the engine, and the label map on the file's own grid."""

import gzip
import struct
from pathlib import Path

import nibabel
import numpy as np
import pytest

from tests.inference.fakes import Opener
from tests.inference.io.written import (
    ALL_CODES,
    BOX,
    PROMPTS,
    SHAPE,
    SPACING,
    load,
    made_volume,
    stored_as,
    with_prompts,
    write_nifti,
)
from vesal.inference.data.errors import (
    AffineError,
    NiftiError,
    NoPromptsError,
    SeveralVolumesError,
    SpacingError,
    VolumeSizeError,
)
from vesal.inference.data.orientation import CANONICAL, AxisCodes
from vesal.inference.io.formats import open_case, read_case
from vesal.inference.io.label_writer import write_label_map
from vesal.inference.io.nifti import open_nifti
from vesal.inference.io.nifti_axes import nifti_axes
from vesal.inference.io.read_options import ReadOptions
from vesal.inference.prompts.case_meaning import settle
from vesal.inference.prompts.parser import parse_case
from vesal.inference.runner.run import run
from vesal.inference.runner.settings import Settings


@pytest.mark.parametrize("codes", ALL_CODES, ids="".join)
def test_round_trip(tmp_path: Path, codes: AxisCodes) -> None:
    """The engine sees the same of all 48; labels that it makes lie where they belong, by another reader."""
    volume = made_volume()
    path = write_nifti(tmp_path / "a.nii.gz", volume, codes)
    with open_case(path) as reader:
        assert reader.shape == SHAPE
        case = reader.read()
        np.testing.assert_array_equal(case.image, volume)
        assert case.image.flags.c_contiguous
        assert case.spacing_dhw_mm == SPACING and case.axis_codes == CANONICAL
        labels = (case.image == 200).astype(np.uint8) * 3
        write_label_map(tmp_path / "labels.nii.gz", labels, reader.header)
    source, written = load(path), load(tmp_path / "labels.nii.gz")
    np.testing.assert_array_equal(written.affine, source.affine)
    np.testing.assert_array_equal(np.asarray(written.dataobj) == 3, np.asarray(source.dataobj) == 200)
    for form in ("sform", "qform"):
        assert int(written.header[f"{form}_code"]) == int(source.header[f"{form}_code"])


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_the_command_reads_and_writes_it(tmp_path: Path, name: str) -> None:
    volume = made_volume("i2")
    (tmp_path / "in").mkdir()
    source = write_nifti(tmp_path / "in" / name, volume, ("L", "I", "A"))
    assert run(Settings(tmp_path / "in", tmp_path / "out"), Opener()) == 0
    written = load(tmp_path / "out" / name)
    assert written.get_data_dtype() == np.uint8
    np.testing.assert_array_equal(written.affine, load(source).affine)
    want, _ = stored_as(("L", "I", "A"), np.isin(volume, 200))
    np.testing.assert_array_equal(np.asarray(written.dataobj).transpose() == 3, want)
    assert (tmp_path / "out" / name).read_bytes()[:2] == (b"\x1f\x8b" if name.endswith("gz") else b"\x5c\x01")


def test_numbers_are_scaled_and_shown_in_hounsfield_units(tmp_path: Path) -> None:
    """Slope and intercept are applied, and whole numbers stay whole."""
    volume = np.full(SHAPE, 0, np.int16)
    volume[BOX], volume[-1] = 1064, 2000
    path = write_nifti(tmp_path / "CT_a.nii", volume, scl_slope=1, scl_inter=-1024)
    # nibabel resets the scaling when it saves, so it is put into the file itself.
    content = bytearray(path.read_bytes())
    content[112:120] = struct.pack("<2f", 1, -1024)
    path.write_bytes(content)
    case = read_case(path)
    assert case.stored is not None and case.stored.numbers.dtype == np.int32
    assert case.stored.hounsfield and "soft tissue window" in " ".join(case.notes)
    assert (case.image[BOX] == 127).all() and case.image[-1].min() == 255 and case.image.min() == 0


@pytest.mark.parametrize(("code", "factor"), [(3, 1e-3), (1, 1e3), (2, 1.0), (0, 1.0)])
def test_units_are_respected(tmp_path: Path, code: int, factor: float) -> None:
    path = write_nifti(tmp_path / "a.nii", made_volume(), xyzt_units=code)
    with open_case(path) as reader:
        assert reader.read().spacing_dhw_mm == pytest.approx([s * factor for s in SPACING])
        write_label_map(tmp_path / "labels.nii", np.zeros(SHAPE, np.uint8), reader.header)
    written = load(tmp_path / "labels.nii")
    np.testing.assert_array_equal(written.affine, load(path).affine)
    assert int(written.header["xyzt_units"]) == code


def test_nifti_2_and_the_other_byte_order(tmp_path: Path) -> None:
    volume = made_volume("i2")
    stored, axes = stored_as(("A", "R", "I"), volume)
    nibabel.save(nibabel.Nifti2Image(stored.transpose(), axes.affine), with_prompts(tmp_path / "two.nii"))
    big = nibabel.Nifti1Header(endianness=">")
    nibabel.save(
        nibabel.Nifti1Image(stored.transpose().astype(">i2"), axes.affine, big),
        with_prompts(tmp_path / "big.nii"),
    )
    for name in ("two.nii", "big.nii"):
        with open_case(tmp_path / name) as reader:
            case = reader.read()
            assert case.stored is not None
            np.testing.assert_array_equal(case.stored.numbers, volume)
            assert case.spacing_dhw_mm == SPACING
            write_label_map(tmp_path / "labels.nii", (volume == 200).astype(np.uint8), reader.header)
        np.testing.assert_allclose(load(tmp_path / "labels.nii").affine, axes.affine)


def test_a_long_side_is_written_as_nifti_2(tmp_path: Path) -> None:
    labels = np.zeros((1, 1, 40000), np.uint16)
    labels[0, 0, -1] = 300
    write_label_map(tmp_path / "a.nii", labels)
    written = load(tmp_path / "a.nii")
    assert isinstance(written, nibabel.Nifti2Image)
    assert written.shape == (40000, 1, 1) and written.dataobj[-1, 0, 0] == 300


def test_one_of_several_volumes(tmp_path: Path) -> None:
    volumes = np.stack([made_volume() * 0, made_volume()], -1)
    affine = stored_as(CANONICAL, made_volume())[1].affine
    path = with_prompts(tmp_path / "a.nii.gz")
    nibabel.save(nibabel.Nifti1Image(volumes.transpose(2, 1, 0, 3), affine), path)
    with pytest.raises(SeveralVolumesError, match="2 volumes"):
        read_case(path)
    with (
        pytest.raises(SeveralVolumesError, match="volume 2 is wanted"),
        open_case(path, ReadOptions(volume=2)) as reader,
    ):
        reader.read()
    with open_case(path, ReadOptions(volume=1)) as reader:
        np.testing.assert_array_equal(reader.read().image, made_volume())


def edited(path: Path, at: int, fields: str, *values: float) -> Path:
    """The file with other fields in its header."""
    content = bytearray(path.read_bytes())
    struct.pack_into("<" + fields, content, at, *values)
    path.write_bytes(content)
    return path


def plain(tmp_path: Path) -> Path:
    return write_nifti(tmp_path / "a.nii", made_volume())


def test_a_mask_without_an_affine_is_read_as_stored(tmp_path: Path) -> None:
    """As those are that belong to a Zarr, which does not say how it lies."""
    path = edited(write_nifti(tmp_path / "a.nii", made_volume()), 252, "2h", 0, 0)
    with open_nifti(path) as opened:
        axes, notes = nifti_axes("a", opened.header)
    assert axes.codes is None and axes.spacing_dhw_mm == SPACING and "no affine" in " ".join(notes)


def test_a_conflict_of_both_forms_is_told(tmp_path: Path) -> None:
    path = edited(plain(tmp_path), 268, "f", 77.0)
    assert "sform and qform of the header differ" not in " ".join(read_case(plain(tmp_path)).notes)
    nibabel_image = load(path)
    nibabel_image.set_qform(np.diag([1.0, 1.0, 1.0, 1.0]), 1)
    nibabel.save(nibabel_image, path)
    case = read_case(path)
    assert "sform and qform of the header differ" in " ".join(case.notes)
    assert case.axis_codes == CANONICAL


def tilted(path: Path) -> Path:
    """A shear of 17 degrees, as of a tilted gantry."""
    affine = stored_as(CANONICAL, made_volume())[1].affine.copy()
    affine[1, 2] = 1.5
    nibabel.save(nibabel.Nifti1Image(made_volume().transpose(), affine), path)
    return path


def truncated(path: Path) -> Path:
    packed = gzip.compress(path.read_bytes()[:352] + np.random.default_rng(0).bytes(210))
    path.unlink()
    path = path.with_suffix(".nii.gz")
    path.write_bytes(packed[:-60])
    return path


def huge(path: Path) -> Path:
    """A header that promises a gigabyte, in a file of a kilobyte."""
    return edited(path, 40, "4h", 3, 1024, 1024, 1024)


BROKEN = {
    "truncated": (truncated, NiftiError, "cut short"),
    "sheared": (lambda p: edited(p, 280, "8f", 1, 0.9, 0, 0, 0, 0.2, 0, 0), AffineError, "sheared"),
    "a little sheared": (tilted, AffineError, "sheared, with a cosine of 0.29"),
    "no affine": (
        lambda p: edited(p, 252, "2h", 0, 0),
        AffineError,
        "no affine, neither a sform nor a qform",
    ),
    "zero spacing": (
        lambda p: edited(edited(p, 252, "2h", 0, 0), 80, "3f", 1, 0, 1),
        SpacingError,
        "voxel size",
    ),
    "zero column": (lambda p: edited(p, 280, "4f", 0, 0, 0, 0), SpacingError, "voxel size"),
    "not finite": (lambda p: edited(p, 280, "f", float("nan")), AffineError, "finite"),
    "RGB": (lambda p: edited(p, 70, "2h", 128, 24), NiftiError, "RGB"),
    "a lie of a gigabyte": (huge, NiftiError, "cut short"),
    "a lie of terabytes": (lambda p: edited(p, 40, "4h", 3, 30000, 30000, 30000), VolumeSizeError, "bytes"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_broken_files_have_a_named_error_and_the_others_go_on(tmp_path: Path, what: str) -> None:
    breaks, error, said = BROKEN[what]
    (tmp_path / "in").mkdir()
    path = breaks(plain(tmp_path / "in"))
    write_nifti(tmp_path / "in" / "good.nii.gz", made_volume())
    with pytest.raises(error, match=said):
        read_case(path)
    assert run(Settings(tmp_path / "in", tmp_path / "out"), Opener()) == 1
    assert (np.asarray(load(tmp_path / "out" / "good.nii.gz").dataobj) == 3).sum() == 24
    zeros = load(tmp_path / "out" / path.name)
    assert not np.asarray(zeros.dataobj).any()
    assert (tmp_path / "out" / path.name).stat().st_size < 1000
    assert error.__name__ in (tmp_path / "report.json").read_text()


def test_without_prompts_it_says_where_to_put_them(tmp_path: Path) -> None:
    path = plain(tmp_path)
    (tmp_path / "a.json").unlink()
    with open_case(path) as reader:
        assert reader.shape == SHAPE
        with pytest.raises(NoPromptsError, match=r"a\.json"):
            reader.read()
    (tmp_path / "a.json").write_text('{"Modality": "CT", "RepetitionTime": 2.5}')
    with pytest.raises(NoPromptsError, match=r"a\.json beside it holds no prompts"):
        read_case(path)


@pytest.mark.parametrize("mask_codes", ALL_CODES[::5], ids="".join)
def test_a_mask_beside_it_is_brought_to_the_case_by_its_own_affine(
    tmp_path: Path, mask_codes: AxisCodes
) -> None:
    volume = made_volume()
    path = write_nifti(tmp_path / "a.nii.gz", volume, ("L", "I", "A"))
    write_nifti(tmp_path / "a.prompt.nii.gz", np.where(volume == 200, 3, 0).astype("u1"), mask_codes)
    (tmp_path / "a.json").write_text('{"3": "Liver"}')
    with open_case(path) as reader:
        case = reader.read()
        found = reader.read_user_prompts(case.sentences, case.image.shape, case.instance)
    assert found.fallbacks == () and found.user.mask is not None
    np.testing.assert_array_equal(found.user.mask.labels == 3, volume == 200)


def test_a_mask_on_another_grid_is_named(tmp_path: Path) -> None:
    volume = made_volume()
    path = write_nifti(tmp_path / "a.nii.gz", volume)
    for grid in (volume[1:], volume):
        axes = stored_as(CANONICAL, volume)[1]
        affine = axes.affine.copy()
        affine[0, 3] += 1.0
        nibabel.save(nibabel.Nifti1Image(grid.transpose(), affine), tmp_path / "a.prompt.nii.gz")
        with open_case(path) as reader:
            found = reader.read_user_prompts([3], SHAPE, False)
        assert found.user.mask is None
        assert "MaskShapeError" in found.fallbacks[0]


def test_boxes_and_points_are_in_voxels_of_the_file(tmp_path: Path) -> None:
    volume = made_volume()
    path = write_nifti(tmp_path / "a.nii.gz", volume, ("L", "I", "A"))
    stored, _ = stored_as(("L", "I", "A"), volume)
    inside = np.argwhere(stored == 200)
    box = [*inside.min(0), *(inside.max(0) + 1)]
    np.savez(tmp_path / "a.prompt.npz", boxes=np.array([box]), points=np.array([[*inside[0], 1]]))
    with open_case(path) as reader:
        case = reader.read()
        user = reader.read_user_prompts(case.sentences, case.image.shape, case.instance).user
    (found,), (point,) = user.boxes[3], user.points[3]
    assert (case.image[tuple(map(slice, found.start, found.stop))] == 200).all()
    assert (np.subtract(found.stop, found.start) == [2, 3, 4]).all()
    assert case.image[point.voxel] == 200


def test_the_same_labels_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.nii.gz", "b.nii.gz"):
        write_label_map(tmp_path / name, made_volume())
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()


def test_prompts_are_those_beside_it(tmp_path: Path) -> None:
    assert read_case(plain(tmp_path)).sentences == {3: PROMPTS["3"]}


@pytest.mark.parametrize(("asked", "window"), [("lung", "lung"), ("femur", "bone"), ("liver", "soft tissue")])
def test_hounsfield_units_are_shown_by_what_is_asked_for(tmp_path: Path, asked: str, window: str) -> None:
    """As those of an npz are."""
    volume = np.full((20, 20, 20), -1000, np.int16)
    volume[4:16, 4:16, 4:16] = np.arange(-50, 94)[:12, None, None]
    volume[5:9, 5:9, 5:9] = -800
    nibabel.save(nibabel.Nifti1Image(volume.transpose(), np.diag([5, 5, 5, 1.0])), tmp_path / "a.nii.gz")
    (tmp_path / "a.json").write_text(f'{{"1": "{asked} in CT", "instance_label": 0}}')
    case = read_case(tmp_path / "a.nii.gz")
    prompts, choice = parse_case(case)
    assert f"{window} window" in " ".join(settle(case, prompts, choice).notes)

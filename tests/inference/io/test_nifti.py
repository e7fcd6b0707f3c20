"""The NIfTI-1 reader, on files made here and on real ones."""

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

from vesal.inference.data.errors import NiftiError, UnreadableFileError
from vesal.inference.io.nifti import TYPES, parse_header, read_nifti

CODES = {kind: code for code, kind in TYPES.items()}


def nifti(
    values: np.ndarray,
    order: str = "<",
    scale: tuple[float, float] = (1.0, 0.0),
    offset: float = 352.0,
    axes: tuple[int, ...] | None = None,
    code: int | None = None,
    magic: bytes = b"n+1\0",
) -> bytes:
    """A NIfTI-1 file of (D,H,W) values."""
    header = bytearray(352)
    struct.pack_into(order + "i", header, 0, 348)
    lengths = axes or (3, *values.shape[::-1])
    struct.pack_into(f"{order}{len(lengths)}h", header, 40, *lengths)
    struct.pack_into(order + "h", header, 70, code or CODES[values.dtype.str[1:]])
    struct.pack_into(order + "3f", header, 108, offset, *scale)
    header[344:348] = magic
    return bytes(header) + values.astype(values.dtype.newbyteorder(order)).tobytes()


def written(folder: Path, content: bytes, name: str = "a.nii.gz") -> Path:
    """The content as a file, packed where its name says so."""
    path = folder / name
    path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    return path


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", sorted(set(TYPES.values())))
def test_every_type_in_both_byte_orders(tmp_path, order, kind):
    values = np.arange(24).reshape(2, 3, 4).astype(kind)
    found = read_nifti(written(tmp_path, nifti(values, order)), (2, 3, 4))
    assert np.array_equal(found, values)
    assert found.dtype == np.dtype(kind) and found.dtype.isnative


def test_without_gzip_and_with_a_gzip_that_the_name_hides(tmp_path):
    values = np.arange(6, dtype=np.uint8).reshape(1, 2, 3)
    assert np.array_equal(read_nifti(written(tmp_path, nifti(values), "a.nii")), values)
    assert np.array_equal(read_nifti(written(tmp_path, gzip.compress(nifti(values)), "b.nii")), values)


def test_real_files_are_read_as_by_the_reference_library(shared):
    nibabel = pytest.importorskip("nibabel")
    paths = sorted((shared / "data" / "labelmaps").glob("*.nii.gz"))
    assert paths
    for path in paths[:3]:
        wanted = np.asarray(nibabel.load(path).dataobj).transpose()
        assert np.array_equal(read_nifti(path), wanted), path.name


def test_scaled_values_are_multiplied(tmp_path):
    values = np.array([[[0, 1, 2]]], np.int16)
    assert read_nifti(written(tmp_path, nifti(values, scale=(2.0, -1.0)))).tolist() == [[[-1, 1, 3]]]


@pytest.mark.parametrize("slope", [0.0, float("nan"), float("inf")])
def test_a_slope_that_means_nothing_is_left_out(tmp_path, slope):
    values = np.array([[[0, 1, 2]]], np.uint8)
    found = read_nifti(written(tmp_path, nifti(values, scale=(slope, 5.0))))
    assert np.array_equal(found, values)


def test_a_longer_header_and_trailing_axes_of_one(tmp_path):
    values = np.arange(6, dtype=np.uint8).reshape(1, 2, 3)
    content = nifti(values, offset=368, axes=(5, 3, 2, 1, 1, 1))
    content = content[:352] + bytes(16) + content[352:]
    assert np.array_equal(read_nifti(written(tmp_path, content)), values)


VALUES = np.zeros((2, 3, 4), np.uint8)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "0 bytes"),
        (b"\0" * 348, "no NIfTI-1 volume"),
        (nifti(VALUES, magic=b"ni1\0"), "in one file"),
        (nifti(VALUES, code=128), "data type 128"),
        (nifti(VALUES, axes=(4, 4, 3, 2, 5)), "axes of lengths"),
        (nifti(VALUES, axes=(2, 4, 3)), "axes of lengths"),
        (nifti(VALUES, axes=(3, 4, 3, 0)), "axes of lengths"),
        (nifti(VALUES, axes=(3, 4, 3, -2)), "axes of lengths"),
        (nifti(VALUES, axes=(-3, 4, 3, 2)), "axes of lengths"),
        (nifti(VALUES, offset=0), "begin at byte 0"),
        (nifti(VALUES, offset=float("nan")), "begin at byte nan"),
        (nifti(VALUES, offset=2.0**30), "begin at byte 1073741824"),
        (nifti(VALUES)[:-1], "23 of 24 bytes"),
    ],
)
def test_what_is_no_volume_is_refused(tmp_path, content, said):
    with pytest.raises(NiftiError, match=said):
        read_nifti(written(tmp_path, content, "bad.nii"))


def test_a_gzip_cut_short_is_refused(tmp_path):
    path = tmp_path / "a.nii.gz"
    path.write_bytes(
        gzip.compress(nifti(np.random.default_rng(0).integers(0, 9, (9, 9, 9)).astype("u1")))[:-20]
    )
    with pytest.raises(NiftiError, match="cut short or damaged"):
        read_nifti(path)


def test_another_shape_is_refused_before_a_voxel_is_read(tmp_path):
    huge = nifti(VALUES, axes=(3, 30000, 30000, 30000))
    with pytest.raises(NiftiError, match=r"\(30000, 30000, 30000\).*\(2, 3, 4\)"):
        read_nifti(written(tmp_path, huge), (2, 3, 4))


def test_no_file_and_a_folder(tmp_path):
    for path in (tmp_path / "none.nii", tmp_path):
        with pytest.raises(UnreadableFileError):
            read_nifti(path)


def test_nifti_2_is_refused():
    with pytest.raises(NiftiError, match="no NIfTI-1"):
        parse_header("a", struct.pack("<i", 540) + bytes(344))

"""Zip and npy level: every codec, files cut at any byte, forged sizes; and shapes dug out of broken files."""

import contextlib
import io
import zipfile

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from vesal.inference.data import errors
from vesal.inference.io.formats import read_case, read_shape
from vesal.inference.io.npz import MAX_VOXELS
from vesal.inference.io.npz_archive import NpzArchive

SHAPE = (4, 50, 60)
METHODS = {
    "stored": zipfile.ZIP_STORED,
    "deflate": zipfile.ZIP_DEFLATED,
    "bzip2": zipfile.ZIP_BZIP2,
    "lzma": zipfile.ZIP_LZMA,
}
BY_NUMPY = ("stored", "deflate")
"""What numpy writes: only of these is a shape looked for where the directory is lost."""


def member(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def packed(method: int, order=("spacing", "imgs", "text_prompts"), **changes: bytes) -> bytes:
    """Return the bytes of an npz whose members are compressed by `method`."""
    members = {
        "imgs": member(np.random.default_rng(0).integers(0, 256, SHAPE, np.uint8)),
        "spacing": member(np.ones(3)),
        "text_prompts": member(np.array({"1": "Liver", "instance_label": 0}, dtype=object)),
    }
    members |= changes
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for key in order:
            archive.writestr(f"{key}.npy", members[key])
    return stream.getvalue()


WHOLE = {name: packed(method) for name, method in METHODS.items()}


def header_only(shape: str, descr: str = "'|u1'") -> bytes:
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


@pytest.mark.parametrize("name", METHODS)
def test_every_codec(tmp_path, name):
    path = tmp_path / "a.npz"
    path.write_bytes(WHOLE[name])
    case = read_case(path)
    assert np.array_equal(case.image, np.random.default_rng(0).integers(0, 256, SHAPE, np.uint8))
    assert read_shape(path) == SHAPE


@pytest.mark.parametrize("name", METHODS)
def test_shape_of_a_file_cut_within_the_volume(tmp_path, name):
    path = tmp_path / "a.npz"
    path.write_bytes(WHOLE[name][: len(WHOLE[name]) // 2])
    with pytest.raises(errors.TruncatedArchiveError, match="cut short or damaged"):
        read_case(path)
    assert read_shape(path) == (SHAPE if name in BY_NUMPY else None)


@pytest.mark.parametrize("name", METHODS)
def test_shape_of_a_file_that_lost_only_its_directory(tmp_path, name):
    path = tmp_path / "a.npz"
    path.write_bytes(WHOLE[name][:-30])
    with pytest.raises(errors.TruncatedArchiveError):
        read_case(path)
    assert read_shape(path) == (SHAPE if name in BY_NUMPY else None)


@settings(max_examples=200, deadline=None)
@given(name=st.sampled_from(list(METHODS)), where=st.floats(0, 1, exclude_max=True))
@example(name="deflate", where=0.0)
def test_cut_at_any_byte_is_a_case_error(tmp_path_factory, name, where):
    whole = WHOLE[name]
    path = tmp_path_factory.mktemp("cut") / "a.npz"
    path.write_bytes(whole[: int(where * len(whole))])
    with pytest.raises(errors.CaseError):
        read_case(path)
    assert read_shape(path) in (None, SHAPE)


@settings(max_examples=300, deadline=None)
@given(
    name=st.sampled_from(list(METHODS)),
    hits=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(1, 255)), min_size=1, max_size=4),
    tail=st.booleans(),
)
def test_changed_bytes_give_a_case_or_a_case_error(tmp_path_factory, name, hits, tail):
    whole = bytearray(packed(METHODS[name], imgs=member(np.zeros((2, 2, 2), np.uint8))))
    for where, change in hits:
        first = len(whole) - 250 if tail else 0  # the directory is where zip readers stumble
        whole[first + int(where * (len(whole) - first))] ^= change
    path = tmp_path_factory.mktemp("hit") / "a.npz"
    path.write_bytes(whole)
    with contextlib.suppress(errors.CaseError):
        read_case(path)
    shape = read_shape(path)
    assert shape is None or all(length >= 0 for length in shape)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty"),
        (b"hello world", "starts with b'hello wo'"),
        (member(np.ones(3)), "single npy array"),
        (b"\x1f\x8b\x08rest", "gzip"),
    ],
)
def test_not_a_zip(tmp_path, content, message):
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(errors.NotAnArchiveError, match=f"{message}.*not the zip archive"):
        read_case(tmp_path / "a.npz")
    assert read_shape(tmp_path / "a.npz") is None


def test_absent_file_and_folder(tmp_path):
    with pytest.raises(errors.UnreadableFileError, match="does not exist"):
        read_case(tmp_path / "a.npz")
    with pytest.raises(errors.UnreadableFileError, match="folder"):
        read_case(tmp_path)
    assert read_shape(tmp_path) is None and read_shape(tmp_path / "a.npz") is None


def test_zip_without_members(tmp_path):
    (tmp_path / "a.npz").write_bytes(packed(0, order=()))
    with pytest.raises(errors.MissingKeyError, match="no arrays at all") as caught:
        read_case(tmp_path / "a.npz")
    assert isinstance(caught.value, KeyError) and not str(caught.value).startswith('"')


@pytest.mark.parametrize("shape", ["(100000, 100000, 100000)", "(4, 50, 61)", "(1, 1, 1)"])
def test_promised_size_is_checked_before_anything_is_allocated(tmp_path, shape):
    path = tmp_path / "a.npz"
    path.write_bytes(packed(8, imgs=header_only(shape) + bytes(4 * 50 * 60)))
    with pytest.raises(errors.ArrayHeaderError, match="promises uint8"):
        read_case(path)
    believed = eval(shape)
    assert read_shape(path) == (believed if np.prod(believed) <= MAX_VOXELS else None)


def test_prompts_of_absurd_size_are_not_read(tmp_path):
    (tmp_path / "a.npz").write_bytes(packed(8, text_prompts=header_only("()", "'|O'") + bytes(17 << 20)))
    with pytest.raises(errors.ArrayHeaderError, match="at most 1048576 are read"):
        read_case(tmp_path / "a.npz")


def test_array_above_the_limit_is_refused(tmp_path):
    (tmp_path / "a.npz").write_bytes(WHOLE["deflate"])
    with NpzArchive(tmp_path / "a.npz") as archive:
        assert archive.read_array("imgs", 12_000).shape == SHAPE
        with pytest.raises(errors.ArrayHeaderError, match="12000 bytes; at most 11999"):
            archive.read_array("imgs", 11_999)


@pytest.mark.parametrize(
    "content", [b"", b"\x93NUMPY", b"no npy at all", header_only("(-1, 2, 2)"), header_only("(2,")]
)
def test_broken_npy_header(tmp_path, content):
    (tmp_path / "a.npz").write_bytes(packed(8, imgs=content))
    with pytest.raises(errors.ArrayHeaderError, match="header of array 'imgs'"):
        read_case(tmp_path / "a.npz")
    assert read_shape(tmp_path / "a.npz") is None


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_every_version_of_the_npy_header(tmp_path, version):
    stream = io.BytesIO()
    np.lib.format.write_array(stream, np.full((2, 3, 4), 9, np.uint8), version=version)
    (tmp_path / "a.npz").write_bytes(packed(8, imgs=stream.getvalue()))
    assert read_case(tmp_path / "a.npz").image.tolist() == np.full((2, 3, 4), 9).tolist()


def test_wrong_checksum_is_noticed(tmp_path):
    whole = bytearray(WHOLE["stored"])
    at = whole.index(b"imgs.npy") + 1000
    whole[at] ^= 1
    (tmp_path / "a.npz").write_bytes(whole)
    with pytest.raises(errors.TruncatedArchiveError, match="CRC"):
        read_case(tmp_path / "a.npz")
    assert read_shape(tmp_path / "a.npz") == SHAPE


def test_name_of_a_member_within_another_member_is_no_member(tmp_path):
    # Without its directory the file is searched for local headers; text that looks like the name is not one.
    decoy = packed(0, order=("spacing", "text_prompts"), spacing=member(np.array("imgs.npy")))
    (tmp_path / "a.npz").write_bytes(decoy[:-30])
    assert read_shape(tmp_path / "a.npz") is None

"""The label map's file: type, bytes, permissions, and that it is there whole or not at all."""

import os
import stat
import zipfile

import numpy as np
import pytest

from vesal.inference.data.errors import LabelMapError
from vesal.inference.io import temporary
from vesal.inference.io.label_writer import write_label_map


@pytest.mark.parametrize(
    ("largest", "dtype"), [(0, "u1"), (255, "u1"), (256, "u2"), (65535, "u2"), (65536, "u4"), (2**32, "u8")]
)
def test_smallest_type_that_holds_the_largest_label(tmp_path, largest, dtype):
    labels = np.zeros((2, 3, 4), np.int64)
    labels[1, 2, 3] = largest
    write_label_map(tmp_path / "a.npz", labels)
    with np.load(tmp_path / "a.npz") as written:
        assert written.files == ["segs"]
        assert written["segs"].dtype == np.dtype(dtype)
        assert np.array_equal(written["segs"], labels)


@pytest.mark.parametrize("shape", [(1, 1, 1), (0, 5, 5), (4, 5), (7,), (), (2, 3, 4, 5)])
def test_shape_survives(tmp_path, shape):
    write_label_map(tmp_path / "a.npz", np.ones(shape, np.uint16))
    segs = np.load(tmp_path / "a.npz")["segs"]
    assert segs.shape == shape and segs.dtype == np.uint8 and segs.all()


def test_any_memory_order_and_bool(tmp_path):
    labels = np.asfortranarray(np.arange(24).reshape(2, 3, 4))[:, ::-1, ::2]
    write_label_map(tmp_path / "a.npz", labels)
    assert np.array_equal(np.load(tmp_path / "a.npz")["segs"], labels)
    write_label_map(tmp_path / "a.npz", labels > 3)
    assert np.array_equal(np.load(tmp_path / "a.npz")["segs"], labels > 3)


def test_same_labels_same_bytes_whatever_their_type(tmp_path, monkeypatch):
    labels = np.random.default_rng(0).integers(0, 4, (5, 30, 30))
    write_label_map(tmp_path / "a.npz", labels)
    monkeypatch.setattr("time.time", lambda: 2e9)
    write_label_map(tmp_path / "b.npz", labels.astype(np.uint8))
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_is_compressed(tmp_path):
    write_label_map(tmp_path / "a.npz", np.zeros((50, 100, 100), np.uint8))
    assert zipfile.ZipFile(tmp_path / "a.npz").infolist()[0].compress_type == zipfile.ZIP_DEFLATED
    assert (tmp_path / "a.npz").stat().st_size < 500_000 / 50


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o000, 0o666)])
def test_permissions_follow_the_umask(tmp_path, mask, mode):
    before = os.umask(mask)
    try:
        write_label_map(tmp_path / "a.npz", np.zeros((1, 1, 1), np.uint8))
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a.npz").stat().st_mode) == mode


@pytest.mark.parametrize("dtype", [np.float32, np.complex64, object, "U1"])
def test_other_than_whole_numbers_are_refused(tmp_path, dtype):
    with pytest.raises(LabelMapError, match="whole numbers"):
        write_label_map(tmp_path / "a.npz", np.zeros((2, 2, 2)).astype(dtype))
    assert list(tmp_path.iterdir()) == []


def test_negative_labels_are_refused(tmp_path):
    with pytest.raises(LabelMapError, match="-4"):
        write_label_map(tmp_path / "a.npz", np.full((2, 2, 2), -4))


def test_failure_keeps_the_old_file_and_leaves_no_other(tmp_path, monkeypatch):
    write_label_map(tmp_path / "a.npz", np.ones((2, 2, 2), np.uint8))

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(temporary.os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_label_map(tmp_path / "a.npz", np.zeros((2, 2, 2), np.uint8))
    assert [file.name for file in tmp_path.iterdir()] == ["a.npz"]
    assert np.load(tmp_path / "a.npz")["segs"].all()


def test_folder_without_fsync_is_written_all_the_same(tmp_path, monkeypatch):
    def unknown(_: int) -> None:
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr(temporary.os, "fsync", unknown)
    write_label_map(tmp_path / "a.npz", np.ones((2, 2, 2), np.uint8))
    assert np.load(tmp_path / "a.npz")["segs"].all()


def test_longest_file_name_there_is(tmp_path):
    path = tmp_path / ("n" * 251 + ".npz")
    write_label_map(path, np.ones((2, 2, 2), np.uint8))
    assert [file.name for file in tmp_path.iterdir()] == [path.name]

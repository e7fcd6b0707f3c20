"""The shape of a volume in a broken archive: in bounded time and memory, whatever others do to the file."""

import os
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from vesal.inference.io import local_headers as module
from vesal.inference.io.formats import read_shape
from vesal.inference.io.local_headers import shape_in_local_headers

SHAPE = (5, 6, 7)
GIGABYTE = 1 << 30


def broken(path: Path, before: bytes = b"") -> Path:
    """An npz without its table, its volume behind `before` and another array."""
    np.savez_compressed(path, gts=np.zeros(SHAPE, np.uint8), imgs=np.zeros(SHAPE, np.uint8))
    content = path.read_bytes()
    path.write_bytes(b"PK\x03\x04" + before + content[: content.index(b"PK\x01\x02")])
    return path


def found(path: Path) -> tuple[int, ...] | None:
    """The shape, and the file's position as before."""
    with path.open("rb") as file:
        file.seek(3)
        shape = shape_in_local_headers(file, "imgs")
        assert file.tell() == 3
    return shape


@pytest.mark.parametrize("portion", [60, 61, 64, 100, 1 << 20])
def test_a_header_across_two_portions_is_found(
    tmp_path: Path, portion: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PORTION_BYTES", portion)
    for shift in range(70):
        assert found(broken(tmp_path / "a.npz", bytes(shift))) == SHAPE


def test_a_hole_of_64_gigabytes_takes_neither_time_nor_memory(tmp_path: Path) -> None:
    """It was mapped: 107 s in one call that lets no other thread run, and 15 GB resident."""
    path = broken(tmp_path / "a.npz")
    tail = path.read_bytes()
    path.write_bytes(b"PK\x03\x04")
    with path.open("r+b") as file:
        file.seek(64 * GIGABYTE)
        file.write(tail)
    if path.stat().st_blocks * 512 > GIGABYTE:
        pytest.skip("this file system keeps no holes")
    started = time.process_time()
    tracemalloc.start()
    assert found(path) == SHAPE and read_shape(path) == SHAPE
    assert tracemalloc.get_traced_memory()[1] < 16e6
    tracemalloc.stop()
    os.truncate(path, 128 * GIGABYTE)
    os.truncate(path, 64 * GIGABYTE)
    assert found(path) is None
    assert time.process_time() - started < 5


def test_a_file_that_is_shortened_meanwhile_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A map of it kills the process with SIGBUS."""
    monkeypatch.setattr(module, "PORTION_BYTES", 4096)
    path = broken(tmp_path / "a.npz", bytes(100_000))
    read = os.pread

    def shortening(descriptor: int, length: int, offset: int) -> bytes:
        os.truncate(path, 9000)
        return read(descriptor, length, offset)

    monkeypatch.setattr(os, "pread", shortening)
    assert found(path) is None


def test_many_beginnings_of_members_are_not_all_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_CANDIDATES", 50)
    assert found(broken(tmp_path / "a.npz", b"PK\x03\x04" * 40)) == SHAPE
    assert found(broken(tmp_path / "a.npz", b"PK\x03\x04" * 60)) is None


def test_no_more_than_the_limit_is_searched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PORTION_BYTES", 1000)
    monkeypatch.setattr(module, "MAX_SEARCHED", 20_000)
    noise = np.random.default_rng(0).bytes(30_000)
    assert found(broken(tmp_path / "a.npz", noise[:10_000])) == SHAPE
    assert found(broken(tmp_path / "a.npz", noise)) is None

"""The archive that is written in parts, read by Python's zip module as the scorer's numpy does."""

import zipfile
from pathlib import Path

import numpy as np
import pytest

from vesal.inference.io import deflate
from vesal.inference.io.deflate import write_zip


def parts_of(seed: int) -> list[np.ndarray]:
    """Runs, zeros and noise of several lengths, an empty part among them."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(0, 5000, 40)
    kinds = [lambda n: np.zeros(n, np.uint8), lambda n: np.repeat(rng.integers(0, 9, n // 50 + 1), 50)[:n]]
    kinds.append(lambda n: rng.integers(0, 256, n))
    return [kinds[i % 3](n).astype(np.uint8) for i, n in enumerate(sizes)] + [np.zeros(0, np.uint8)]


def written(path: Path, parts: list[np.ndarray]) -> bytes:
    """The file's bytes after its content was read back and compared."""
    with path.open("w+b") as file:
        write_zip(file, "a.npy", parts)
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        assert archive.read("a.npy") == b"".join(part.tobytes() for part in parts)
        info = archive.infolist()[0]
        assert (info.date_time, info.external_attr >> 16) == ((1980, 1, 1, 0, 0, 0), 0o100644)
    return path.read_bytes()


@pytest.mark.parametrize("seed", range(5))
def test_the_content_comes_back(tmp_path: Path, seed: int) -> None:
    written(tmp_path / "a.zip", parts_of(seed))


def test_no_content_at_all(tmp_path: Path) -> None:
    written(tmp_path / "a.zip", [])


@pytest.mark.parametrize("limit", [10, 30_000, 100_000])
def test_sizes_beyond_32_bits_are_written_wide(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    """With the border lowered, sizes and the directory's place go where zip64 wants them; Python reads it."""
    monkeypatch.setattr(deflate, "LARGEST_32", limit)
    monkeypatch.setattr(
        deflate.struct, "pack", lambda form, *values: wide_pack(form, values, limit), raising=True
    )
    written(tmp_path / "a.zip", parts_of(1))


def wide_pack(form: str, values: tuple, limit: int) -> bytes:
    """``struct.pack`` that puts the real mark of zip64 where the lowered border stands."""
    import struct

    return struct.Struct(form).pack(*(0xFFFFFFFF if value == limit else value for value in values))

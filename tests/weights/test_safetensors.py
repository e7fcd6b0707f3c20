"""Files in the format safetensors, and pointers that lie in their place."""

import json
import re
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="published files are converted with torch")

from tests.weights.made_biomedparse_v import write_safetensors  # noqa: E402
from vesal.weights.convert.checkpoint import Checkpoint  # noqa: E402
from vesal.weights.convert.errors import CheckpointError, MissingTensorsError  # noqa: E402
from vesal.weights.convert.formats import open_weights  # noqa: E402
from vesal.weights.convert.safetensors import SafeTensors  # noqa: E402

POINTER = (
    "version https://git-lfs.github.com/spec/v1\n"
    "oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 1487349304\n"
)


def tensors() -> dict[str, Any]:
    return {"a.weight": torch.arange(6.0).reshape(2, 3) / 7, "b": torch.tensor(2.5), "c": torch.zeros(0, 3)}


@pytest.mark.parametrize("dtype", ["F32", "BF16"])
def test_tensors_are_read_as_they_were_written(tmp_path: Path, dtype: str) -> None:
    found = open_weights(write_safetensors(tensors(), tmp_path / "x.safetensors", dtype))
    assert isinstance(found, SafeTensors) and found.complete and not found.absent and found.step is None
    assert found.shapes == {name: tuple(value.shape) for name, value in tensors().items()}
    for name, value in tensors().items():
        wanted = value if dtype == "F32" else value.bfloat16().float()
        assert isinstance(found.read(name), np.ndarray), "a single number too"
        assert found.read(name).dtype == np.float32
        assert np.array_equal(found.read(name), wanted.numpy())


def test_whole_numbers_stay_whole_and_halves_become_floats(tmp_path: Path) -> None:
    values = {"n": np.arange(3, dtype="<i8"), "h": np.array([0.5, 1.5], "<f2"), "t": np.array([True, False])}
    header, end = {}, 0
    for (name, value), dtype in zip(values.items(), ("I64", "F16", "BOOL"), strict=True):
        offsets = [end, end + value.nbytes]
        header[name] = {"dtype": dtype, "shape": list(value.shape), "data_offsets": offsets}
        end += value.nbytes
    path = write(tmp_path, header, b"".join(value.tobytes() for value in values.values()))
    found = SafeTensors(path)
    assert [found.read(name).dtype for name in values] == [np.int64, np.float32, np.bool_]
    assert all(np.array_equal(found.read(name), value) for name, value in values.items())


def write(folder: Path, header: Any, data: bytes = b"") -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path = folder / "made.safetensors"
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


def entry(shape: list[int], first: int, last: int, dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [first, last]}


@pytest.mark.parametrize(
    ("header", "told"),
    [
        (b'{"a": ', "no JSON"),
        (b'{"a": 1, "a": 2}', "stands twice"),
        (b"[[1]]", "no JSON object"),
        ({}, "no tensor"),
        ({"a": entry([3], 0, 8)}, "entry of 'a'"),
        ({"a": entry([-2], 0, -8)}, "entry of 'a'"),
        ({"a": entry([2], 0, 8, "F8_E4M3")}, "entry of 'a'"),
        ({"a": {"dtype": "F32"}}, "entry of 'a'"),
        ({"a": entry([2], 0, 8), "b": entry([2], 4, 12)}, "'b' does not begin where"),
        ({"a": entry([1], 0, 4)}, "4 bytes lie behind the last tensor"),
    ],
)
def test_headers_that_make_no_sense_are_named(tmp_path: Path, header: Any, told: str) -> None:
    with pytest.raises(CheckpointError, match=re.escape(told)):
        SafeTensors(write(tmp_path, header, bytes(8)))


def test_a_header_longer_than_the_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.safetensors").write_bytes(struct.pack("<Q", 1 << 40) + b"{}")
    with pytest.raises(CheckpointError, match="no length of a header"):
        open_weights(tmp_path / "x.safetensors")


def test_a_cut_file_has_shapes_and_no_values(tmp_path: Path) -> None:
    path = write_safetensors(tensors(), tmp_path / "x.safetensors")
    path.write_bytes(path.read_bytes()[:-3])
    found = open_weights(path)
    assert not found.complete and set(found.absent) == {"b", "c"} and found.shapes["a.weight"] == (2, 3)
    with pytest.raises(MissingTensorsError, match="ends too early"):
        found.read("a.weight")


def test_the_content_tells_the_format_and_not_the_name(tmp_path: Path) -> None:
    assert isinstance(open_weights(write_safetensors(tensors(), tmp_path / "x.ckpt")), SafeTensors)
    torch.save({"state_dict": tensors(), "global_step": 7}, tmp_path / "y.bin")
    found = open_weights(tmp_path / "y.bin")
    assert isinstance(found, Checkpoint) and found.step == 7 and set(found.shapes) == set(tensors())


@pytest.mark.parametrize("name", ["x.ckpt", "x.safetensors", "x.pth"])
def test_a_pointer_of_git_lfs_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(POINTER)
    for reader in (open_weights, Checkpoint):
        with pytest.raises(CheckpointError, match=rf"{name} is a pointer of Git LFS.*1,487,349,304 bytes"):
            reader(tmp_path / name)


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="cannot be read"):
        open_weights(tmp_path / "none.safetensors")

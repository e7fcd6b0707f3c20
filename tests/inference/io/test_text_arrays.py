"""Text of numpy's arrays: what is no character is replaced where it arises, and is an error nowhere else."""

import itertools
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest

from vesal.inference.data.errors import VesalError
from vesal.inference.io.formats import open_case
from vesal.inference.io.text_arrays import plain_list
from vesal.inference.prompts.parser import parse_case

KEYS = ("text_prompts", "spacing", "boxes", "clicks", "prev_pred")
TYPES = {
    "<U4": 16,
    ">U4": 16,
    "|S4": 4,
    "<U0": 0,
    "|S0": 0,
    "<U1": 4,
    "|V4": 4,
    "<M8[s]": 8,
    "<f16": 16,
    "|O": 3,
}
SHAPES = {"()": 1, "(0,)": 0, "(1,)": 1, "(3,)": 3, "(2, 0)": 0, "(1, 1, 1)": 1}


@pytest.mark.parametrize("order", "<>")
def test_what_is_no_character_is_replaced(order: str) -> None:
    """numpy itself raises SystemError, or gives a string whose use raises UnicodeDecodeError."""
    array = np.array([[ord("a"), 0x110000], [0xFFFFFFFF, ord("b")]], f"{order}u4").view(f"{order}U2")
    found = plain_list(array[:, 0])
    assert found == ["a\ufffd", "\ufffdb"]
    assert array.view(f"{order}u4")[0, 1] == 0x110000  # what was given stays as it is


def test_bytes_are_utf_8_and_numbers_stay() -> None:
    assert plain_list(np.array(["höhe".encode(), b"\xff"])) == ["höhe", "\ufffd"]
    assert plain_list(np.array("liver")) == "liver"
    assert plain_list(np.ones((2, 1))) == [[1.0], [1.0]]
    assert plain_list(np.empty(0, "U3")) == [] and plain_list(np.empty(0, "S3")) == []


def contents(size: int) -> list[bytes]:
    """Zeros, ones, noise and half characters."""
    noise = np.random.default_rng(0).bytes(size)
    return [bytes(size), b"\xff" * size, noise, (b"\x00\xd8\x00\x00" * size)[:size], b"N." + b"." * 10]


@pytest.mark.parametrize("key", KEYS)
def test_any_small_array_is_read_or_refused_by_name(tmp_path: Path, key: str) -> None:
    arrays = {
        "imgs": np.zeros((2, 3, 4), np.uint8),
        "spacing": np.ones(3),
        "text_prompts": np.array({"1": "liver"}, object),
    }
    path = tmp_path / "a.npz"
    np.savez(path, **{name: value for name, value in arrays.items() if name != key})
    others = path.read_bytes()
    for (descr, size), (shape, count) in itertools.product(TYPES.items(), SHAPES.items()):
        text = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
        header = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode()
        for data in contents(size * count):
            path.write_bytes(others)
            with zipfile.ZipFile(path, "a") as archive:
                archive.writestr(f"{key}.npy", header + data)
            try:
                with open_case(path) as reader:
                    case = reader.read()
                    reader.read_user_prompts(case.sentences, case.image.shape, case.instance)
                parse_case(case)
            except VesalError:
                continue

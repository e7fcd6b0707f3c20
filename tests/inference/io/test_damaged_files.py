"""Files of every format with bytes changed, cut or put in: read, or refused by a named error."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

from tests.inference.io.written import made_volume, stored_as, with_prompts, write_nifti
from tests.inference.io.written_dicom import slice_of
from vesal.inference.data.errors import CaseError
from vesal.inference.data.orientation import CANONICAL
from vesal.inference.io.formats import open_case
from vesal.inference.io.label_writer import write_label_map

NAMES = ("a.nii", "a.nii.gz", "a.nrrd", "a.mha", "a.tif", "a.ome.tif", "a.dcm", "a.zip")


def sound(folder: Path, name: str) -> bytes:
    """A file that can be read."""
    path = with_prompts(folder / name)
    if name.startswith("a.nii"):
        write_nifti(path, made_volume("i2"))
    elif name == "a.dcm":
        slice_of(made_volume("i2")[0], stored_as(CANONICAL, made_volume())[1], 0).save_as(
            path, enforce_file_format=True
        )
    elif name == "a.zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for at, pixels in enumerate(made_volume("i2")):
                content = io.BytesIO()
                axes = stored_as(CANONICAL, made_volume())[1]
                slice_of(pixels, axes, at).save_as(content, enforce_file_format=True)
                archive.writestr(f"{at}", content.getvalue())
    else:
        write_label_map(path, made_volume("u2"))
    return path.read_bytes()


def damaged(content: bytes, rng: np.random.Generator) -> bytes:
    """One to four changes, most of them in the header."""
    data = bytearray(content)
    for _ in range(rng.integers(1, 5)):
        at = int(rng.integers(0, min(len(data), 600 if rng.random() < 0.7 else len(data)) or 1))
        kind = rng.integers(0, 4)
        if kind == 0:
            data[at : at + 1] = rng.bytes(1)
        elif kind == 1:
            data[at : at + 4] = rng.choice([b"\xff" * 4, b"\0" * 4, b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f"])
        elif kind == 2:
            del data[at:]
        else:
            data[at:at] = rng.bytes(3)
        if not data:
            break
    return bytes(data)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.filterwarnings("ignore")
def test_a_damaged_file_is_read_or_has_a_named_error(tmp_path: Path, name: str) -> None:
    content, rng = sound(tmp_path, name), np.random.default_rng(7)
    path = tmp_path / name
    with open_case(path) as reader:
        assert reader.read().image.size
    refused = 0
    for _ in range(80):
        path.write_bytes(damaged(content, rng))
        with open_case(path) as reader:
            shape, _ = reader.shape, reader.header
            assert shape is None or len(shape) == 3
            try:
                reader.read()
            except CaseError as error:
                refused += 1
                assert str(error)
    assert refused

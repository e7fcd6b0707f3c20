"""The demo's two readers, on files made here."""

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from demo.volumes import read_nifti, read_tiff

VOLUME = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)


def write_nifti(path: Path, kind: int = 2, header_size: int = 348) -> None:
    header = bytearray(352)
    struct.pack_into("<i", header, 0, header_size)
    struct.pack_into("<4h", header, 40, 3, 4, 3, 2)
    struct.pack_into("<h", header, 70, kind)
    struct.pack_into("<f", header, 112, 1.0)
    path.write_bytes(gzip.compress(bytes(header) + VOLUME.tobytes()))


def test_tiff_pages_become_the_first_axis(tmp_path: Path) -> None:
    pages = [Image.fromarray(page.astype(np.uint16) * 1000) for page in VOLUME]
    pages[0].save(tmp_path / "stack.tif", save_all=True, append_images=pages[1:])
    found = read_tiff(tmp_path / "stack.tif")
    assert found.dtype == np.uint16
    np.testing.assert_array_equal(found, VOLUME.astype(np.uint16) * 1000)


def test_nifti_comes_in_zyx_order(tmp_path: Path) -> None:
    write_nifti(tmp_path / "volume.nii.gz")
    np.testing.assert_array_equal(read_nifti(tmp_path / "volume.nii.gz"), VOLUME)


@pytest.mark.parametrize(("change", "word"), [({"kind": 16}, "type 16"), ({"header_size": 540}, "NIfTI-1")])
def test_nifti_of_another_kind_is_refused(tmp_path: Path, change: dict[str, int], word: str) -> None:
    write_nifti(tmp_path / "volume.nii.gz", **change)
    with pytest.raises(ValueError, match=word):
        read_nifti(tmp_path / "volume.nii.gz")

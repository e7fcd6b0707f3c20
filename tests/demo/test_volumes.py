"""The demo's reader of stacks, on a file made here; its NIfTI files are read by `io.nifti`."""

from pathlib import Path

import numpy as np
from PIL import Image

from vesal.demo.volumes import read_tiff

VOLUME = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)


def test_tiff_pages_become_the_first_axis(tmp_path: Path) -> None:
    pages = [Image.fromarray(page.astype(np.uint16) * 1000) for page in VOLUME]
    pages[0].save(tmp_path / "stack.tif", save_all=True, append_images=pages[1:])
    found = read_tiff(tmp_path / "stack.tif")
    assert found.dtype == np.uint16
    np.testing.assert_array_equal(found, VOLUME.astype(np.uint16) * 1000)

"""PNGs as an independent reader has them."""

import io

import numpy as np
import pytest
from PIL import Image

from vesal.inference.output.page.png import gray_indices, gray_palette, palette_png


@pytest.mark.parametrize("colours", [2, 3, 16, 17, 256])
def test_pixels_come_back_in_each_bit_depth(colours: int) -> None:
    """Odd widths too, whose last byte of a row is not full."""
    indices = np.random.default_rng(colours).integers(0, colours, (5, 13)).astype(np.uint8)
    palette = [(i, 255 - i, i // 2) for i in range(colours)]
    with Image.open(io.BytesIO(palette_png(indices, palette))) as picture:
        assert np.array_equal(np.asarray(picture.convert("RGB")), np.array(palette, np.uint8)[indices])


def test_the_first_colours_may_be_transparent() -> None:
    """The others are opaque."""
    png = palette_png(np.array([[0, 1, 2]], np.uint8), [(0, 0, 0), (0, 0, 0), (9, 8, 7)], (0, 170))
    with Image.open(io.BytesIO(png)) as picture:
        assert np.asarray(picture.convert("RGBA"))[0].tolist() == [
            [0, 0, 0, 0],
            [0, 0, 0, 170],
            [9, 8, 7, 255],
        ]


def test_grays_are_near_the_volume() -> None:
    """Black is black, white is white, and none is off by more than half a step."""
    values = np.arange(256)
    grays = np.array(gray_palette())[gray_indices(values), 0]
    assert grays[0] == 0 and grays[255] == 255
    assert np.abs(grays - values).max() <= 255 / 47 / 2 + 1

"""Bicubic resizing of bytes, against torch's own kernel and without it."""

import numpy as np
import pytest

from vesal.inference.geometry.byte_bicubic import resize

SHAPES = [((40, 50), (96, 96)), ((1, 70), (33, 64)), ((90, 31), (20, 24)), ((7, 7), (7, 7)), ((2, 3), (5, 1))]


def planes(shape: tuple[int, int], dtype: type = np.uint8) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (3, *shape)).astype(dtype)


@pytest.mark.parametrize(("shape", "wanted"), SHAPES)
def test_bytes_are_torchs_to_the_last_bit(shape: tuple[int, int], wanted: tuple[int, int]) -> None:
    torch = pytest.importorskip("torch", reason="the kernel is torch's")
    given = planes(shape)
    theirs = torch.nn.functional.interpolate(torch.from_numpy(given)[None], wanted, mode="bicubic")
    assert np.array_equal(resize(given, wanted), theirs[0].numpy())


@pytest.mark.parametrize(("shape", "wanted"), SHAPES)
def test_zeros_around_count_like_pixels(shape: tuple[int, int], wanted: tuple[int, int]) -> None:
    given, zeros = planes(shape), ((2, 5), (0, 3))
    assert np.array_equal(resize(given, wanted, zeros), resize(np.pad(given, ((0, 0), *zeros)), wanted))


def test_each_pass_rounds_and_cuts() -> None:
    """A step from 0 to 255, doubled: floats reach from -27 to 282, and 255 * 0.2266 is 58."""
    step = np.array([[[0, 0, 255, 255]]], np.uint8)
    assert resize(step, (1, 8)).tolist() == [[[0, 0, 0, 58, 197, 255, 255, 255]]]
    wide = resize(step.astype(np.float32), (1, 8))
    assert wide.min() < 0 and wide.max() > 255


def test_planes_of_the_size_are_not_touched() -> None:
    for dtype in (np.uint8, np.float32):
        given = planes((6, 6), dtype)
        assert resize(given, (6, 6)) is given

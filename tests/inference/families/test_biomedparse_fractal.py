"""Fractal Volumetric Encoding: recorded images, and those that a hand can make."""

from pathlib import Path

import numpy as np
import pytest

from vesal.inference.families.biomedparse.fractal import (
    HALVINGS,
    fractal_images,
    mixed,
    side_multiple,
    slices_per_side,
)
from vesal.inference.stages.window_input import _inside


def with_context(volume: np.ndarray, order: int, border: str) -> np.ndarray:
    """All slices of a volume and what stands beyond its ends."""
    reach = slices_per_side(order)
    return volume[_inside(np.arange(-reach, len(volume) + reach), len(volume), border)]


@pytest.mark.parametrize("halving", HALVINGS)
@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_recorded_images(order: int, halving: str, shared: Path) -> None:
    """The ends repeat, as in the paper."""
    with np.load(shared / "fixtures/biomedparse_v/fve.npz") as stored:
        images = fractal_images(with_context(stored["vol"], order, "edge"), order, halving)
        for place in (0, 1, 8, 16):
            np.testing.assert_allclose(images[place], stored[f"{halving}_k{order}_i{place}"], atol=1e-4)


def test_the_released_packing(shared: Path) -> None:
    """Order 1, mirrored at the ends."""
    with np.load(shared / "fixtures/biomedparse_v/fve.npz") as stored:
        images = fractal_images(with_context(stored["vol"], 1, "reflect"), 1)
        assert np.array_equal(images, stored["released_k1_packed"])


@pytest.mark.parametrize("border", ["edge", "reflect"])
def test_one_slice_is_its_own_neighbour(border: str) -> None:
    slice_ = np.arange(16, dtype=np.float32).reshape(1, 4, 4)
    for order in (1, 2, 3):
        (image,) = fractal_images(with_context(slice_, order, border), order)
        assert image.shape == (3, 4, 4)
        assert np.array_equal(image[0], slice_[0]) and np.array_equal(image[1], image[2])


def test_numbers_of_the_paper() -> None:
    """Section 3.2: 3k - 2 slices a side, 6k - 3 in all."""
    assert [slices_per_side(order) for order in (1, 2, 3)] == [1, 4, 7]
    assert [side_multiple(order) for order in (1, 2, 3)] == [1, 2, 4]


def test_four_images_are_mixed_pixel_by_pixel() -> None:
    one = np.array([[[1, 2]], [[3, 4]], [[5, 6]], [[7, 8]]])
    assert mixed(list(one)).tolist() == [[1, 3, 2, 4], [5, 7, 6, 8]]


def test_order_2_holds_four_slices_a_side_the_nearest_first() -> None:
    """Slices of one value each: every square of four pixels is 1, 2, 3 and 4 steps away."""
    values = np.arange(9, dtype=np.uint8)
    (image,) = fractal_images(np.broadcast_to(values[:, None, None], (9, 4, 4)).copy(), 2)
    assert (image[0] == 4).all()
    assert image[1][:2, :2].tolist() == [[3, 2], [1, 0]]
    assert image[2][:2, :2].tolist() == [[5, 6], [7, 8]]

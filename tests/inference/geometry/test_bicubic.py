"""Bicubic resampling: weights by hand, torch's own values, the recorded masks, and planes that stay alone."""

from pathlib import Path

import numpy as np
import pytest

from vesal.inference.geometry.bicubic import bicubic, bicubic_weights


def planes(count: int, height: int, width: int) -> np.ndarray:
    """(N, h, w) float32 logits with a fixed seed."""
    return np.random.default_rng(2).normal(0, 5, (count, height, width)).astype(np.float32)


def test_the_kernels_half_way_between_inputs() -> None:
    """Every second input left out: each output lies between two; by hand from Keys' formula."""
    halves = bicubic_weights(8, 4, antialias=False).dense()[1]
    np.testing.assert_array_equal(halves, [0, -0.09375, 0.59375, 0.59375, -0.09375, 0, 0, 0])
    softer = bicubic_weights(8, 4, antialias=False, a=-0.5).dense()[1]
    np.testing.assert_array_equal(softer, [0, -0.0625, 0.5625, 0.5625, -0.0625, 0, 0, 0])


def test_the_border_is_repeated_without_antialias_and_left_out_with_it() -> None:
    """Place -1/4 of two inputs, a = -0.75 and -0.5, worked out by hand."""
    plain = bicubic_weights(2, 4, antialias=False).dense()[0]
    np.testing.assert_allclose(plain, [1.10546875, -0.10546875], atol=1e-7)
    inside = np.array([0.8671875, -0.0703125])
    smooth = bicubic_weights(2, 4).dense()[0]
    np.testing.assert_allclose(smooth, inside / inside.sum(), atol=1e-7)


@pytest.mark.parametrize("antialias", [True, False])
@pytest.mark.parametrize(
    ("size", "to"),
    [((32, 32), (128, 128)), ((5, 7), (3, 9)), ((1, 1), (4, 5)), ((3, 2), (1, 1)), ((90, 37), (128, 11))],
)
def test_as_torch_has_it(size: tuple[int, int], to: tuple[int, int], antialias: bool) -> None:
    torch = pytest.importorskip("torch")
    values = planes(3, *size)
    expected = torch.nn.functional.interpolate(
        torch.tensor(values, dtype=torch.float64)[None], to, mode="bicubic", antialias=antialias
    )[0]
    np.testing.assert_allclose(bicubic(values, to, antialias), expected, atol=4e-6)


def test_one_column_from_a_row_is_a_column_of_its_own() -> None:
    """torch 2 goes wrong here: with antialias and an output one column wide it repeats the first row."""
    values = planes(1, 2, 3)
    by_axis = bicubic(bicubic(values, (2, 1)), (4, 1))
    np.testing.assert_allclose(bicubic(values, (4, 1)), by_axis, atol=2e-6)
    assert np.ptp(by_axis) > 0.1


def test_recorded_masks(shared: Path) -> None:
    with np.load(shared / "fixtures" / "biomedparse_v" / "post_io.npz") as recorded:
        given = recorded["up_in"]
        for name, antialias in (("up_aa_out", True), ("up_noaa_out", False)):
            if name in recorded:
                found = bicubic(given.reshape(-1, *given.shape[2:]), (128, 128), antialias)
                np.testing.assert_allclose(found.reshape(recorded[name].shape), recorded[name], atol=1e-5)


def test_a_plane_gives_the_same_bytes_beside_any_other() -> None:
    values = planes(3, 9, 11)
    values[1] *= 1e4
    together = bicubic(values, (40, 17))
    for alone, plane in zip(values, together, strict=True):
        np.testing.assert_array_equal(bicubic(alone[None], (40, 17))[0], plane)
    assert bicubic(values[:0], (40, 17)).shape == (0, 40, 17)

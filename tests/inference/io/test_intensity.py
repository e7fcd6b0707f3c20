"""Intensities of any numeric type become uint8 as in the challenge, and the note says how."""

import numpy as np
import pytest

from vesal.inference.data.errors import IntensityError
from vesal.inference.io.intensity import check_dtype, to_uint8


def test_uint8_stays_and_needs_no_note():
    image = np.arange(8, dtype=np.uint8).reshape(2, 2, 2)
    result, note = to_uint8("a", image)
    assert result is image
    assert note is None


def test_percentiles_of_the_nonzero_voxels_by_hand():
    # Nonzero voxels 1..201: the 0.5 percentile is the 2nd (2), the 99.5 percentile the 200th (200).
    image = np.concatenate([np.zeros(799), np.arange(1, 202)]).astype(np.int16).reshape(10, 10, 10)
    result, note = to_uint8("a", image)
    assert result.dtype == np.uint8
    assert result.ravel()[0] == 0  # 0 is clipped to 2
    assert result.ravel()[799] == 0
    assert result.ravel()[-1] == 255  # 201 is clipped to 200
    assert result.ravel()[799 + 100] == int((101 - 2) / 198 * 255)
    assert "2..200" in note and "int16" in note and "0 to 201" in note and "percentile" in note


def test_negative_values_keep_their_order():
    image = np.linspace(-1000, 1000, 2001).astype(np.float32).reshape(3, 23, 29)
    flat = to_uint8("a", image)[0].ravel().astype(int)
    assert np.all(np.diff(flat) >= 0)
    assert (flat[0], flat[-1]) == (0, 255)
    assert flat[1000] in (127, 128)  # water is in the middle, not black


def test_float_that_spans_0_to_255_in_whole_numbers_is_kept():
    image = np.array([0, 255, 3, 77], np.float32).reshape(1, 2, 2)
    result, note = to_uint8("a", image)
    assert result.ravel().tolist() == [0, 255, 3, 77]
    assert "kept" in note


@pytest.mark.parametrize("dtype", [bool, np.float16, np.int64])
def test_binary_mask_becomes_0_and_255(dtype):
    image = np.zeros((2, 3, 4), dtype)
    image[1] = 1
    result, note = to_uint8("a", image)
    assert sorted(set(result.ravel().tolist())) == [0, 255]
    assert "minimum and maximum" in note


@pytest.mark.parametrize("value", [0, 7, -3.5])
def test_constant_volume_becomes_0_without_dividing(value):
    with np.errstate(all="raise"):
        result, note = to_uint8("a", np.full((2, 2, 2), value, np.float64))
    assert result.dtype == np.uint8 and not result.any()
    assert "constant" in note


def test_widest_range_does_not_overflow():
    image = np.array([-1.7e308, 0, 1.7e308, 1]).reshape(1, 2, 2)
    with np.errstate(over="raise", invalid="raise"):
        result, _ = to_uint8("a", image)
    assert result[0, 0, 0] == 0 and result[0, 1, 0] == 255


def test_nan_and_infinity_are_background():
    image = np.arange(24, dtype=np.float32).reshape(2, 3, 4) + 5
    image[0, 0, :3] = np.nan
    image[1, 1, 1], image[1, 1, 2] = -np.inf, np.inf
    result, note = to_uint8("a", image)
    assert not result[~np.isfinite(image)].any()
    assert result[1, 2, 3] == 255 and (np.diff(result[0].ravel().astype(int))[3:] > 0).all()
    assert "5 voxels that are NaN or infinite" in note
    with pytest.raises(IntensityError, match="no finite number"):
        to_uint8("a", np.full((2, 2, 2), np.nan))


@pytest.mark.parametrize("value", [-32768, -2048])
def test_padding_is_background(value):
    """Else it takes the lower percentile, and all that was measured is white."""
    rng = np.random.default_rng(0)
    image = rng.integers(1, 1500, (10, 20, 20)).astype(np.int16)
    padded = image.copy()
    padded[:, :5] = value
    result, note = to_uint8("a", padded)
    assert not result[:, :5].any()
    inside = result[:, 5:].astype(int) - to_uint8("a", image)[0][:, 5:]
    assert np.abs(inside).max() <= 2
    assert f"1000 voxels of {value}" in note


def test_a_smallest_value_that_is_near_or_rare_is_no_padding():
    image = np.arange(-100, 900, dtype=np.int16).reshape(10, 10, 10)
    near = np.where(image < 0, -100, image).astype(np.int16)
    rare = image.copy()
    rare[0, 0, 0] = -30000
    for volume in (near, rare):
        assert "background" not in to_uint8("a", volume)[1]


def test_floats_that_are_grey_values_over_255_are_kept():
    grey = np.arange(256, dtype=np.uint8).reshape(4, 8, 8)
    for dtype in (np.float16, np.float32, np.float64):
        result, note = to_uint8("a", grey.astype(dtype) / dtype(255))
        np.testing.assert_array_equal(result, grey)
        assert "1/255" in note


@pytest.mark.parametrize("dtype", ["O", "c8", "U3", "S3", "M8[s]", [("r", "u1")]])
def test_other_types_are_refused(dtype):
    with pytest.raises(IntensityError, match="numbers are wanted"):
        check_dtype("a", np.dtype(dtype))

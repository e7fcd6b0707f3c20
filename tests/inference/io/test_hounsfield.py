"""Hounsfield units are told by the numbers of a volume, and shown in a window; other numbers are not."""

import numpy as np
import pytest

from tests.inference.made_ct import FROM_CENTRE, SHAPE, body, shown
from vesal.inference.io.hounsfield import SOFT_TISSUE, Window, hounsfield_offset
from vesal.inference.io.intensity import prepare

RNG = np.random.default_rng(0)
PADDED = np.broadcast_to(FROM_CENTRE > 19, SHAPE)


@pytest.mark.parametrize("padding", [-2048, -3024, -32768, -1024])
@pytest.mark.parametrize("dtype", [np.int16, np.float32, np.float64])
def test_hounsfield_units_are_windowed_with_or_without_padding(dtype, padding):
    volume = body()
    padded = np.where(PADDED, padding, volume).astype(dtype)
    grey, notes, hounsfield = prepare("a", padded)
    assert hounsfield
    np.testing.assert_array_equal(grey, shown(np.where(PADDED, -1024, volume)))
    assert "Hounsfield units" in notes[-1] and "soft tissue window, -160 to 240 HU" in notes[-1]


def test_air_of_one_value_far_from_all_others_is_no_padding():
    """A body that was cut out: were -1000 replaced by the smallest value inside, air would be grey."""
    volume = np.where(body() < -200, -1000, body().clip(0, 150)).astype(np.int16)
    grey, _, hounsfield = prepare("a", volume)
    assert hounsfield
    np.testing.assert_array_equal(grey, shown(volume))


def test_nan_outside_of_the_body_is_background():
    volume = np.where(PADDED, np.nan, body()).astype(np.float32)
    grey, notes, hounsfield = prepare("a", volume)
    assert hounsfield and not grey[PADDED].any() and "NaN" in notes[0]


@pytest.mark.parametrize("dtype", [np.uint16, np.int16, np.float32])
def test_unsigned_numbers_of_a_scanner(dtype):
    volume = body()
    raw = (volume.clip(-1024) + 1024).astype(dtype)
    for is_ct in (False, True):
        grey, notes, hounsfield = prepare("a", raw, is_ct=is_ct)
        assert hounsfield and "plus 1024" in notes[-1]
        np.testing.assert_array_equal(grey, shown(volume))


def test_a_crop_without_air_is_ct_where_that_is_said():
    crop = body()[:, 15:25, 15:25].clip(-160, 240)
    assert hounsfield_offset(crop, is_ct=False) is None
    assert hounsfield_offset(crop, is_ct=True) == 0


def test_what_is_said_to_be_no_ct_is_rescaled():
    _, notes, hounsfield = prepare("a", body(), may_be_ct=False)
    assert not hounsfield and "percentiles" in notes[-1]


def test_a_window():
    assert Window("lung", 1500, -160).ends == (-910, 590)
    grey, notes, _ = prepare("a", body(), is_ct=True, window=Window("bone", 1800, 400))
    assert "bone window, -500 to 1300 HU" in notes[-1]
    assert grey[0, 14, 14] == int((int(body()[0, 14, 14]) + 500) / 1800 * 255)
    assert SOFT_TISSUE.ends == (-160, 240)


OTHERS = {
    "MR": RNG.gamma(2, 250, SHAPE) * (RNG.random(SHAPE) > 0.3),
    "SUV": RNG.gamma(0.5, 2, SHAPE),
    "z scores": RNG.normal(0, 1, SHAPE),
    "symmetric": RNG.uniform(-32768, 32767, SHAPE),
    "phases": RNG.uniform(-4096, 4096, SHAPE),
    "0 to 1": RNG.random(SHAPE),
}


@pytest.mark.parametrize("which", OTHERS)
def test_other_numbers_are_none(which):
    assert hounsfield_offset(OTHERS[which], is_ct=False) is None


def test_a_window_that_was_rescaled_to_12_bits_is_none():
    wide = np.round(shown(body()) * (4095 / 255)).astype(np.uint16)
    assert hounsfield_offset(wide, is_ct=True) is None


def test_grey_values_of_ct_in_a_wider_type_are_none():
    grey = shown(body())
    for volume in (grey.astype(np.int16), grey / np.float32(255)):
        result, _, hounsfield = prepare("a", volume, is_ct=True)
        assert not hounsfield
        np.testing.assert_array_equal(result, grey)


def test_uint8_is_the_same_array():
    image = np.zeros((2, 2, 2), np.uint8)
    assert prepare("a", image)[0] is image and prepare("a", image)[1:] == ((), False)

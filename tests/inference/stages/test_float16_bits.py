"""Half precision on integers gives what numpy's half precision is."""

import numpy as np
import pytest

from vesal.inference.stages.float16_bits import MIN_NORMAL, float16_bits, from_bits, round_to_float16, to_bits


def testhalf_bits_are_halves() -> None:
    """Every step of half precision from 2^-14 to 2, and what lies between two of them."""
    halves = np.arange(0x0400, 0x4001, dtype=np.uint16).view(np.float16)
    np.testing.assert_array_equal(float16_bits(halves), halves.view(np.uint16))
    between = np.random.default_rng(0).uniform(2.0**-14, 1.5, 100_000).astype(np.float32)
    # Halfway numpy rounds to the even neighbour, and we round up.
    between = between[between.view(np.uint32) & 0x1FFF != 0x1000]
    np.testing.assert_array_equal(float16_bits(between).view(np.float16), between.astype(np.float16))


def test_rounding_is_that_of_halves() -> None:
    values = np.random.default_rng(1).uniform(0, 1.2, 100_000).astype(np.float32)
    values = values[(values.view(np.uint32) & 0x1FFF != 0x1000) & (values >= MIN_NORMAL)]
    np.testing.assert_array_equal(round_to_float16(values), values.astype(np.float16).astype(np.float32))
    np.testing.assert_array_equal(round_to_float16(round_to_float16(values)), round_to_float16(values))


@pytest.mark.parametrize("nothing", [0.0, -0.0, MIN_NORMAL / 2, -0.5, np.nan])
def test_what_is_no_probability_becomes_zero(nothing: float) -> None:
    result = round_to_float16(np.array([nothing, 0.5], np.float32))
    np.testing.assert_array_equal(result, [0, 0.5])


def test_bits_go_there_and_back() -> None:
    values = round_to_float16(np.random.default_rng(2).uniform(-0.1, 1.0, (7, 11, 13)).astype(np.float32))
    values[0] = 0
    np.testing.assert_array_equal(from_bits(to_bits(values)), values)
    np.testing.assert_array_equal(to_bits(values).view(np.float16), values.astype(np.float16))

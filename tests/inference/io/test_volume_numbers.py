"""Numbers of a volume: facts, percentiles and uint8, as numpy has them, without copies of the volume."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as made

from vesal.inference.io import order_statistics as module
from vesal.inference.io import volume_numbers
from vesal.inference.io.intensity import prepare
from vesal.inference.io.order_statistics import order_statistics
from vesal.inference.io.volume_numbers import VolumeNumbers, finite_numbers

FLOATS = st.floats(allow_nan=False, allow_infinity=False, width=64)
TYPES = ["i2", ">i2", "u2", "i4", "u8", "f2", "f4", ">f4", "f8"]


@given(made.arrays(np.float64, st.integers(1, 300), elements=FLOATS), st.integers(0, 3), st.data())
def test_order_statistics_are_those_of_sorting(values: np.ndarray, held: int, data: st.DataObject) -> None:
    """Also where all digits have to be counted, as no number may be held."""
    ranks = data.draw(st.lists(st.integers(0, len(values) - 1), min_size=1, max_size=5))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(module, "MAX_HELD", held)
        found = order_statistics(lambda count: [count(part) for part in np.array_split(values, 3)], ranks)
    np.testing.assert_array_equal(found, np.sort(values)[ranks])


@pytest.mark.parametrize("dtype", TYPES)
def test_percentiles_are_those_of_numpy(dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(volume_numbers, "SLAB_VOXELS", 777)
    rng = np.random.default_rng(0)
    for scale in (3, 900, 7000):
        image = rng.normal(0, scale, (11, 23, 29)).clip(0 if dtype[-2] == "u" else -scale * 9).astype(dtype)
        nonzero = image[image != 0].astype(np.float64)
        found = VolumeNumbers(image).nonzero_percentiles((0.5, 50.0, 99.5))
        assert found == np.percentile(nonzero, (0.5, 50.0, 99.5)).tolist()


def test_an_outlier_and_many_equal_numbers_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_HELD", 10)
    image = np.full((10, 20, 30), 0.1)
    image[0, 0, :10], image[5] = [1e300, -1e300] * 5, 0.7
    nonzero = image[image != 0]
    found = VolumeNumbers(image).nonzero_percentiles((0.5, 99.5))
    assert found == np.percentile(nonzero, (0.5, 99.5)).tolist()


def test_of_nothing_but_zeros_there_are_no_percentiles() -> None:
    assert VolumeNumbers(np.zeros((2, 2, 2), np.int16)).nonzero_percentiles((0.5, 99.5)) == [0.0, 0.0]


def test_numbers_below_the_floor_count_as_it() -> None:
    image = np.array([-3024.0, -1000, np.nan, 40, np.inf, 12, 7, 9]).reshape(2, 2, 2)
    numbers = VolumeNumbers(image)
    assert (numbers.facts.nan, numbers.facts.infinite) == (1, 1)
    assert (numbers.facts.low, numbers.facts.high, numbers.facts.whole) == (-3024, 40, False)
    numbers.set_floor(-1000)
    assert numbers.sampled(1).ravel().tolist() == [-1000, -1000, -1000, 40, -1000, 12, 7, 9]
    assert (numbers.facts.low, numbers.facts.nan, numbers.facts.whole) == (-1000, 0, True)
    assert np.isnan(image).sum() == 1  # what was given stays as it is


SHAPE = (64, 256, 256)
MADE = {
    "int16, Hounsfield": lambda rng: rng.integers(-1000, 1500, SHAPE, np.int16),
    "int16, no Hounsfield": lambda rng: rng.integers(0, 9000, SHAPE, np.int16),
    "padding": lambda rng: np.where(rng.random(SHAPE) < 0.2, -32768, rng.integers(0, 900, SHAPE)).astype(
        "i2"
    ),
    "float32": lambda rng: rng.random(SHAPE, np.float32),
    "float32, NaN": lambda rng: np.where(rng.random(SHAPE) < 0.2, np.nan, rng.random(SHAPE)).astype("f4"),
    "float64": lambda rng: rng.random(SHAPE),
    "float64, shares": lambda rng: rng.integers(0, 256, SHAPE) / 255.0,
    "float64, kept": lambda rng: rng.integers(0, 256, SHAPE).astype(np.float64),
    "F-order": lambda rng: np.asfortranarray(rng.random(SHAPE, np.float32)),
    "one plane": lambda rng: rng.integers(0, 9000, (1, 2048, 2048), np.int16),
}


@pytest.mark.parametrize("what", MADE)
def test_a_volume_of_another_type_takes_one_byte_a_voxel_more(what: str) -> None:
    """17 to 23 bytes it was."""
    image = MADE[what](np.random.default_rng(0))
    tracemalloc.start()
    grey = prepare("a", image)[0]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert grey.dtype == np.uint8 and grey.shape == image.shape and grey.flags.c_contiguous
    copies = 2 if what == "F-order" else 1
    sampled = 45e6 if image.size > 2e6 else 0  # `hounsfield` looks at 2 million voxels
    assert peak < copies * image.size + 16e6 + sampled


def test_orders_of_axes_and_bytes_make_no_difference() -> None:
    image = np.random.default_rng(0).integers(-900, 3000, (7, 11, 13), np.int16)
    wanted = prepare("a", image)[0]
    for other in (np.asfortranarray(image), image.astype(">i2"), image.transpose(2, 0, 1).copy()):
        same = other if other.shape == image.shape else other.transpose(1, 2, 0)
        np.testing.assert_array_equal(prepare("a", same)[0], wanted)
    np.testing.assert_array_equal(prepare("a", image[::-1])[0], wanted[::-1])


def test_what_is_not_finite_becomes_the_smallest_finite_number() -> None:
    whole = np.arange(8, dtype=np.int16).reshape(2, 2, 2)
    assert finite_numbers(whole) is whole
    plain = whole.astype(np.float32)
    assert finite_numbers(plain) is plain
    holed = plain - 3
    holed[0, 0, 1], holed[1, 1, 1] = np.nan, np.inf
    found = finite_numbers(holed)
    assert found.dtype == np.float32 and found[0, 0, 1] == found[1, 1, 1] == -3
    assert np.isnan(holed[0, 0, 1]), "the caller's stays as it is"
    assert not finite_numbers(np.full((1, 1, 2), np.nan)).any()

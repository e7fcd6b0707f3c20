"""Weights along one axis as bands, and volumes times them."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from vesal.inference.geometry import banded_product as module
from vesal.inference.geometry.banded_product import banded_product
from vesal.inference.geometry.bands import Band, fixed_blocks
from vesal.inference.geometry.resample import to_view
from vesal.inference.geometry.resample_weights import (
    axis_weights,
    corner_weights,
    nearest_weights,
)
from vesal.inference.geometry.views import View

LONG = 200_000


@pytest.mark.parametrize("axis", range(3))
def test_a_long_axis_takes_memory_for_its_voxels_and_not_for_their_square(axis: int) -> None:
    """200,000 voxels in 3312 steps: a matrix of weights would take 2.6 GB as float32."""
    shape, sides, step = [1, 1, 1], [4, 4, 4], [1.0, 1.0, 1.0]
    shape[axis], sides[axis], step[axis] = LONG, 3312, LONG / 3312
    volume = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    tracemalloc.start()
    seen = to_view(volume, View((0.0, 0.0, 0.0), tuple(step), tuple(sides), 0, 0))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert seen.shape == tuple(sides) and seen.max() > 100
    assert peak < 64e6


def test_a_wide_plane_is_not_turned_to_floats_at_once() -> None:
    """One plane of 64 million voxels: 256 MB as float32."""
    volume = np.zeros((1, 8000, 8000), np.uint8)
    tracemalloc.start()
    to_view(volume, View((0.0, 0.0, 0.0), (1.0, 80.0, 80.0), (1, 100, 100), 0, 0))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 32e6


BANDS = st.one_of(
    st.builds(axis_weights, st.integers(1, 50), st.floats(-20, 20), st.floats(0.2, 30), st.integers(1, 40)),
    st.builds(corner_weights, st.integers(1, 50), st.integers(1, 40)),
    st.builds(nearest_weights, st.integers(1, 50), st.integers(1, 40)),
    st.builds(corner_weights, st.integers(1, 50), st.integers(1, 40), st.booleans()),
)


@given(BANDS, st.sampled_from([15, 24]))
def test_blocks_hold_all_weights_as_fixed_points(band: Band, bits: int) -> None:
    """Rows still sum to exactly 1 or 0."""
    used = band.used
    assume(used.stop > used.start)
    found = np.zeros((len(band.first), used.stop - used.start))
    for block in fixed_blocks(band, bits, np.dtype(np.float64)):
        found[block.rows, block.span] += block.weights
    np.testing.assert_allclose(found, band.dense()[:, used], atol=len(band.weights[0]) * 2.0**-bits)
    assert set(found.sum(1)) <= {0.0, 1.0}
    assert (found * 2.0**bits == np.rint(found * 2.0**bits)).all()
    assert not np.delete(band.dense(), np.arange(used.start, used.stop), 1).any()


@given(st.tuples(BANDS, BANDS, BANDS), st.sampled_from(["u1", "f4", "i2"]), st.integers(1, 4000))
def test_tiles_change_no_bit_and_the_product_is_that_of_matrices(
    bands: tuple[Band, Band, Band], dtype: str, voxels: int
) -> None:
    rng = np.random.default_rng(0)
    volume = rng.integers(0, 200, [band.n_in for band in bands]).astype(dtype)
    whole = banded_product(volume, bands)
    dense = [band.dense().astype(np.float64) for band in bands]
    expected = np.einsum("ad,bh,cw,dhw->abc", *dense, volume.astype(np.float64), optimize=True)
    np.testing.assert_allclose(whole, expected, atol=0.03 if dtype == "u1" else 1e-3)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(module, "TILE_VOXELS", voxels)
        patched.setattr(module, "CHUNK_VOXELS", voxels)
        np.testing.assert_array_equal(banded_product(volume, bands), whole)


def test_a_band_in_a_longer_axis_is_zero_beyond() -> None:
    """Two inputs from the third of six on, two outputs of four."""
    dense = corner_weights(2, 2).placed(6, 2, 4).dense()
    np.testing.assert_array_equal(dense, [[0, 0, 1, 0, 0, 0], [0, 0, 0, 1, 0, 0], [0] * 6, [0] * 6])

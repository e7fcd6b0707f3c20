"""Resampling: sums of weights, ramps that stay ramps, and borders that stay where they are."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vesal.inference.geometry import banded_product, resample
from vesal.inference.geometry.fit import fit_view
from vesal.inference.geometry.resample import between, labels_to_view, to_native, to_view
from vesal.inference.geometry.resample_weights import axis_weights
from vesal.inference.geometry.views import View, whole
from vesal.inference.runtime import threads as parallel

SHAPES = st.tuples(*[st.integers(1, 40)] * 3)
SPACINGS = st.tuples(*[st.sampled_from([0.5, 0.8, 1.0, 2.5, 6.0])] * 3)


def noise(shape: tuple[int, int, int]) -> np.ndarray:
    """(D, H, W) uint8 with a fixed seed."""
    return np.random.default_rng(1).integers(0, 256, shape, np.uint8)


def test_weights_of_growing_are_linear() -> None:
    """Centres of half voxels lie a quarter off: 3/4 and 1/4; beyond the ends there is nothing to mix."""
    expected = [[1, 0], [0.75, 0.25], [0.25, 0.75], [0, 1]]
    np.testing.assert_allclose(axis_weights(2, 0.0, 0.5, 4).dense(), expected)


def test_weights_of_shrinking_are_a_triangle() -> None:
    """Step 2, centre between voxels 1 and 2 (at 1.5): distances 1.5, 0.5, 0.5, 1.5 weigh 1, 3, 3, 1."""
    np.testing.assert_allclose(axis_weights(4, 1.0, 2.0, 1).dense(), [[1 / 8, 3 / 8, 3 / 8, 1 / 8]])


def test_outside_is_zero_or_the_edge() -> None:
    zero = axis_weights(2, -2.0, 1.0, 6).dense()
    np.testing.assert_array_equal(zero, [[0, 0], [0, 0], [1, 0], [0, 1], [0, 0], [0, 0]])
    edge = axis_weights(2, -2.0, 1.0, 6, "edge").dense()
    np.testing.assert_array_equal(edge, [[1, 0], [1, 0], [1, 0], [0, 1], [0, 1], [0, 1]])


@given(
    st.integers(1, 60),
    st.floats(-80, 80),
    st.floats(0.1, 9),
    st.integers(1, 60),
    st.sampled_from(["zero", "edge"]),
)
def test_rows_sum_to_one_or_zero(n_in: int, start: float, step: float, n_out: int, outside: str) -> None:
    """Zero exactly where the centre is outside the input, and never so with ``edge``."""
    weights = axis_weights(n_in, start, step, n_out, outside).dense()
    assert weights.shape == (n_out, n_in) and weights.dtype == np.float32
    assert weights.min() >= 0
    centre = start + (np.arange(n_out) + 0.5) * step
    for total, at in zip(weights.sum(1), centre, strict=True):
        if abs(at) < 1e-6 or abs(at - n_in) < 1e-6:
            assert total == 0 or total == pytest.approx(1, abs=1e-5)
        else:
            inside = outside == "edge" or 0 < at < n_in
            assert total == pytest.approx(float(inside), abs=1e-5)


@given(SHAPES)
def test_step_one_is_the_identity(shape: tuple[int, int, int]) -> None:
    volume = noise(shape)
    view = View((0.0, 0.0, 0.0), (1.0, 1.0, 1.0), shape, 0, 0)
    np.testing.assert_array_equal(to_view(volume, view), volume)
    np.testing.assert_array_equal(to_native(volume, view, (0, 0, 0), shape), volume)
    np.testing.assert_array_equal(labels_to_view(volume, view), volume)


def test_a_view_over_the_edge_sees_black() -> None:
    """Two voxels before the volume and one behind it."""
    view = View((-2.0, 0.0, 0.0), (1.0, 1.0, 1.0), (6, 2, 2), 0, 0)
    seen = to_view(np.full((3, 2, 2), 7, np.uint8), view)
    np.testing.assert_array_equal(seen[:, 0, 0], [0, 0, 7, 7, 7, 0])
    labels = labels_to_view(np.full((3, 2, 2), 7, np.uint8), view)
    np.testing.assert_array_equal(labels[:, 0, 0], [0, 0, 7, 7, 7, 0])


def test_a_view_beside_the_volume_sees_nothing() -> None:
    view = View((50.0, 0.0, 0.0), (1.0, 1.0, 1.0), (4, 4, 4), 0, 0)
    assert not to_view(np.full((4, 4, 4), 9, np.uint8), view).any()
    assert not labels_to_view(np.full((4, 4, 4), 9, np.uint8), view).any()


def test_a_constant_stays_constant_at_any_step() -> None:
    view = fit_view(whole((50, 60, 70)), (1.0, 1.0, 1.0), 20_000)
    seen = to_view(np.full((50, 60, 70), 200, np.uint8), view)
    inside = labels_to_view(np.ones((50, 60, 70), np.uint8), view) > 0
    np.testing.assert_allclose(seen[inside], 200, rtol=1e-5)
    assert seen[~inside].max(initial=0) == 0


def test_thin_structures_do_not_vanish_when_shrinking() -> None:
    """A bright plane one voxel thick keeps its sum: 100 over 4 voxels of the view, wherever it lies."""
    for plane in range(8, 24):
        volume = np.zeros((32, 4, 4), np.uint8)
        volume[plane] = 100
        seen = to_view(volume, View((0.0, 0.0, 0.0), (4.0, 1.0, 1.0), (8, 4, 4), 0, 0))
        assert seen[:, 0, 0].sum() * 4 == pytest.approx(100, rel=1e-5)
        assert seen.max() > 10


@given(SHAPES, SPACINGS, st.integers(0, 2))
def test_a_ramp_comes_back_as_a_ramp(
    shape: tuple[int, int, int], spacing: tuple[float, float, float], axis: int
) -> None:
    """Linear interpolation is exact between the centres of the outermost view voxels."""
    view = fit_view(whole(shape), spacing, 4096)
    position = [np.arange(n) + 0.5 for n in shape]
    at_view = view.start[axis] + (np.arange(view.shape[axis]) + 0.5) * view.step[axis]
    along = [1, 1, 1]
    along[axis] = -1
    values = np.broadcast_to(at_view.reshape(along), view.shape).astype(np.float32)
    back = to_native(values, view, (0, 0, 0), shape)
    expected = np.clip(position[axis], at_view[0], at_view[-1])
    np.testing.assert_allclose(
        back, np.broadcast_to(expected.reshape(along), shape), atol=1e-3 + 1e-5 * at_view.max()
    )


@given(SHAPES, SPACINGS)
def test_no_border_plane_is_lost_on_the_way_back(
    shape: tuple[int, int, int], spacing: tuple[float, float, float]
) -> None:
    """Ones on the view are ones on every voxel of the volume."""
    view = fit_view(whole(shape), spacing, 4096)
    back = to_native(np.ones(view.shape, np.float32), view, (0, 0, 0), shape)
    np.testing.assert_allclose(back, 1, rtol=1e-5)


def test_voxels_beyond_the_view_repeat_its_border() -> None:
    view = View((2.0, 0.0, 0.0), (1.0, 1.0, 1.0), (3, 1, 1), 0, 0)
    back = to_native(np.array([5, 6, 7], np.float32).reshape(3, 1, 1), view, (0, 0, 0), (7, 1, 1))
    np.testing.assert_array_equal(back.ravel(), [5, 5, 5, 6, 7, 7, 7])


def test_a_corner_picks_the_same_as_cutting_the_whole() -> None:
    view = View((-1.0, 0.5, 0.0), (2.5, 1.5, 3.0), (8, 16, 8), 0, 0)
    values = np.random.default_rng(2).random(view.shape, np.float32)
    everything = to_native(values, view, (0, 0, 0), (18, 22, 20))
    part = to_native(values, view, (3, 5, 7), (4, 6, 8))
    np.testing.assert_allclose(part, everything[3:7, 5:11, 7:15], rtol=1e-5)


def test_slabs_do_not_change_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    volume = noise((23, 17, 19))
    view = fit_view(whole(volume.shape), (1.0, 1.0, 1.0), 4096)
    at_once = to_view(volume, view)
    monkeypatch.setattr(banded_product, "CHUNK_VOXELS", 5 * 17 * 19)
    np.testing.assert_array_equal(to_view(volume, view), at_once)


def test_between_two_views_is_the_same_place() -> None:
    """A cube at 8..16 of the volume, seen at step 2 from -4 on, lies at 8..16 of a view at step 1 too.

    Within the cube interpolation gives 0.75 an axis, so 0.42 in a corner; just outside at most 0.25.
    """
    coarse = View((-4.0, -4.0, -4.0), (2.0, 2.0, 2.0), (16, 16, 16), 0, 0)
    values = np.zeros(coarse.shape, np.float32)
    values[6:10, 6:10, 6:10] = 1
    fine = View((0.0, 0.0, 0.0), (1.0, 1.0, 1.0), (32, 32, 32), 0, 0)
    found = between(values, coarse, fine) > 0.33
    expected = np.zeros(fine.shape, bool)
    expected[8:16, 8:16, 8:16] = True
    np.testing.assert_array_equal(found, expected)


def test_between_is_empty_where_the_source_did_not_look() -> None:
    source = View((0.0, 0.0, 0.0), (1.0, 1.0, 1.0), (4, 4, 4), 0, 0)
    target = View((-2.0, 0.0, 0.0), (1.0, 1.0, 1.0), (8, 4, 4), 0, 0)
    seen = between(np.ones((4, 4, 4), np.float32), source, target)
    np.testing.assert_array_equal(seen[:, 0, 0], [0, 0, 1, 1, 1, 1, 0, 0])


def test_labels_are_never_mixed() -> None:
    """Shrinking labels 0 and 200 side by side gives only 0 and 200."""
    labels = np.zeros((32, 32, 32), np.uint8)
    labels[:, :, 13:] = 200
    view = View((0.0, 0.0, 0.0), (3.0, 3.0, 3.0), (10, 10, 10), 0, 0)
    seen = labels_to_view(labels, view)
    assert set(np.unique(seen)) == {0, 200}
    np.testing.assert_array_equal(seen[0, 0], [0] * 4 + [200] * 6)


def test_no_plane_is_lost_for_any_pair_of_sizes() -> None:
    """Ones stay ones on every voxel, for all sizes up to 64 of either grid, growing and shrinking.

    scipy's zoom leaves a plane of zeros at the far end for some pairs, as its last centre falls outside by
    rounding.
    """
    for n_in in range(1, 65):
        for n_out in range(1, 65):
            weights = axis_weights(n_in, 0.0, n_in / n_out, n_out).dense()
            np.testing.assert_allclose(weights.sum(1), 1, rtol=1e-5, err_msg=f"{n_in} -> {n_out}")


def test_no_plane_is_lost_on_the_way_back_for_any_pair_of_sizes() -> None:
    """The same from a view of ``n_in`` voxels over ``n_out`` of the volume, on each axis in turn."""
    for n_in in range(1, 65):
        for n_out in range(n_in, 65):
            for axis in range(3):
                shape, native = [1, 1, 1], [1, 1, 1]
                shape[axis], native[axis] = n_in, n_out
                step = [1.0, 1.0, 1.0]
                step[axis] = n_out / n_in
                view = View((0.0, 0.0, 0.0), tuple(step), tuple(shape), 0, 0)
                back = to_native(np.ones(shape, np.float32), view, (0, 0, 0), tuple(native))
                assert (back == 1).all(), f"{n_in} -> {n_out} along {axis}"


@pytest.mark.parametrize("seed", range(4))
def test_threads_change_no_bit(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Random volumes and views, small slabs and blocks, on one thread and on four."""
    rng = np.random.default_rng(seed)
    volume = rng.integers(0, 256, rng.integers(5, 60, 3), np.uint8)
    view = fit_view(whole(volume.shape), tuple(rng.choice([0.5, 1.0, 3.0], 3)), 16**3)
    values = rng.random(view.shape, np.float32)
    for module, name in ((resample, "SLAB_VOXELS"), (banded_product, "TILE_VOXELS")):
        monkeypatch.setattr(module, name, int(rng.integers(1, 5000)))
    results = []
    for threads in (1, 4):
        monkeypatch.setattr(parallel, "available_threads", lambda limit, threads=threads: threads)
        results.append((to_view(volume, view), to_native(values, view, (0, 0, 0), volume.shape)))
    np.testing.assert_array_equal(results[0][0], results[1][0])
    np.testing.assert_array_equal(results[0][1], results[1][1])


@given(SHAPES, SPACINGS)
def test_blocks_of_rows_multiply_by_all_weights(
    shape: tuple[int, int, int], spacing: tuple[float, float, float]
) -> None:
    """Against one product of whole matrices an axis."""
    volume = noise(shape)
    view = fit_view(whole(shape), spacing, 4096)
    weights = [axis_weights(shape[a], view.start[a], view.step[a], view.shape[a]).dense() for a in range(3)]
    expected = np.einsum("ad,bh,cw,dhw->abc", *weights, volume.astype(np.float32), optimize=True)
    np.testing.assert_allclose(to_view(volume, view), expected, rtol=1e-4, atol=1e-2)


def test_a_view_as_acquired_holds_any_numbers_as_they_are() -> None:
    volume = np.random.default_rng(0).normal(0, 1e6, (5, 6, 7))
    volume[2, 3, 4] = 1e-3
    view = View((-1.0, 2.0, 0.0), (1.0, 1.0, 1.0), (4, 6, 9), 0, 0)
    found = to_view(volume, view)
    assert found.dtype == np.float32 and found.flags.writeable
    wanted = np.zeros(view.shape, np.float32)
    wanted[1:, :4, :7] = volume[:3, 2:]
    np.testing.assert_array_equal(found, wanted)

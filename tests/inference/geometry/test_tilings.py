"""Windows and their weight: every recorded one."""

import math
import zlib

import numpy as np
import pytest

from tests.inference.families.published.recorded import arrays, dhw, rows
from vesal.inference.geometry.tilings import (
    FixedTiling,
    HalfStepTiling,
    SliceTiling,
    blending_weight,
    padding,
    tile_bounds,
    tiles,
    without_padding,
)
from vesal.inference.geometry.views import Sampling, View, gaussian_weight


def flat(found):
    return [[v for bounds in tile for v in bounds] for tile in found]


def test_all_recorded_splits_are_reproduced(shared):
    recorded = rows(shared, "split_3d")
    assert len(recorded) == 19
    for row in recorded:
        # The function is blind to what an axis is called: the recording's (h,w,d) goes in as it is.
        assert list(padding(row["shape"], row["crop"])) == row["padding"]
        assert flat(tiles(row["padded"], row["crop"])) == row["idx"]
        bare = row["idx_without_padding"] or row["idx"]
        assert flat(tiles(row["shape"], row["crop"])) == bare


def test_all_560_recorded_paddings_and_window_counts_are_reproduced(shared):
    for row in rows(shared, "read_npz_decisions"):
        shape, crop = row["new_shape"], row["crop"]
        assert list(padding(shape, crop)) == row["padding"]
        padded = [n + p for n, p in zip(shape, row["padding"], strict=True)]
        assert padded == row["padded"]
        found = flat(tiles(padded, crop))
        assert (len(found), found[-1]) == (row["n_patches"], row["last_idx"])


def test_all_recorded_weights_are_the_same_to_the_bit(shared):
    known, recorded = arrays(shared, "gaussian"), rows(shared, "gaussian")
    assert len(recorded) == 6
    for name, row in recorded.items():
        crop = tuple(int(n) for n in name.split("x"))
        weight = blending_weight(crop)
        assert (weight.dtype, weight.shape) == (np.float16, crop)
        assert zlib.crc32(weight.tobytes()) == row["crc32"], name
        assert (float(weight.min()), float(weight.max())) == (row["min"], row["max"])
        assert int((weight == weight.min()).sum()) == row["n_at_min"]
        assert np.array_equal(weight[:8, :8, :8], known[f"corner_{name}"])
        if f"map_{name}" in known:
            assert np.array_equal(weight, known[f"map_{name}"])


def test_windows_cover_every_voxel():
    for length in range(1, 80):
        seen = np.zeros(length, bool)
        for first, stop in tile_bounds(length, 16):
            seen[first:stop] = True
        assert seen.all(), length


def test_the_order_of_axes_is_kept():
    assert tiles((8, 8, 12), (8, 8, 8)) == [((0, 8), (0, 8), (0, 8)), ((0, 8), (0, 8), (4, 12))]
    assert dhw([1, 2, 3]) == (3, 1, 2)


def slices_of(tiling, shape):
    """A view of whole slices."""
    return View((0.0, 0.0, 0.0), (1.0, 1.0, 1.0), shape, 0, tiling.axis, tiling)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_runs_of_slices_lie_side_by_side_and_the_last_ends_with_the_view(axis):
    """10 slices in runs of 4: at 0, 4 and, shifted back by two, 6."""
    shape = [16, 24]
    shape.insert(axis, 10)
    view = slices_of(SliceTiling(axis, 4, 2), tuple(shape))
    size = view.tiling.size(view, 10**9)
    assert size[axis] == 4 and math.prod(size) == 4 * 16 * 24
    corners = view.tiling.corners(view, size, 0.5)
    assert [corner[axis] for corner in corners] == [0, 4, 6]
    assert all(sum(corner) == corner[axis] for corner in corners), "whole slices"
    assert view.tiling.halo == tuple(2 if a == axis else 0 for a in range(3))


@pytest.mark.parametrize(("voxels", "run"), [(10**9, 4), (3 * 256, 3), (2 * 256 + 255, 2), (100, 1)])
def test_a_run_has_as_many_slices_as_there_are_voxels_for(voxels, run):
    """Of 256 voxels each; one slice at least."""
    view = slices_of(SliceTiling(0, 4, 1), (9, 16, 16))
    assert view.tiling.size(view, voxels) == (run, 16, 16)


def test_a_volume_of_fewer_slices_than_a_run_is_one_run():
    view = slices_of(SliceTiling(0, 4, 1), (3, 16, 16))
    assert view.tiling.size(view, 10**9) == (3, 16, 16)
    assert view.tiling.corners(view, (3, 16, 16), 0.0) == [(0, 0, 0)]


def test_slices_that_two_runs_share_are_averaged():
    weight = SliceTiling(0, 4, 1).weight((4, 5, 6))
    assert (weight.dtype, weight.shape, weight.min(), weight.max()) == (np.float32, (4, 5, 6), 1, 1)


def test_fixed_windows_are_spread_evenly_whatever_is_allowed():
    """96 voxels in windows of 32, half shared: at 0, 16, ..., 64; blended as all windows are."""
    tiling = FixedTiling((32, 32, 32))
    view = View((0.0, 0.0, 0.0), (1.0, 1.0, 1.0), (96, 32, 32), 0, 0, tiling)
    assert tiling.size(view, 1) == tiling.size(view, 10**9) == (32, 32, 32)
    assert [d for d, _, _ in tiling.corners(view, (32, 32, 32), 0.5)] == [0, 16, 32, 48, 64]
    assert (tiling.halo, tiling.border) == ((0, 0, 0), "edge")
    assert np.array_equal(tiling.weight((32, 32, 32)), gaussian_weight((32, 32, 32)))


def test_half_steps_are_those_of_the_published_code_whatever_overlap_is_asked_for():
    tiling = HalfStepTiling((32, 32, 32))
    view = View((0.0, 0.0, 0.0), (1.0, 1.0, 1.0), (40, 64, 32), 0, 0, tiling)
    assert tiling.size(view, 1) == (32, 32, 32)
    wanted = [tuple(first for first, _ in bounds) for bounds in tiles(view.shape, (32, 32, 32))]
    assert tiling.corners(view, (32, 32, 32), 0.0) == tiling.corners(view, (32, 32, 32), 0.9) == wanted
    assert tiling.weight((32, 32, 32)).dtype == np.float32
    assert np.array_equal(tiling.weight((32, 32, 32)), blending_weight((32, 32, 32)).astype(np.float32))


def test_equal_tilings_make_equal_views():
    """Views are kept by what they are; the ladder weighs the same ones again and again."""
    one, same = (View((0.0,) * 3, (1.0,) * 3, (8, 8, 8), 0, 0, SliceTiling(0, 2, 1)) for _ in range(2))
    other = View((0.0,) * 3, (1.0,) * 3, (8, 8, 8), 0, 0, SliceTiling(0, 2, 1, "reflect"))
    assert one == same and hash(one) == hash(same) and one != other


def test_zeros_that_sampling_appended_are_cut_off():
    view = View((0.0,) * 3, (1.0,) * 3, (8, 8, 8), 0, 0, sampling=Sampling((5, 8, 6), (5, 8, 6), None))
    probability, bare = without_padding(np.ones((8, 8, 8), np.float32), view)
    assert probability.shape == bare.shape == (5, 8, 6) and bare.step == view.step
    plain = View((0.0,) * 3, (1.0,) * 3, (8, 8, 8), 0, 0)
    assert without_padding(probability, plain) == (probability, plain)

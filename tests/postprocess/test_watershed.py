"""Basins of a height, and which of them are one."""

import numpy as np

from vesal.postprocess.watershed import (
    block_counts,
    filled,
    find_basins,
    merge_basins,
    smoothed,
    spread_blocks,
)


def row(*heights: float) -> tuple[np.ndarray, np.ndarray]:
    """Mask and height of voxels in a row, with an empty border."""
    height = np.zeros((3, 3, len(heights) + 2), np.float32)
    height[1, 1, 1:-1] = heights
    return height > 0, height


def test_each_voxel_climbs_to_the_maximum_above_it() -> None:
    basins = find_basins(*row(1, 3, 2, 1, 4, 5))
    assert basins.basin.tolist() == [0, 0, 0, 1, 1, 1]
    assert basins.peak.tolist() == [3, 5]
    assert [each.tolist() for each in basins.passes] == [[0], [1], [1]]


def test_a_maximum_that_rises_little_above_the_pass_is_merged_into_the_higher_one() -> None:
    basins = find_basins(*row(1, 3, 2, 1, 4, 5))
    assert merge_basins(basins, 2.0).tolist() == [0, 1]
    assert merge_basins(basins, 2.1).tolist() == [1, 1]


def test_the_highest_pass_decides_first() -> None:
    """The middle one joins the right one over the pass of 3, and together they stay apart from the left."""
    basins = find_basins(*row(6, 1, 4, 3, 7))
    assert merge_basins(basins, 1.5).tolist() == [0, 2, 2]


def test_a_plateau_is_one_basin_and_of_equal_maxima_the_first_stays() -> None:
    assert find_basins(*row(2, 2, 2, 2)).peak.tolist() == [2]
    basins = find_basins(*row(3, 2, 3))
    assert basins.basin.tolist() == [0, 0, 1]
    assert merge_basins(basins, 2.0).tolist() == [0, 0]


def test_basins_are_6_connected_and_hold_every_voxel() -> None:
    import cc3d

    mask = np.pad(np.random.default_rng(0).random((12, 13, 14)) < 0.8, 1)
    height = smoothed(mask * np.float32(1), (1.0, 1.0, 1.0))
    basins = find_basins(mask, height)
    labels = np.zeros(mask.shape, np.uint32)
    labels.ravel()[basins.voxels] = basins.basin + 1
    assert np.array_equal(labels > 0, mask)
    _, count = cc3d.connected_components(labels, connectivity=6, return_N=True)
    assert count == len(basins.peak)


def test_a_gaussian_of_nothing_changes_nothing_and_keeps_the_sum() -> None:
    values = np.zeros((9, 9, 9), np.float32)
    values[4, 4, 4] = 1
    assert np.array_equal(smoothed(values, (0.0, 0.0, 0.0)), values)
    wide = smoothed(values, (1.0, 1.0, 0.5))
    assert abs(float(wide.sum()) - 1) < 1e-5
    assert wide[4, 5, 4] == wide[4, 3, 4] == wide[5, 4, 4] > wide[4, 4, 5] > 0


def test_blocks_are_counted_and_the_last_one_may_be_smaller() -> None:
    counts, sizes = block_counts(np.ones((3, 4, 5), bool), (2, 3, 2))
    assert counts.shape == (2, 2, 3)
    assert counts.dtype == np.uint8
    assert np.array_equal(counts, sizes)
    assert counts[0, 0].tolist() == [12, 12, 6]
    assert counts[1, 1].tolist() == [2, 2, 1]


def test_holes_are_filled_up_to_their_size_and_what_reaches_the_border_is_none() -> None:
    mask = np.ones((9, 9, 9), bool)
    mask[2, 2, 2] = mask[5:7, 5, 5] = mask[0, 4, 4] = False
    small, all_holes = filled(mask, 1), filled(mask, 2)
    assert np.argwhere(~small).tolist() == [[0, 4, 4], [5, 5, 5], [6, 5, 5]]
    assert np.argwhere(~all_holes).tolist() == [[0, 4, 4]]


def test_voxels_of_a_block_that_are_cut_off_from_their_object_get_no_id() -> None:
    mask = np.zeros((2, 2, 6), bool)
    mask[:, :, :3] = mask[1, 1, 5] = True
    blocks = np.array([[[1, 1, 1]]], np.uint16)
    labels = spread_blocks(blocks, mask, (2, 2, 2))
    assert labels.dtype == np.uint16
    assert labels[:, :, :3].all()
    assert labels[:, :, 3:].sum() == 0

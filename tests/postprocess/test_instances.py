"""Instances: 6-connected, numbered by size, at most 255."""

import time

import numpy as np
import pytest

from vesal.postprocess.checks import ArrayShapeError
from vesal.postprocess.instances import Instances, split_instances


def row(text):
    """A (1,1,n) mask from a string: '#' is foreground."""
    return np.array([[[c == "#" for c in text]]])


def test_ids_follow_size_and_then_raster_order():
    assert split_instances(row("#.##.###.##"))[0, 0].tolist() == [4, 0, 2, 2, 0, 1, 1, 1, 0, 3, 3]


def test_the_smallest_are_dropped():
    assert split_instances(row("#.##.###"), min_voxels=2)[0, 0].tolist() == [0, 0, 2, 2, 0, 1, 1, 1]


def test_of_300_blobs_the_255_largest_stay():
    mask = np.zeros((2, 300, 4), bool)
    mask[0, :, 0] = True
    mask[0, 45:, 1] = True
    mask = np.repeat(mask, 2, axis=1)
    mask[:, 1::2] = False
    ids = split_instances(mask)
    assert ids.dtype == np.uint8
    assert ids.max() == 255
    assert not ids[0, :90].any(), "the first 45 have one voxel, the others two"
    assert np.bincount(ids.ravel())[1:].tolist() == [2] * 255
    assert ids[0, 90, 0] == 1 and ids[0, 598, 0] == 255


def test_faces_join_and_edges_do_not():
    mask = np.zeros((2, 2, 2), bool)
    mask[0, 0] = True
    mask[1, 1, 1] = True
    assert split_instances(mask).max() == 2
    mask[1, 0, 1] = True
    assert split_instances(mask).max() == 1


def test_a_label_map_counts_as_its_foreground():
    assert split_instances(np.array([[[5, 5, 0, 9]]]))[0, 0].tolist() == [1, 1, 0, 2]


def test_memory_order_changes_nothing():
    mask = np.random.default_rng(3).random((9, 8, 7)) > 0.7
    assert np.array_equal(split_instances(mask), split_instances(np.asfortranarray(mask)))


@pytest.mark.parametrize("shape", [(2, 2, 2), (0, 2, 2)])
def test_an_empty_mask_has_no_instances(shape):
    ids = split_instances(np.zeros(shape, bool))
    assert ids.shape == shape and ids.dtype == np.uint8 and not ids.any()


def test_bad_arguments_are_named():
    with pytest.raises(ArrayShapeError, match="wanted 3 axes"):
        split_instances(np.zeros((2, 2), bool))
    with pytest.raises(ValueError, match=r"max_instances=300; wanted 1\.\.255"):
        split_instances(np.zeros((2, 2, 2), bool), max_instances=300)


def test_objects_are_counted_as_in_the_whole_volume() -> None:
    """Random masks in a corner of a volume: what the box around them gives is what the volume gives."""
    rng = np.random.default_rng(5)
    for _ in range(20):
        mask = np.zeros((9, 12, 15), bool)
        d, h, w = rng.integers(0, 6, 3)
        mask[d : d + 3, h : h + 5, w : w + 6] = rng.random((3, 5, 6)) < 0.4
        ids = split_instances(mask)
        np.testing.assert_array_equal(ids > 0, mask)
        sizes = np.bincount(ids[mask])[1:]
        assert (np.diff(sizes) <= 0).all()
        firsts = [int(np.flatnonzero(ids.ravel() == i)[0]) for i in range(1, len(sizes) + 1)]
        assert all(a < b for a, b, s, t in zip(firsts, firsts[1:], sizes, sizes[1:], strict=False) if s == t)


def test_the_rule_tells_prompts_apart_and_drops_small_objects():
    labels = np.array([[[7, 7, 7, 3, 3, 0, 3]]], np.uint16)
    assert Instances(min_voxels=2).split(labels)[0, 0].tolist() == [1, 1, 1, 2, 2, 0, 0]
    assert Instances().split(labels)[0, 0].tolist() == [1, 1, 1, 2, 2, 0, 3]


def test_objects_that_are_cut_already_are_numbered_by_size() -> None:
    pieces = np.array([[[1, 2, 2, 3, 3, 0, 4, 4, 4]]], np.uint32)
    found = Instances(min_voxels=2).number(pieces, np.array([1, 2, 2, 3]))
    assert found.dtype == np.uint8 and found[0, 0].tolist() == [0, 2, 2, 3, 3, 0, 1, 1, 1]


def test_a_long_axis_of_many_objects_takes_no_longer_than_another():
    """Up to 66,000 counts were made for each of 100,000 slices."""
    mask = np.random.default_rng(0).random((100_000, 3, 1)) < 0.4
    started = time.process_time()
    labels = split_instances(mask)
    assert labels.max() == 255
    assert time.process_time() - started < 2

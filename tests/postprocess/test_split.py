"""Touching blobs are cut apart; every object is 6-connected and lies in the mask."""

import cc3d
import numpy as np
import pytest

from postprocess import split
from postprocess.checks import ArrayShapeError
from postprocess.instances import split_instances
from postprocess.split import SplitRules, split_touching

EVEN = (1.0, 1.0, 1.0)


def balls(centres, radius, shape, spacing=EVEN):
    """A bool mask of balls; centres and radius in mm."""
    grid = np.stack(
        np.meshgrid(*(np.arange(n) * s for n, s in zip(shape, spacing, strict=True)), indexing="ij")
    )
    mask = np.zeros(shape, bool)
    for centre in centres:
        mask |= ((grid - np.reshape(centre, (3, 1, 1, 1))) ** 2).sum(axis=0) <= radius**2
    return mask


def noisy(seed=0, shape=(30, 40, 50)):
    """A mask of ragged blobs of all sizes, many of them touching."""
    from scipy.ndimage import gaussian_filter

    return gaussian_filter(np.random.default_rng(seed).standard_normal(shape), 1.5) > 0.05


@pytest.mark.parametrize("radius", [6, 8, 15])
def test_two_touching_balls_of_any_size_are_two(radius):
    r = radius
    side = 2 * r + 5
    left, right = (r + 2, r + 2, r + 2), (r + 2, r + 2, r + 2 + 1.8 * r)
    mask = balls([left, right], r, (side, side, int(side + 1.8 * r)))
    assert split_instances(mask).max() == 1, "they touch"
    ids = split_touching(mask, EVEN)
    assert ids.max() == 2 and np.array_equal(ids > 0, mask)
    assert {ids[left], ids[r + 2, r + 2, round(r + 2 + 1.8 * r)]} == {1, 2}
    sizes = np.bincount(ids.ravel())[1:]
    assert sizes[1] > 0.9 * sizes[0], "the cut lies at the neck"


def test_a_cluster_of_balls_comes_apart():
    centres = [(10 + 14 * i, 10 + 14 * j, 10 + 14 * k) for i in range(2) for j in range(3) for k in range(3)]
    mask = balls(centres, 8, (36, 50, 50))
    assert split_instances(mask).max() == 1
    ids = split_touching(mask, EVEN)
    assert sorted(ids[c] for c in centres) == list(range(1, 19))


@pytest.mark.parametrize("size", [(20, 20, 20), (12, 16, 40), (9, 9, 60)])
def test_a_smooth_lone_blob_stays_whole(size):
    grid = np.stack(np.meshgrid(*(np.linspace(-1.05, 1.05, n) for n in size), indexing="ij"))
    assert split_touching((grid**2).sum(axis=0) <= 1, EVEN).max() == 1


def test_distances_are_millimetres():
    """Two thick coins, three planes: counted in voxels, the neck is as thick as the coins."""
    flat = balls([(0, 20, 20), (0, 20, 47)], 15, (1, 41, 68))
    mask = np.pad(np.repeat(flat, 3, axis=0), ((1, 1), (0, 0), (0, 0)))
    assert split_touching(mask, (20.0, 1.0, 1.0)).max() == 2
    assert split_touching(mask, EVEN).max() == 1


def test_objects_are_connected_inside_the_mask_and_numbered_by_size():
    mask = noisy()
    ids = split_touching(mask, (2.0, 1.0, 0.7), min_voxels=5)
    assert ids.dtype == np.uint8 and not ids[~mask].any()
    count = int(ids.max())
    assert count > split_touching(mask, (2.0, 1.0, 0.7), SplitRules(neck=0.0), min_voxels=5).max()
    sizes = np.bincount(ids.ravel())[1:]
    assert sizes.min() >= 5 and (np.diff(sizes) <= 0).all()
    for id_ in range(1, count + 1):
        assert cc3d.connected_components(ids == id_, connectivity=6, return_N=True)[1] == 1


def test_it_is_the_same_again_and_in_any_memory_order():
    mask = noisy(1)
    ids = split_touching(mask, EVEN)
    assert np.array_equal(ids, split_touching(mask, EVEN))
    assert np.array_equal(ids, split_touching(np.asfortranarray(mask), EVEN))
    assert np.array_equal(ids, split_touching(mask.astype(np.uint16) * 300, EVEN))


def test_without_necks_components_are_what_is_left():
    mask = noisy(2)
    whole = split_touching(mask, EVEN, SplitRules(neck=0.0, least=0.0))
    assert np.array_equal(whole > 0, split_instances(mask) > 0)
    assert np.array_equal(np.bincount(whole.ravel()), np.bincount(split_instances(mask).ravel()))


def test_specks_beside_blobs_are_dropped():
    mask = balls([(8, 8, 8)], 6, (17, 17, 40))
    mask[2:4, 2:4, 30:34] = True
    assert split_touching(mask, EVEN).max() == 1
    assert split_touching(mask, EVEN, SplitRules(least=0.0)).max() == 2


def test_of_300_blobs_the_largest_255_stay():
    mask = np.zeros((8, 120, 125), bool)
    for i in range(300):
        j, k = divmod(i, 25)
        mask[1 : 5 + (i >= 45), 10 * j + 1 : 10 * j + 5, 5 * k : 5 * k + 4] = True
    ids = split_touching(mask, EVEN)
    assert ids.max() == 255 and (np.bincount(ids.ravel())[1:] == 80).all()
    assert split_touching(mask, EVEN, most=7).max() == 7


def test_beyond_what_time_allows_components_stay_whole(monkeypatch):
    mask = balls([(8, 8, 8), (8, 8, 19)], 6, (17, 17, 28))
    assert split_touching(mask, EVEN).max() == 2
    monkeypatch.setattr(split, "MOST_BOX_VOXELS", mask.size // 2)
    ids = split_touching(mask, EVEN)
    assert ids.max() == 1 and np.array_equal(ids > 0, mask)


@pytest.mark.parametrize("shape", [(3, 4, 5), (0, 4, 5)])
def test_an_empty_mask_has_no_objects(shape):
    ids = split_touching(np.zeros(shape, bool), EVEN)
    assert ids.shape == shape and ids.dtype == np.uint8 and not ids.any()


def test_a_full_volume_is_one_object():
    assert (split_touching(np.ones((5, 6, 7), bool), EVEN) == 1).all()
    assert split_touching(np.ones((1, 1, 1), bool), EVEN).tolist() == [[[1]]]


def test_what_does_not_fit_is_refused():
    with pytest.raises(ArrayShapeError, match="mask has shape"):
        split_touching(np.zeros((3, 3), bool), EVEN)
    with pytest.raises(ValueError, match="most=256"):
        split_touching(np.zeros((3, 3, 3), bool), EVEN, most=256)
    with pytest.raises(ValueError, match="spacing_dhw_mm"):
        split_touching(np.zeros((3, 3, 3), bool), (1.0, 0.0, 1.0))

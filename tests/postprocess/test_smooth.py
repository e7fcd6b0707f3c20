"""A majority in a ball decides between a class and background, and over nothing else."""

import numpy as np
import pytest
from msgspec import ValidationError, convert

from vesal.postprocess.checks import ArrayShapeError
from vesal.postprocess.rule import ClassPart
from vesal.postprocess.smooth import MAX_REACH, Smooth, smooth

MM = (1.0, 1.0, 1.0)


def smoothed(labels, radius_mm, spacing_dhw_mm=MM, class_id=1):
    """A smoothed copy."""
    result = labels.copy()
    smooth(result, class_id, radius_mm, spacing_dhw_mm)
    return result


def half_space():
    """The left half of 9 x 9 x 10 voxels is class 1."""
    labels = np.zeros((9, 9, 10), np.uint8)
    labels[:, :, :5] = 1
    return labels


def test_a_bump_goes_and_a_dent_is_filled():
    """A ball of 1 mm holds 7 voxels: at the bump 2 of the class, at the dent 5."""
    labels = half_space()
    labels[4, 4, 5], labels[4, 7, 4] = 1, 0
    np.testing.assert_array_equal(smoothed(labels, 1.0), half_space())


def test_a_flat_border_stays():
    for radius_mm in (1.0, 1.5, 2.0, 3.0):
        np.testing.assert_array_equal(smoothed(half_space(), radius_mm), half_space())


def test_a_cube_loses_its_corners_alone():
    """Of 7 voxels a corner has 4 in the class: all stay at 1 mm. Of the 19 at 1.5 mm a corner has 7, an edge
    10.
    """
    labels = np.zeros((8, 8, 8), np.uint8)
    labels[2:6, 2:6, 2:6] = 1
    np.testing.assert_array_equal(smoothed(labels, 1.0), labels)
    result = smoothed(labels, 1.5)
    corners = labels.copy()
    corners[2:6:3, 2:6:3, 2:6:3] = 0
    assert np.count_nonzero(corners) == 64 - 8
    np.testing.assert_array_equal(result, corners)


def test_one_half_of_a_ball_is_no_majority():
    """Of 7 voxels 3 are the class, 3 background, one another class's: what was stays; with more it goes."""
    for centre in (0, 1):
        labels = np.zeros((3, 3, 3), np.uint8)
        labels[0, 1, 1] = labels[1, 0, 1] = 1
        labels[1, 1, 0] = 1 - centre
        labels[2, 1, 1], labels[1, 1, 1] = 2, centre
        assert smoothed(labels, 1.0)[1, 1, 1] == centre
        labels[0, 1, 1] = labels[1, 0, 1] = labels[1, 1, 0] = labels[1, 1, 2] = 1 - centre
        assert smoothed(labels, 1.0)[1, 1, 1] == 1 - centre


def test_another_class_keeps_its_voxels_and_votes_for_neither():
    """A bump into another class stays: there would be a gap."""
    labels = half_space()
    labels[labels == 0] = 2
    labels[4, 4, 5], labels[4, 7, 4] = 1, 2
    for class_id in (1, 2):
        np.testing.assert_array_equal(smoothed(labels, 1.0, class_id=class_id), labels)


@pytest.mark.parametrize("order", [(1, 2), (2, 1)])
def test_no_gap_comes_between_two_classes(order):
    rng = np.random.default_rng(3)
    labels = np.where(rng.random((10, 10, 10)) < np.linspace(0, 1, 10), 2, 1).astype(np.uint8)
    result = labels
    for class_id in order:
        result = smoothed(result, 2.0, class_id=class_id)
    assert (result > 0).all()


def test_the_ball_is_measured_in_mm():
    """A plate of 3 x 3 voxels: its corners have 3 of 7 voxels, and 3 of 5 where a slice is 3 mm thick."""
    labels = np.zeros((5, 5, 5), np.uint8)
    labels[2, 1:4, 1:4] = 1
    cross = labels.copy()
    cross[2, 1:4:2, 1:4:2] = 0
    np.testing.assert_array_equal(smoothed(labels, 1.0, MM), cross)
    in_slices = smoothed(labels, 1.0, (3.0, 1.0, 1.0))
    np.testing.assert_array_equal(in_slices, labels)
    turned = smoothed(np.moveaxis(labels, 0, 2).copy(), 1.0, (1.0, 1.0, 3.0))
    np.testing.assert_array_equal(np.moveaxis(turned, 2, 0), in_slices)


def test_a_voxel_on_the_surface_of_the_ball_is_in_it():
    """0.3 / 0.1 is 2.99...; spacings of a file are rounded, too."""
    for spacing in (0.1, float(np.float32(0.1))):
        assert Smooth(radius_mm=0.3).margin((spacing, 0.3, 1.0)) == (3, 1, 0)


def test_nothing_changes_at_radius_0_or_below_the_spacing():
    labels = (np.random.default_rng(0).random((5, 6, 7)) < 0.5).astype(np.uint8)
    for radius_mm in (0.0, 0.99):
        np.testing.assert_array_equal(smoothed(labels, radius_mm), labels)
    assert Smooth().radius_mm == 0
    np.testing.assert_array_equal(smoothed(labels, 3.0, class_id=4), labels)
    assert smoothed(np.zeros((0, 3, 3), np.uint8), 1.0).shape == (0, 3, 3)


def test_the_border_of_the_map_takes_nothing_away():
    """A block at the edge of the volume, where half of each ball and more is outside."""
    labels = np.zeros((6, 6, 6), np.uint8)
    labels[:3, :3, :3] = 1
    assert smoothed(labels, 2.0)[0, 0, 0] == 1
    assert smoothed(np.ones((2, 2, 2), np.uint8), 5.0).all()


def test_a_ball_reaches_a_few_voxels_however_fine_they_are():
    """A microscope's spacing would make a ball of millions of voxels."""
    micrometre = (0.001, 0.001, 0.002)
    assert Smooth(radius_mm=1.0).margin(micrometre) == (MAX_REACH, MAX_REACH, MAX_REACH // 2)
    labels = (np.random.default_rng(1).random((6, 7, 8)) < 0.5).astype(np.uint8)
    np.testing.assert_array_equal(smoothed(labels, 1.0, micrometre), smoothed(labels, 0.008, micrometre))


def test_the_class_and_the_margin_around_it_are_enough():
    rng = np.random.default_rng(4)
    labels = np.zeros((20, 20, 20), np.uint8)
    labels[6:14, 6:14, 6:14] = rng.random((8, 8, 8)) < 0.6
    rule = Smooth(radius_mm=2.5)
    spacing = (2.0, 1.0, 1.0)
    (d, h, w), part = rule.margin(spacing), labels.copy()
    box = slice(6 - d, 14 + d), slice(6 - h, 14 + h), slice(6 - w, 14 + w)
    rule.apply(ClassPart(part[box], np.zeros(part[box].shape), 1, spacing))
    assert not np.array_equal(part, labels)
    np.testing.assert_array_equal(part, smoothed(labels, 2.5, spacing))


def test_shapes_and_radii_that_cannot_be_are_refused():
    with pytest.raises(ArrayShapeError, match="wanted 3 axes"):
        smooth(np.zeros((3, 3), np.uint8), 1, 1.0, MM)
    for radius_mm in (-1, 5.1, "1"):
        with pytest.raises(ValidationError, match="radius_mm"):
            convert({"radius_mm": radius_mm}, Smooth)


def reference(labels, radius_mm, spacing_dhw_mm):
    """The same, voxel by voxel of the ball."""
    reach = [int(radius_mm // spacing) + 1 for spacing in spacing_dhw_mm]
    steps = np.array([(d, h, w) for d, h, w in np.ndindex(*(2 * r + 1 for r in reach))]) - reach
    steps = steps[((steps * spacing_dhw_mm) ** 2).sum(1) <= radius_mm**2 * (1 + 1e-9)]
    padded = np.pad(labels, [(r, r) for r in reach], constant_values=9)
    around = [
        padded[tuple(slice(r + s, r + s + n) for r, s, n in zip(reach, step, labels.shape, strict=True))]
        for step in steps
    ]
    mine, background = (sum((part == value).astype(int) for part in around) for value in (1, 0))
    result = labels.copy()
    result[(labels == 1) & (2 * background > len(steps))] = 0
    result[(labels == 0) & (2 * mine > len(steps))] = 1
    return result


def test_random_maps_are_smoothed_as_voxel_by_voxel():
    rng, changed = np.random.default_rng(8), 0
    for number in range(80):
        shape, spacing = rng.integers(1, 14, 3), tuple(rng.choice([0.5, 0.7, 1.0, 3.0], 3).tolist())
        share = rng.random(shape) if number % 2 else rng.random((*shape[:2], 1)) + 0 * rng.random(shape)
        labels = np.digitize(share, [0.45, 0.95]).astype(np.uint8)
        radius_mm = float(rng.choice([0.5, 1.0, 1.4, 2.1, 3.0]))
        result = smoothed(labels, radius_mm, spacing)
        np.testing.assert_array_equal(result, reference(labels, radius_mm, spacing))
        changed += not np.array_equal(result, labels)
    assert changed > 40

"""Holes of a class are filled, in space or slice by slice, and nothing else."""

import numpy as np
import pytest

from vesal.postprocess.checks import ArrayShapeError
from vesal.postprocess.fill_holes import FillHoles, fill_holes
from vesal.postprocess.rule import ClassPart

CUBE = (slice(1, 6),) * 3
HOLE = (slice(2, 5),) * 3


def hollow_cube():
    """A cube of class 1, 5 voxels a side, with a hole of 3 a side, in 7 x 7 x 7 voxels."""
    labels = np.zeros((7, 7, 7), np.uint8)
    labels[CUBE] = 1
    labels[HOLE] = 0
    return labels


def filled(labels, class_id=1, axis=None, max_voxels=None):
    """A copy with the holes of a class filled."""
    result = labels.copy(order="K")
    fill_holes(result, class_id, axis, max_voxels)
    return result


def ring():
    """A ring in the middle one of three slices along axis 0; open in space."""
    labels = np.zeros((3, 5, 5), np.uint8)
    labels[1, 1:4, 1:4] = 1
    labels[1, 2, 2] = 0
    return labels


def test_a_hollow_cube_becomes_a_cube():
    result = filled(hollow_cube())
    assert np.count_nonzero(result) == 125 and (result[CUBE] == 1).all()


def test_the_box_of_the_class_is_enough():
    labels = hollow_cube()
    fill_holes(labels[CUBE], 1)
    np.testing.assert_array_equal(labels, filled(hollow_cube()))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_ring_in_a_slice_is_filled_across_its_axis_alone(axis):
    labels = np.moveaxis(ring(), 0, axis)
    for across in (0, 1, 2, None):
        assert np.count_nonzero(filled(labels, axis=across)) == (9 if across == axis else 8)


def test_slices_are_filled_one_by_one():
    """Of rings in three slices one is open: the holes beside it do not join, nor end in it."""
    labels = np.repeat(ring()[1:2], 3, axis=0)
    labels[1, 2, 3:] = 0
    result = filled(labels, axis=0, max_voxels=1)
    assert result[:, 2, 2].tolist() == [1, 0, 1]


def test_what_touches_a_hole_only_at_an_edge_does_not_open_it():
    """In a slice 4-connected, in space 6-connected."""
    flat = ring()
    flat[1, 1, 1] = 0
    assert filled(flat, axis=0)[1, 2, 2] == 1
    solid = hollow_cube()
    solid[2:5, 2:5, 2:5] = 1
    solid[3, 3, 3] = solid[2, 2, 3] = solid[1, 1, 3] = 0
    assert filled(solid)[3, 3, 3] == 1


def test_a_hole_up_to_max_voxels_is_filled():
    labels = hollow_cube()
    np.testing.assert_array_equal(filled(labels, max_voxels=26), labels)
    assert np.count_nonzero(filled(labels, max_voxels=27)) == 125
    assert np.count_nonzero(filled(labels, axis=0, max_voxels=9)) == 125, "27 voxels are 9 in each slice"


def test_another_class_inside_stays_and_counts_as_part_of_the_hole():
    labels = hollow_cube()
    labels[3, 3, 3] = 2
    result = filled(labels)
    assert result[3, 3, 3] == 2 and np.count_nonzero(result == 1) == 124
    np.testing.assert_array_equal(filled(labels, max_voxels=26), labels)


@pytest.mark.parametrize("order", [(1, 2), (2, 1)])
def test_what_another_class_inside_encloses_is_its_own(order):
    """A hollow cube in a hollow cube: each hole goes to the class around it, whichever is first."""
    labels = np.zeros((9, 9, 9), np.uint8)
    labels[:], labels[1:8, 1:8, 1:8], labels[2:7, 2:7, 2:7], labels[3:6, 3:6, 3:6] = 1, 0, 2, 0
    result = labels
    for class_id in order:
        result = filled(result, class_id)
    assert (result[2:7, 2:7, 2:7] == 2).all() and (result > 0).all()
    assert np.count_nonzero(filled(labels) == 0) == 27


@pytest.mark.parametrize("axis", [None, 0])
def test_a_hole_at_the_border_is_open(axis):
    labels = hollow_cube()
    labels[3, 3, 5] = 0
    labels = labels[:, :, :6]
    assert filled(labels, axis=axis)[3, 3, 3] == 0


def test_an_absent_class_and_an_empty_map_change_nothing():
    labels = hollow_cube()
    np.testing.assert_array_equal(filled(labels, class_id=7), labels)
    assert filled(np.zeros((0, 3, 3), np.uint8)).shape == (0, 3, 3)
    with pytest.raises(ArrayShapeError, match="wanted 3 axes"):
        fill_holes(np.zeros((3, 3), np.uint8), 1)


def test_the_rule_hands_its_fields_on():
    for rule, count in ((FillHoles(), 8), (FillHoles(axis=0), 9), (FillHoles(axis=0, max_voxels=1), 9)):
        labels = ring()
        rule.apply(ClassPart(labels, np.zeros(labels.shape), 1, (1.0, 1.0, 1.0)))
        assert np.count_nonzero(labels) == count
        assert rule.margin((1.0, 1.0, 1.0)) == (0, 0, 0)


def reference(labels, class_id, axis, max_voxels):
    """The same, component by component with scipy."""
    result, ndimage = labels.copy(), pytest.importorskip("scipy.ndimage")

    def fill(before, after):
        mine = before == class_id
        holes, count = ndimage.label(~mine)
        for hole in (holes == n + 1 for n in range(count)):
            at = np.argwhere(hole)
            too_large = max_voxels is not None and len(at) > max_voxels
            if too_large or (at == 0).any() or (at == np.array(before.shape) - 1).any():
                continue
            parts, parts_count = ndimage.label(hole & (before == 0))
            for part in (parts == n + 1 for n in range(parts_count)):
                if (ndimage.binary_dilation(part) & mine).any():
                    after[part] = class_id

    slices = [...] if axis is None else [(slice(None),) * axis + (n,) for n in range(labels.shape[axis])]
    for at in slices:
        fill(labels[at], result[at])
    return result


@pytest.mark.parametrize("axis", [None, 0, 1, 2])
def test_random_maps_are_filled_as_component_by_component(axis):
    rng, changed = np.random.default_rng(7), 0
    for number in range(60):
        shape = rng.integers(1, 10, 3)
        labels = rng.choice(3, size=shape, p=[0.25, 0.65, 0.1]).astype(np.uint8)
        labels = np.asfortranarray(labels) if number % 2 else labels
        max_voxels = (None, 1, 3)[number % 3]
        result = filled(labels, 1, axis, max_voxels)
        np.testing.assert_array_equal(result, reference(labels, 1, axis, max_voxels))
        changed += not np.array_equal(result, labels)
    assert changed >= 15

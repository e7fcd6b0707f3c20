"""From coarse probabilities to the box that the fine stage looks at."""

import numpy as np
import pytest

from vesal.inference.geometry.region import (
    HIGH_PROBABILITY,
    LOW_PROBABILITY,
    grown_region,
    is_uncertain,
    region_of,
)
from vesal.inference.geometry.views import Box, View
from vesal.inference.planning.rules import StageRule

VIEW = View((-2.0, 0.0, 10.0), (2.0, 1.0, 3.0), (10, 10, 10), 0, 0)
"""Voxel (d, h, w) covers [-2 + 2d, 2d), [h, h + 1), [10 + 3w, 13 + 3w) of the volume."""
SHAPE = (16, 10, 40)


def one_class(*boxes: tuple[slice, slice, slice], value: float = 1.0) -> np.ndarray:
    """(1, 10, 10, 10) probabilities, ``value`` in the boxes."""
    probability = np.zeros((1, 10, 10, 10), np.float32)
    for box in boxes:
        probability[0][box] = value
    return probability


def test_a_box_in_native_edges() -> None:
    found = region_of(one_class((slice(2, 5), slice(4, 6), slice(0, 1))), VIEW, SHAPE)
    assert found == Box((2.0, 4.0, 10.0), (8.0, 6.0, 13.0))


def test_the_box_ends_with_the_volume() -> None:
    """The view begins at -2 and ends at 18 and 40: 0..16 and 10..40 remain."""
    found = region_of(one_class((slice(None), slice(None), slice(None))), VIEW, SHAPE)
    assert found == Box((0.0, 0.0, 10.0), (16.0, 10.0, 40.0))


@pytest.mark.parametrize("value", [0.0, 0.5])
def test_nothing_above_the_threshold_is_no_box(value: float) -> None:
    assert region_of(one_class((slice(2, 4), slice(2, 4), slice(2, 4)), value=value), VIEW, SHAPE) is None


def test_a_lower_threshold_finds_more() -> None:
    faint = one_class((slice(2, 4), slice(2, 4), slice(2, 4)), value=0.4)
    assert region_of(faint, VIEW, SHAPE, threshold=0.3) == Box((2.0, 2.0, 16.0), (6.0, 4.0, 22.0))


def test_foreground_in_the_surroundings_is_no_box() -> None:
    """The first view slice lies at -2..0, outside the volume."""
    assert region_of(one_class((slice(0, 1), slice(None), slice(None))), VIEW, SHAPE) is None


def test_a_far_speck_does_not_stretch_the_box() -> None:
    """27 voxels and 1 voxel: below a tenth; with 3 voxels of 27 the second part counts."""
    large = (slice(1, 4), slice(1, 4), slice(1, 4))
    box = Box((0.0, 1.0, 13.0), (6.0, 4.0, 22.0))
    share = StageRule(window_voxels=1).min_component_share
    assert 1 < share * 27 < 3
    with_speck = one_class(large, (slice(8, 9), slice(8, 9), slice(8, 9)))
    assert region_of(with_speck, VIEW, SHAPE) == region_of(with_speck, VIEW, SHAPE, min_share=share) == box
    stretched = region_of(one_class(large, (slice(6, 9), slice(8, 9), slice(8, 9))), VIEW, SHAPE)
    assert stretched == Box((0.0, 1.0, 13.0), (16.0, 9.0, 37.0))
    assert region_of(with_speck, VIEW, SHAPE, min_share=0.0) == stretched


def test_parts_that_touch_at_a_corner_are_one() -> None:
    """The lower part alone would be too small to count."""
    found = region_of(
        one_class((slice(1, 4), slice(1, 4), slice(1, 4)), (slice(4, 5), slice(4, 5), slice(4, 5))),
        VIEW,
        SHAPE,
    )
    assert found == Box((0.0, 1.0, 13.0), (8.0, 5.0, 25.0))


@pytest.mark.parametrize(
    "shape", [(1, 1, 5), (1, 5, 1), (5, 1, 1), (1, 5, 5), (5, 1, 5), (5, 5, 1), (5, 5, 5)]
)
def test_single_voxels_in_a_line_or_a_sheet_have_a_box(shape: tuple[int, int, int]) -> None:
    """One voxel in two along each axis; cc3d raised "maximum length exception"."""
    part = tuple(slice(2, 2 + n, 2) for n in shape)
    found = region_of(one_class(part), VIEW, SHAPE)
    (d, h, w) = shape
    assert found == Box((2.0, 2.0, 16.0), (2.0 + 2 * d, 2.0 + h, 16.0 + 3 * w))


def test_a_small_target_beside_a_large_one_keeps_its_place() -> None:
    """The speck rule took both classes together: a gallbladder beside a liver was cut out of their common
    box, and so came out empty.
    """
    liver = one_class((slice(1, 5), slice(1, 5), slice(1, 5)))
    gallbladder = one_class((slice(8, 9), slice(8, 9), slice(8, 9)))
    found = region_of(np.concatenate([liver, gallbladder]), VIEW, SHAPE)
    assert found == Box((0.0, 1.0, 13.0), (16.0, 9.0, 37.0))


def test_an_empty_class_does_not_hide_the_other() -> None:
    both = np.concatenate([one_class(), one_class((slice(2, 4), slice(2, 4), slice(2, 4)))])
    assert region_of(both, VIEW, SHAPE) == Box((2.0, 2.0, 16.0), (6.0, 4.0, 22.0))


def test_surroundings_grow_by_a_factor() -> None:
    """10 voxels times 1.4: 2 more on each side, and the coarse voxel is smaller."""
    box = grown_region(Box((20.0, 20.0, 20.0), (30.0, 30.0, 30.0)), 1.4, (1.0, 1.0, 1.0), (50, 50, 50))
    assert box == Box((18.0, 18.0, 18.0), (32.0, 32.0, 32.0))


def test_surroundings_hold_a_coarse_voxel_around_a_small_target() -> None:
    box = grown_region(Box((20.0, 20.0, 20.0), (24.0, 24.0, 24.0)), 1.2, (4.0, 1.0, 0.1), (50, 50, 50))
    assert np.allclose(box.start, (16.0, 19.0, 19.6))
    assert np.allclose(box.stop, (28.0, 25.0, 24.4))


def test_surroundings_end_with_the_volume() -> None:
    """A target that fills the volume keeps its spacing: nothing outside is worth a voxel."""
    box = grown_region(Box((0.0, 1.0, 0.0), (8.0, 9.0, 10.0)), 2.0, (1.0, 1.0, 1.0), (8, 10, 10))
    assert box == Box((0.0, 0.0, 0.0), (8.0, 10.0, 10.0))


@pytest.mark.parametrize(
    ("faint", "sure", "unsure"), [(0, 0, False), (0, 8, False), (7, 8, False), (8, 8, True), (1, 0, True)]
)
def test_a_class_is_unsure_where_half_of_it_is_neither_yes_nor_no(
    faint: int, sure: int, unsure: bool
) -> None:
    """Nothing at all is a sure result."""
    row = np.zeros((10, 10, 10), np.float32)
    row.ravel()[:faint], row.ravel()[faint : faint + sure] = LOW_PROBABILITY, HIGH_PROBABILITY
    assert is_uncertain(row[None]) is unsure


def test_one_unsure_class_is_enough() -> None:
    sure, unsure = np.full((1, 4, 4, 4), 1.0), np.full((1, 4, 4, 4), 0.5)
    assert is_uncertain(np.concatenate([sure, unsure])) and not is_uncertain(np.concatenate([sure, sure]))

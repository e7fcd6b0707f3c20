"""Surface Dice of shapes whose surfaces a hand can follow."""

from math import isnan

import numpy as np
import pytest
from scipy import ndimage

from vesal.evaluation.surface import bounding_box, surface_dice


def one_voxel(z, y, x, shape=(8, 8, 8)):
    mask = np.zeros(shape, bool)
    mask[z, y, x] = True
    return mask


@pytest.mark.parametrize(
    ("steps", "spacing", "wanted"),
    [
        ((0, 0, 1), (1.0, 1.0, 1.0), 1.0),
        ((0, 0, 2), (1.0, 1.0, 1.0), 1.0),
        ((0, 0, 4), (1.0, 1.0, 1.0), 0.0),
        ((0, 0, 1), (1.0, 1.0, 5.0), 0.5),
        ((1, 0, 0), (1.0, 1.0, 5.0), 1.0),
        ((0, 0, 2), (1.0, 1.0, 5.0), 0.0),
    ],
)
def test_two_voxels_at_a_known_distance(steps, spacing, wanted):
    """A voxel's surface has 4 corners on each side of an axis; neighbours share one side's."""
    a, b = one_voxel(2, 2, 2), one_voxel(2 + steps[0], 2 + steps[1], 2 + steps[2])
    assert surface_dice(a, b, spacing) == pytest.approx(wanted)


def test_half_of_the_corners_lie_within_the_tolerance():
    a, b = one_voxel(2, 2, 2), one_voxel(2, 2, 5)
    assert surface_dice(a, b, (1.0, 1.0, 1.0)) == pytest.approx(0.5), "2 mm and 3 mm"
    assert surface_dice(a, b, (1.0, 1.0, 1.001)) == 0.0


def test_a_distance_of_exactly_the_tolerance_counts_in_any_place():
    """5 steps of 0.4 mm are 2 mm, wherever rounding of the coordinates puts them."""
    for start in range(0, 60, 7):
        a, b = one_voxel(0, 0, start, (1, 1, 80)), one_voxel(0, 0, start + 6, (1, 1, 80))
        assert surface_dice(a, b, (0.4, 0.4, 0.4)) == pytest.approx(0.5), start


def test_equal_masks_score_one_even_at_the_border_of_the_volume():
    full = np.ones((3, 4, 5), bool)
    assert surface_dice(full, full, (1.0, 2.0, 3.0)) == 1.0


def test_empty_masks():
    empty, full = np.zeros((2, 2, 2), bool), np.ones((2, 2, 2), bool)
    assert surface_dice(empty, full, (1.0, 1.0, 1.0)) == 0.0
    assert surface_dice(full, empty, (1.0, 1.0, 1.0)) == 0.0
    assert isnan(surface_dice(empty, empty, (1.0, 1.0, 1.0)))


def test_agrees_with_a_distance_transform_over_the_whole_volume():
    rng = np.random.default_rng(0)
    for spacing in [(1.0, 1.0, 1.0), (3.0, 0.7, 0.7), (0.3, 0.4, 0.5)]:
        a, b = (ndimage.gaussian_filter(rng.random((16, 18, 20)), 2) > 0.5 for _ in range(2))
        wanted = by_distance_transform(a, b, spacing)
        assert surface_dice(a, b, spacing) == pytest.approx(wanted, abs=1e-12)


def by_distance_transform(a, b, spacing, tolerance=2.0):
    """The same measure, spelled out: corner codes by convolution, distances everywhere."""
    from surface_distance.lookup_tables import (
        ENCODE_NEIGHBOURHOOD_3D_KERNEL,
        create_table_neighbour_code_to_surface_area,
    )

    area = create_table_neighbour_code_to_surface_area(spacing)
    codes = [
        ndimage.correlate(np.pad(m, 1).astype(np.uint8), ENCODE_NEIGHBOURHOOD_3D_KERNEL, mode="constant")
        for m in (a, b)
    ]
    border = [(c != 0) & (c != 255) for c in codes]
    away = [ndimage.distance_transform_edt(~m, sampling=spacing) for m in border]
    near = sum(area[codes[i]][border[i] & (away[1 - i] <= tolerance)].sum() for i in range(2))
    return near / sum(area[codes[i]][border[i]].sum() for i in range(2))


def test_the_box_is_tight():
    mask = np.zeros((5, 6, 7), bool)
    assert bounding_box(mask) is None
    mask[1, 2, 3] = mask[3, 2, 6] = True
    assert bounding_box(mask) == (slice(1, 4), slice(2, 3), slice(3, 7))

"""Views fitted to a number of voxels: every number here can be worked out on paper, the rest holds for any
volume.
"""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vesal.inference.geometry.fit import anisotropy, fit_view, through_plane_axis
from vesal.inference.geometry.views import SIDE_MULTIPLE, Box, View, whole

SHAPES = st.tuples(*[st.integers(1, 400)] * 3)
SPACINGS = st.tuples(*[st.floats(0.1, 10.0)] * 3)


def boxes() -> st.SearchStrategy[Box]:
    """Boxes of 0.1 to 300 native voxels a side, anywhere about the volume."""
    starts = st.tuples(*[st.floats(-50, 200)] * 3)
    sizes = st.tuples(*[st.floats(0.1, 300)] * 3)
    return st.builds(
        lambda a, n: Box(a, tuple(x + y for x, y in zip(a, n, strict=True))),
        starts,
        sizes,
    )


@pytest.mark.parametrize(
    ("spacing", "expected"),
    [
        ((1.0, 1.0, 1.0), (0, 0)),
        ((1.69, 1.0, 1.0), (0, 0)),
        ((1.7, 1.0, 1.0), (1, 0)),
        ((1.0, 2.9, 1.0), (1, 1)),
        ((1.0, 1.0, 3.0), (2, 2)),
        ((0.5, 5.0, 0.7), (2, 1)),
        ((5.0, 5.0, 1.0), (0, 0)),
    ],
)
def test_the_degree_is_the_ratio_of_the_two_longest_edges(
    spacing: tuple[float, float, float], expected: tuple[int, int]
) -> None:
    """Two long edges are no thick axis: 5, 5, 1 has none."""
    assert anisotropy((100.0, 100.0, 100.0), spacing) == expected


@pytest.mark.parametrize(("size", "expected"), [((6.0, 99.0, 99.0), (2, 0)), ((99.0, 99.0, 1.0), (2, 2))])
def test_few_voxels_on_an_axis_are_a_stack_of_slices(
    size: tuple[float, float, float], expected: tuple[int, int]
) -> None:
    assert anisotropy(size, (1.0, 1.0, 1.0)) == expected
    assert anisotropy((7.0, 99.0, 99.0), (1.0, 1.0, 1.0)) == (0, 0)


@pytest.mark.parametrize(
    ("thick_mm", "degree"), [(1.9, 0), (2.0, 1), (4.0, 2), (7.9, 2), (8.0, 3), (16.0, 4), (100.0, 4)]
)
def test_a_network_may_have_more_degrees(thick_mm: float, degree: int) -> None:
    """Those of SPAD-Nets: floor(log2 of the ratio). The depth is a multiple of 16 / 2^degree."""
    ratios = (2.0, 4.0, 8.0, 16.0)
    view = fit_view(whole((9, 64, 64)), (thick_mm, 1.0, 1.0), 64**3, ratios=ratios)
    multiple = 16 >> degree
    assert (view.degree, view.shape) == (degree, (-(-9 // multiple) * multiple, 64, 64))
    # One slice is the highest, and no thin axis takes over from slices that are thick.
    assert anisotropy((1.0, 99.0, 99.0), (1.0, 1.0, 1.0), ratios) == (4, 0)
    assert anisotropy((40.0, 99.0, 3.0), (5.0, 1.0, 1.0), ratios) == (2, 0)


def test_a_thin_axis_does_not_take_over_from_a_thick_one() -> None:
    """Slices of 5 mm stay the slices although the volume is only 3 voxels wide."""
    assert anisotropy((40.0, 99.0, 3.0), (5.0, 1.0, 1.0)) == (2, 0)


def test_a_volume_that_fits_is_seen_as_it_is() -> None:
    view = fit_view(whole((32, 48, 16)), (1.0, 1.0, 1.0), 32 * 48 * 16)
    assert view == View((0.0, 0.0, 0.0), (1.0, 1.0, 1.0), (32, 48, 16), 0, 0)


def test_a_volume_four_times_too_large_doubles_its_step() -> None:
    """128^3 into 64^3 voxels: step 2; the search stops at most 2 % above, where 64 no longer holds it."""
    view = fit_view(whole((128, 128, 128)), (1.0, 1.0, 1.0), 64**3)
    assert view.shape == (64, 64, 64)
    assert view.step[0] == view.step[1] == view.step[2]
    assert 2.0 <= view.step[0] <= 2.0 * 1.02


def test_what_the_rounding_adds_lies_evenly_around() -> None:
    """20 voxels become 32: six on either side."""
    view = fit_view(whole((20, 32, 32)), (1.0, 1.0, 1.0), 32**3)
    assert view.shape == (32, 32, 32)
    assert view.start == (-6.0, 0.0, 0.0)


def test_thick_slices_keep_their_own_spacing_and_short_sides() -> None:
    """10 slices of 6 mm become 12 (sides of 4 at degree 2), one on either side; 1 mm in plane doubles."""
    view = fit_view(whole((10, 120, 120)), (6.0, 1.0, 1.0), 12 * 64 * 64)
    assert (view.degree, view.thick_axis) == (2, 0)
    assert view.shape == (12, 64, 64)
    assert (view.step[0], view.start[0]) == (1.0, -1.0)
    assert 120 / 64 <= view.step[1] == view.step[2] <= 120 / 64 * 1.02


@pytest.mark.parametrize(
    ("native", "thickest", "expected"),
    [
        ((8.0, 1.0, 1.0), 2.0, (2.0, 1.0, 1.0)),
        ((8.0, 1.0, 1.0), 8.0, (8.0, 1.0, 1.0)),
        ((8.0, 1.0, 1.0), 10.0, (8.0, 1.0, 1.0)),
        ((1.0, 1.0, 8.0), 2.0, (1.0, 1.0, 2.0)),
        # No thick axis: D is across the slices, which get no thinner than the pixels are wide.
        ((5.0, 4.0, 4.0), 2.5, (4.0, 4.0, 4.0)),
        ((4.0, 4.0, 4.0), 2.5, (4.0, 4.0, 4.0)),
        ((8.0, 1.0, 3.0), 2.5, (3.0, 1.0, 3.0)),
        ((2.5, 5.0, 5.0), 2.5, (2.5, 5.0, 5.0)),
    ],
)
def test_slices_are_interpolated_to_the_thickest_that_the_network_knows(
    native: tuple[float, float, float], thickest: float, expected: tuple[float, float, float]
) -> None:
    view = fit_view(whole((16, 16, 16)), native, 10**6, thickest_slice_mm=thickest)
    assert view.spacing_mm(native) == pytest.approx(expected)
    covered = [n * s for n, s in zip(view.shape, expected, strict=True)]
    assert all(c >= 16 * s - 1e-6 for c, s in zip(covered, native, strict=True))
    assert view.degree == anisotropy(view.shape, expected)[0]


def test_a_view_that_is_coarser_anyway_is_as_it_was() -> None:
    """What is interpolated takes no part of the voxels where slices are thinner than the view's."""
    box, native = whole((40, 256, 256)), (2.5, 1.0, 1.0)
    assert fit_view(box, native, 32**3, thickest_slice_mm=1.0) == fit_view(box, native, 32**3)


@pytest.mark.parametrize(
    ("spacing", "axis"),
    [
        ((1.0, 1.0, 1.0), 0),
        ((1.0, 5.0, 1.0), 1),
        ((1.0, 1.0, 1.69), 0),
        ((1.0, 1.0, 1.7), 2),
        ((2.5, 5.4, 5.4), 0),
        ((1.0, 3.0, 5.4), 2),
    ],
)
def test_slices_lie_across_one_clearly_longest_edge_else_across_d(
    spacing: tuple[float, float, float], axis: int
) -> None:
    assert through_plane_axis(spacing) == axis


def test_a_finest_spacing_is_kept() -> None:
    view = fit_view(whole((64, 64, 64)), (0.5, 0.5, 0.5), 64**3, finest_mm=2.0)
    assert view.spacing_mm((0.5, 0.5, 0.5)) == (2.0, 2.0, 2.0)
    assert view.shape == (16, 16, 16)


def test_a_budget_below_the_smallest_cube_is_refused_not_overdrawn() -> None:
    """16^3 voxels came back where 4095 were allowed."""
    with pytest.raises(ValueError, match="view of 4095 voxels.*ask for more"):
        fit_view(whole((64, 64, 64)), (1.0, 1.0, 1.0), 4095)
    assert fit_view(whole((64, 64, 64)), (1.0, 1.0, 1.0), 4096).shape == (16, 16, 16)


@given(boxes(), SPACINGS, st.integers(4096, 500_000))
def test_a_view_covers_its_box_within_the_budget(
    box: Box, spacing: tuple[float, float, float], voxels: int
) -> None:
    """Where the step is 1 the view snaps to whole voxels; what it loses is at most half of one."""
    view = fit_view(box, spacing, voxels)
    assert math.prod(view.shape) <= voxels
    for axis in range(3):
        snap = 0.5 if view.step[axis] == 1.0 else 0.0
        slack = snap + 1e-5 * SIDE_MULTIPLE * view.step[axis]
        assert view.box.start[axis] <= box.start[axis] + slack
        assert view.box.stop[axis] >= box.stop[axis] - slack


@given(SHAPES, SPACINGS, st.integers(4096, 500_000))
def test_no_view_is_finer_than_acquired_and_its_sides_can_be_halved(
    shape: tuple[int, int, int], spacing: tuple[float, float, float], voxels: int
) -> None:
    """A whole volume is covered exactly; a volume on its own grid stays on it (whole first voxels)."""
    view = fit_view(whole(shape), spacing, voxels)
    for axis in range(3):
        thick = view.degree and axis == view.thick_axis
        assert view.step[axis] >= 1.0
        assert view.shape[axis] % (SIDE_MULTIPLE >> view.degree if thick else SIDE_MULTIPLE) == 0
        assert view.box.start[axis] <= 1e-3 and view.box.stop[axis] >= shape[axis] - 1e-3
        if view.step[axis] == 1.0:
            assert view.start[axis] == int(view.start[axis])


@given(SHAPES, SPACINGS, st.integers(4096, 200_000))
def test_more_voxels_never_make_a_view_coarser(
    shape: tuple[int, int, int], spacing: tuple[float, float, float], voxels: int
) -> None:
    few, many = (fit_view(whole(shape), spacing, n) for n in (voxels, 2 * voxels))
    assert all(a <= b for a, b in zip(many.step, few.step, strict=True))

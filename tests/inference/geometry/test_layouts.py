"""How each layout lays its views: shapes, steps and windows that can be worked out on paper."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vesal.inference.geometry.fit import fit_view
from vesal.inference.geometry.layouts import Fit, Slices, Stretch, Window, first_box
from vesal.inference.geometry.resample import to_view
from vesal.inference.geometry.tilings import FixedTiling, SliceTiling
from vesal.inference.geometry.views import Box, EvenTiling, View, VolumeGrid, whole

SHAPES = st.tuples(*[st.integers(1, 200)] * 3)
SPACINGS = st.tuples(*[st.floats(0.2, 8.0)] * 3)


def cube(side: int, spacing_mm: float = 1.0) -> VolumeGrid:
    """A volume of equal sides."""
    return VolumeGrid((side, side, side), (spacing_mm, spacing_mm, spacing_mm))


def windows(view: View) -> int:
    """How many windows a view is cut into, side by side."""
    return len(view.tiling.corners(view, view.tiling.size(view, 10**9), 0.0))


def test_fit_is_the_finest_view_of_so_many_voxels() -> None:
    volume = VolumeGrid((40, 90, 70), (3.0, 1.0, 1.0))
    box = Box((2.0, 5.0, 1.0), (30.0, 80.0, 60.0))
    view = Fit().view(box, volume, 50_000, 1.5)
    assert view == fit_view(box, volume.spacing_dhw_mm, 50_000, 1.5)
    assert (view.tiling, Fit().min_voxels, Fit().crop_air) == (EvenTiling(16), 16**3, True)


def test_fit_keeps_to_the_multiple_of_a_network() -> None:
    """50 voxels a side need 64: two times 32; 7 on either side. Such a network has no degrees."""
    layout = Fit(multiple=32, degrees=False)
    view = layout.view(whole((50, 50, 50)), VolumeGrid((50, 50, 50), (6.0, 1.0, 1.0)), 10**9, 0.0)
    assert (view.shape, view.degree, view.thick_axis) == ((64, 64, 64), 0, 0)
    assert view.start == (-7.0, -7.0, -7.0) and view.step == (1.0, 1.0, 1.0)
    assert (view.tiling, layout.min_voxels) == (EvenTiling(32), 32**3)


def test_a_window_has_its_own_spacing_up_and_down() -> None:
    """40 mm in voxels of 2 mm are 20, in voxels of 0.5 mm 80; both from voxels of 1 mm."""
    for spacing, side in ((2.0, 20), (0.5, 80)):
        layout = Window((10, 10, 10), (spacing,) * 3)
        view = layout.view(whole((40, 40, 40)), cube(40), 10**9, 0.0)
        assert (view.shape, view.step, view.start) == ((side,) * 3, (spacing,) * 3, (0.0,) * 3)
        assert view.tiling == FixedTiling((10, 10, 10)) and view.tiling.size(view, 1) == (10, 10, 10)
        assert windows(view) == (side // 10) ** 3


def test_a_window_without_a_spacing_takes_the_volumes_own() -> None:
    volume = VolumeGrid((12, 40, 40), (5.0, 0.8, 0.8))
    view = Window((4, 20, 20)).view(whole(volume.shape), volume, 10**9, 0.0)
    assert (view.shape, view.step) == ((12, 40, 40), (1.0, 1.0, 1.0))
    assert windows(view) == 3 * 2 * 2


def test_a_region_smaller_than_a_window_is_seen_with_its_surroundings() -> None:
    """8 voxels in a window of 20: 6 on either side."""
    view = Window((20, 20, 20)).view(Box((10.0,) * 3, (18.0,) * 3), cube(40), 10**9, 0.0)
    assert (view.shape, view.start) == ((20, 20, 20), (4.0, 4.0, 4.0))
    assert windows(view) == 1


@pytest.mark.parametrize(("allowed", "side"), [(64, 40), (8, 20), (1, 10)])
def test_where_windows_are_too_many_the_spacing_gets_coarser(allowed: int, side: int) -> None:
    """40 voxels in windows of 10 are 64; 8 of them hold 20 voxels, one holds 10, to 2 % of the search."""
    layout = Window((10, 10, 10))
    view = layout.view(whole((40, 40, 40)), cube(40), allowed * 10**3, 0.0)
    assert windows(view) == allowed and view.shape == (side, side, side)
    assert 40 / side <= view.step[0] < 40 / side * 1.03
    assert layout.min_voxels == 1000


def test_fewer_voxels_than_a_window_are_one_window() -> None:
    view = Window((10, 10, 10)).view(whole((40, 40, 40)), cube(40), 1, 0.0)
    assert (view.shape, windows(view)) == ((10, 10, 10), 1)


def test_no_window_is_finer_than_asked_for() -> None:
    view = Window((10, 10, 10), (0.5, 0.5, 0.5)).view(whole((40, 40, 40)), cube(40), 10**9, 2.0)
    assert view.spacing_mm((1.0, 1.0, 1.0)) == (2.0, 2.0, 2.0)


@given(SHAPES, SPACINGS, st.integers(1, 40))
def test_windows_cover_their_region_and_are_no_more_than_allowed(
    shape: tuple[int, int, int], spacing: tuple[float, float, float], allowed: int
) -> None:
    layout = Window((16, 24, 32), (2.0, 1.5, 1.5))
    view = layout.view(whole(shape), VolumeGrid(shape, spacing), allowed * layout.min_voxels, 0.0)
    assert windows(view) <= allowed
    for axis in range(3):
        slack = 0.5 if view.step[axis] == 1.0 else 1e-4 * shape[axis] + 1e-3
        assert view.box.start[axis] <= slack and view.box.stop[axis] >= shape[axis] - slack
        assert view.shape[axis] >= layout.window_dhw[axis]


@pytest.mark.parametrize(
    ("box", "step"),
    [
        (Box((0.0, 0.0, 0.0), (64.0, 64.0, 64.0)), (2.0, 2.0, 1.0)),
        (Box((0.0, 0.0, 0.0), (16.0, 8.0, 64.0)), (0.5, 0.25, 1.0)),
        (Box((3.0, 5.5, 1.0), (35.0, 37.5, 33.0)), (1.0, 1.0, 0.5)),
    ],
    ids=["down", "up", "inside"],
)
def test_a_region_is_stretched_to_one_shape_up_and_down(box: Box, step: tuple[float, float, float]) -> None:
    layout = Stretch((32, 32, 64))
    for voxels in (1, 10**9):
        view = layout.view(box, cube(64), voxels, 0.0)
        assert (view.shape, view.step, view.start) == ((32, 32, 64), step, box.start)
        assert view.box == box and windows(view) == 1
    assert (layout.min_voxels, layout.crop_air) == (32 * 32 * 64, False)


def test_a_stretched_volume_keeps_what_it_shows() -> None:
    """A ramp of 4 voxels stretched to 8 stays a ramp, from edge to edge."""
    ramp = np.broadcast_to(np.arange(4, dtype=np.uint8)[:, None, None] * 40, (4, 2, 2))
    view = Stretch((8, 2, 2)).view(whole((4, 2, 2)), VolumeGrid((4, 2, 2), (1.0, 1.0, 1.0)), 1, 0.0)
    assert to_view(ramp, view)[:, 0, 0].tolist() == [0, 10, 30, 50, 70, 90, 110, 120]


def test_slices_run_along_the_longest_voxels() -> None:
    volume = VolumeGrid((30, 40, 12), (0.7, 0.7, 4.0))
    view = Slices(run=2, context=1).view(whole(volume.shape), volume, 10**9, 0.0)
    assert (view.shape, view.step, view.start) == ((30, 40, 12), (1.0,) * 3, (0.0,) * 3)
    assert (view.tiling, view.thick_axis, view.degree) == (SliceTiling(2, 2, 1, "edge"), 2, 0)
    assert view.tiling.size(view, 10**9) == (30, 40, 2) and windows(view) == 6


def test_slices_of_a_region_come_with_their_context() -> None:
    """Slices 10 to 14 of 30, two more on either side; in plane the region and nothing more."""
    box = Box((10.0, 4.0, 6.0), (15.0, 20.0, 30.0))
    view = Slices(axis=0, context=2).view(box, cube(30), 10**9, 0.0)
    assert view.box == Box((8.0, 4.0, 6.0), (17.0, 20.0, 30.0))


@pytest.mark.parametrize(
    ("first", "last", "start", "stop"), [(0.0, 5.0, 0, 8), (26.0, 30.0, 23, 30), (0.0, 30.0, 0, 30)]
)
def test_context_ends_with_the_volume(first: float, last: float, start: int, stop: int) -> None:
    """Three slices of context, as far as there are some; beyond is the tiling's border."""
    box = Box((first, 0.0, 0.0), (last, 30.0, 30.0))
    view = Slices(axis=0, context=3).view(box, cube(30), 10**9, 0.0)
    assert (view.box.start[0], view.box.stop[0]) == (start, stop)


def test_a_slice_in_part_is_a_whole_one() -> None:
    view = Slices(axis=0).view(Box((2.3, 0.0, 0.0), (4.6, 30.0, 30.0)), cube(30), 10**9, 0.0)
    assert (view.box.start[0], view.box.stop[0], view.step[0]) == (2.0, 5.0, 1.0)


def test_sides_of_a_slice_are_filled_up_around_it() -> None:
    """30 x 50 voxels in multiples of 16 are 32 x 64: 1 and 7 on either side."""
    volume = VolumeGrid((4, 30, 50), (1.0, 1.0, 1.0))
    layout = Slices(axis=0, multiple=16)
    view = layout.view(whole(volume.shape), volume, 10**9, 0.0)
    assert (view.shape, view.start) == ((4, 32, 64), (0.0, -1.0, -7.0))
    assert layout.min_voxels == 16**2


@pytest.mark.parametrize(("side", "step"), [(60, 2.0), (15, 0.5)])
def test_slices_are_brought_to_one_plane_up_and_down(side: int, step: float) -> None:
    """Along the axis of the slices nothing is resampled."""
    view = Slices(axis=1, plane=(30, 30)).view(whole((side, 9, side)), cube(side), 10**9, 0.0)
    assert (view.shape, view.step) == ((30, 9, 30), (step, 1.0, step))
    assert view.box == whole((side, 9, side))


@pytest.mark.parametrize("plane", [None, (48, 48)])
def test_with_fewer_voxels_slices_get_coarser_in_plane_and_stay_as_many(
    plane: tuple[int, int] | None,
) -> None:
    """A quarter of the voxels is half of each side, to 2 % of the search and a multiple of 4."""
    volume = VolumeGrid((20, 48, 48), (1.0, 1.0, 1.0))
    layout = Slices(axis=0, run=4, plane=plane, multiple=4)
    full, quarter = (layout.view(whole(volume.shape), volume, n, 0.0) for n in (20 * 48 * 48, 20 * 24 * 24))
    assert (full.shape, quarter.shape) == ((20, 48, 48), (20, 24, 24))
    assert quarter.step[0] == 1.0 and quarter.step[1] == quarter.step[2] == pytest.approx(2.0, rel=0.03)


def test_slices_never_get_smaller_than_a_multiple() -> None:
    view = Slices(axis=0, multiple=16).view(whole((20, 48, 48)), cube(48), 1, 0.0)
    assert view.shape == (20, 16, 16)


def test_slices_are_no_finer_than_asked_for() -> None:
    """1.5 mm from 0.5 mm in plane: a third of the voxels a side."""
    volume = VolumeGrid((8, 60, 60), (3.0, 0.5, 0.5))
    view = Slices().view(whole(volume.shape), volume, 10**9, 1.5)
    assert view.shape == (8, 20, 20) and view.spacing_mm(volume.spacing_dhw_mm) == (3.0, 1.5, 1.5)


@given(
    SHAPES, st.sampled_from([None, 0, 1, 2]), st.integers(0, 3), st.integers(1, 9), st.integers(256, 10**6)
)
def test_slices_cover_their_region(
    shape: tuple[int, int, int], axis: int | None, context: int, run: int, voxels: int
) -> None:
    layout = Slices(axis=axis, run=run, context=context, multiple=8)
    view = layout.view(whole(shape), VolumeGrid(shape, (1.0, 1.0, 1.0)), voxels, 0.0)
    along = 0 if axis is None else axis
    assert isinstance(view.tiling, SliceTiling) and view.tiling.axis == along
    assert view.shape[along] == shape[along]
    across = [a for a in range(3) if a != along]
    assert all(view.shape[a] % 8 == 0 for a in across)
    assert math.prod(view.shape) <= voxels or all(view.shape[a] == 8 for a in across)
    for a in range(3):
        assert view.box.start[a] <= 1e-4 and view.box.stop[a] >= shape[a] - 1e-3


def test_air_is_left_out_where_the_layout_says_so() -> None:
    image = np.zeros((40, 40, 40), np.uint8)
    image[10:30, 12:28, 8:33] = 200
    cropped = first_box(Fit(), image)
    assert cropped != whole((40, 40, 40))
    assert all(a <= b for a, b in zip(cropped.start, (10, 12, 8), strict=True))
    assert all(a >= b for a, b in zip(cropped.stop, (30, 28, 33), strict=True))
    assert first_box(Stretch((8, 8, 8)), image) == first_box(Slices(), image) == whole((40, 40, 40))
    assert first_box(Window((8, 8, 8)), image) == first_box(Slices(crop_air=True), image) == cropped
    assert first_box(Fit(crop_air=False), image) == whole((40, 40, 40))


def test_slices_that_are_filled_up_keep_the_acquired_samples() -> None:
    """An odd side is filled up to a multiple by whole voxels, not by halves."""
    view = Slices(multiple=16).view(whole((21, 50, 47)), VolumeGrid((21, 50, 47), (3.0, 1.0, 1.0)), 10**9, 0)
    assert all(start == round(start) for start in view.start)
    assert view.step == (1.0, 1.0, 1.0)

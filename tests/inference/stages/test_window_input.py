"""What a network gets of a window: its voxels, its context, and what the user marked in it."""

import numpy as np
import pytest

from vesal.inference.families.contract import UserInput
from vesal.inference.geometry.tilings import SliceTiling
from vesal.inference.geometry.views import View
from vesal.inference.stages.packed_probability import PackedProbability
from vesal.inference.stages.sliding_window import slices_of
from vesal.inference.stages.window_input import spatial_of, thick_first, user_input_of, window_of


def numbered(shape: tuple[int, int, int], axis: int) -> np.ndarray:
    """(2, D, H, W) float32: each voxel its place along ``axis``, and that plus 100."""
    places = np.arange(shape[axis], dtype=np.float32)
    one = np.broadcast_to(places.reshape([-1 if a == axis else 1 for a in range(3)]), shape)
    return np.stack([one, one + 100])


def sliced(shape: tuple[int, int, int], axis: int, context: int, border: str = "edge") -> View:
    """A view of slices along ``axis``, in runs of 2."""
    tiling = SliceTiling(axis, 2, context, border)
    return View((0.0, 0.0, 0.0), (1.0, 1.0, 1.0), shape, 0, axis, tiling)


def seen(view: View, first: int, axis: int) -> list[int]:
    """Places along the axis that the window of two slices from ``first`` on shows."""
    size, corner = [*view.shape], [0, 0, 0]
    size[axis], corner[axis] = 2, first
    window = window_of(numbered(view.shape, axis), view, slices_of(tuple(corner), tuple(size)))
    others = [n for a, n in enumerate(view.shape) if a != axis]
    context = view.tiling.halo[axis]
    assert window.image.shape == (2, 2 + 2 * context, *others) and window.context == context
    assert window.shape == (2, *others)
    assert (window.image[1] == window.image[0] + 100).all(), "all channels alike"
    line = window.image[0, :, 0, 0]
    assert (window.image[0] == line[:, None, None]).all()
    return line.astype(int).tolist()


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_window_is_seen_with_its_neighbours(axis: int) -> None:
    shape = [3, 4]
    shape.insert(axis, 9)
    assert seen(sliced(tuple(shape), axis, 2), 4, axis) == [2, 3, 4, 5, 6, 7]


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize(
    ("border", "first", "expected"),
    [
        ("edge", 0, [0, 0, 0, 0, 1, 2, 3, 4]),
        ("edge", 7, [4, 5, 6, 7, 8, 8, 8, 8]),
        ("reflect", 0, [3, 2, 1, 0, 1, 2, 3, 4]),
        ("reflect", 7, [4, 5, 6, 7, 8, 7, 6, 5]),
    ],
)
def test_beyond_the_view_its_border_is_repeated_or_mirrored(
    axis: int, border: str, first: int, expected: list[int]
) -> None:
    """Three slices of context at the ends of nine; a mirror does not repeat the slice that it lies in."""
    shape = [3, 4]
    shape.insert(axis, 9)
    assert seen(sliced(tuple(shape), axis, 3, border), first, axis) == expected


@pytest.mark.parametrize(
    ("border", "expected"),
    [("edge", [0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1]), ("reflect", [1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0])],
)
def test_more_context_than_slices_goes_to_and_fro(border: str, expected: list[int]) -> None:
    assert seen(sliced((2, 3, 4), 0, 5, border), 0, 0) == expected


@pytest.mark.parametrize("border", ["edge", "reflect"])
def test_the_only_slice_is_all_of_its_context(border: str) -> None:
    view = sliced((1, 3, 4), 0, 2, border)
    window = window_of(numbered(view.shape, 0) + 7, view, slices_of((0, 0, 0), (1, 3, 4)))
    assert window.image.shape == (2, 5, 3, 4) and (window.image[0] == 7).all()


@pytest.mark.parametrize("thick", [0, 1, 2])
def test_the_thick_axis_comes_first_and_the_arrays_in_one_piece(thick: int) -> None:
    shape = [5, 6]
    shape.insert(thick, 4)
    view = View((0.0, 0.0, 0.0), (1.0, 1.0, 1.0), tuple(shape), 2, thick)
    image = np.random.default_rng(0).random((2, *shape), np.float32)
    at = slices_of((0, 0, 0), tuple(shape))
    window, spatial = window_of(image, view, at), spatial_of(image, view, at)
    assert window.image.shape == (2, 4, 5, 6) and (window.degree, window.context) == (2, 0)
    assert spatial is not None
    for array in (window.image, spatial):
        assert array.flags.c_contiguous
        np.testing.assert_array_equal(np.moveaxis(array, 1, 1 + thick), image)


def test_a_spatial_prompt_has_no_context() -> None:
    """It belongs to what is predicted; packed or not."""
    view, prompt = sliced((9, 3, 4), 0, 2), np.random.default_rng(0).random((3, 9, 3, 4), np.float32)
    at = slices_of((4, 0, 0), (2, 3, 4))
    assert spatial_of(None, view, at) is None
    np.testing.assert_array_equal(spatial_of(prompt, view, at), prompt[:, 4:6])
    packed = PackedProbability.of(prompt)
    np.testing.assert_array_equal(spatial_of(packed, view, at), np.asarray(packed)[:, 4:6])


def test_masks_stay_masks() -> None:
    turned = thick_first(np.zeros((1, 2, 3, 4), bool), 2)
    assert turned.dtype == bool and turned.shape == (1, 4, 2, 3)


BOX = np.array([[[4.0, 1.0, 2.0], [6.0, 3.0, 5.0]]])
"""First and last edges of one box, (D, H, W)."""
POINT = np.array([[5.0, 2.0, 3.0, 1.0], [0.0, 0.0, 0.0, 0.0]])
"""One point on the target and one on the background, each in the middle of a voxel."""
NOTHING = np.zeros((0, 2, 3)), np.zeros((0, 4))
USER = UserInput((BOX, NOTHING[0]), (NOTHING[1], POINT))


def test_boxes_and_points_move_into_the_window() -> None:
    """A window from (3, 1, 2) on."""
    view = View((0.0, 0.0, 0.0), (1.0, 1.0, 1.0), (9, 8, 7), 0, 0)
    found = user_input_of(USER, view, slices_of((3, 1, 2), (4, 4, 4)))
    assert found is not None
    assert found.boxes[0].tolist() == [[[1.0, 0.0, 0.0], [3.0, 2.0, 3.0]]]
    assert found.points[1].tolist() == [[2.0, 1.0, 1.0, 1.0], [-3.0, -1.0, -2.0, 0.0]]
    assert found.boxes[1].shape == (0, 2, 3) and found.points[0].shape == (0, 4)


@pytest.mark.parametrize(("axis", "order"), [(0, (0, 1, 2)), (1, (1, 0, 2)), (2, (2, 0, 1))])
def test_boxes_and_points_count_from_the_context_on_thick_axis_first(
    axis: int, order: tuple[int, int, int]
) -> None:
    """With two slices of context the window's first voxel is two before what is predicted."""
    view, corner, size = sliced((9, 8, 7), axis, 2), [0, 0, 0], [9, 8, 7]
    corner[axis], size[axis] = 3, 2
    found = user_input_of(USER, view, slices_of(tuple(corner), tuple(size)))
    assert found is not None
    shift = np.array([1.0 if a == axis else 0.0 for a in range(3)])
    np.testing.assert_array_equal(found.boxes[0], (BOX - shift)[..., order])
    np.testing.assert_array_equal(found.points[1][:, :3], (POINT[:, :3] - shift)[:, order])
    assert found.points[1][:, 3].tolist() == [1.0, 0.0], "labels are no places"


def test_a_marked_voxel_is_the_same_in_the_window() -> None:
    """The image holds its own place: what a point names there is what it named in the view."""
    view = sliced((9, 8, 7), 1, 2)
    image = np.random.default_rng(0).random((1, 9, 8, 7), np.float32)
    at = slices_of((0, 3, 0), (9, 2, 7))
    found, window = user_input_of(USER, view, at), window_of(image, view, at)
    assert found is not None
    d, h, w = found.points[1][0, :3].astype(int)
    assert window.image[0, d, h, w] == image[0, 5, 2, 3]


def test_where_nothing_was_marked_there_is_nothing() -> None:
    view = View((0.0, 0.0, 0.0), (1.0, 1.0, 1.0), (9, 8, 7), 0, 0)
    assert user_input_of(None, view, slices_of((0, 0, 0), (9, 8, 7))) is None

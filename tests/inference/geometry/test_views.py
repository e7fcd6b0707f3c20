"""Where views lie and how they are cut into windows: numbers that can be worked out on paper."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vesal.inference.geometry.views import (
    MIN_WEIGHT,
    SIDE_MULTIPLE,
    Box,
    EvenTiling,
    View,
    even_corners,
    gaussian_weight,
    tile_starts,
)


def test_a_box_grows_about_its_centre() -> None:
    grown = Box((0.0, 10.0, 2.0), (4.0, 20.0, 3.0)).grown(2.0)
    assert grown == Box((-2.0, 5.0, 1.5), (6.0, 25.0, 3.5))
    assert grown.size == (8.0, 20.0, 2.0)


def test_a_view_knows_its_box_and_its_millimetres() -> None:
    view = View((-1.0, 0.0, 4.0), (1.0, 2.0, 0.5), (16, 32, 48), 0, 0)
    assert view.box == Box((-1.0, 0.0, 4.0), (15.0, 64.0, 28.0))
    assert view.spacing_mm((5.0, 1.0, 2.0)) == (5.0, 2.0, 1.0)


@pytest.mark.parametrize(
    ("length", "window", "overlap", "expected"),
    [
        (64, 64, 0.5, [0]),
        (10, 64, 0.5, [0]),
        (96, 64, 0.5, [0, 32]),
        (128, 64, 0.5, [0, 32, 64]),
        (100, 64, 0.5, [0, 18, 36]),
        (128, 64, 0.0, [0, 64]),
        (3, 1, 0.9, [0, 1, 2]),
    ],
)
def test_starts_of_windows(length: int, window: int, overlap: float, expected: list[int]) -> None:
    assert tile_starts(length, window, overlap) == expected


@pytest.mark.parametrize("overlap", [-0.1, 1.0, 2.0])
def test_an_impossible_overlap_is_named(overlap: float) -> None:
    with pytest.raises(ValueError, match=f"overlap is {overlap}"):
        tile_starts(10, 5, overlap)


@given(st.integers(1, 500), st.integers(1, 200), st.floats(0.0, 0.95))
def test_windows_cover_everything_and_share_enough(length: int, window: int, overlap: float) -> None:
    starts = tile_starts(length, window, overlap)
    assert starts[0] == 0
    assert starts[-1] == max(0, length - window)
    if window < length:
        assert max(np.diff(starts)) <= max(1, window * (1 - overlap))
        assert min(np.diff(starts)) >= 1


def view_of(shape: tuple[int, int, int], degree: int = 0, thick: int = 0) -> View:
    """A view on the volume's own grid."""
    return View((0.0, 0.0, 0.0), (1.0, 1.0, 1.0), shape, degree, thick)


@pytest.mark.parametrize(
    ("shape", "voxels", "degree", "thick", "expected"),
    [
        ((64, 64, 64), 64**3, 0, 0, (64, 64, 64)),
        ((64, 64, 64), 32 * 64 * 64, 0, 0, (48, 48, 48)),
        ((32, 32, 128), 32 * 32 * 64, 0, 0, (32, 32, 64)),
        ((12, 96, 96), 12 * 96 * 48, 2, 0, (12, 64, 64)),
        ((64, 16, 16), 4096, 2, 0, (16, 16, 16)),
    ],
)
def test_the_longest_side_is_cut_first(
    shape: tuple[int, int, int], voxels: int, degree: int, thick: int, expected: tuple[int, int, int]
) -> None:
    assert EvenTiling().size(view_of(shape, degree, thick), voxels) == expected


@given(st.tuples(*[st.integers(1, 20)] * 3), st.integers(4096, 300_000), st.integers(0, 2), st.integers(0, 2))
def test_windows_keep_their_budget_and_multiples(
    blocks: tuple[int, int, int], voxels: int, degree: int, thick: int
) -> None:
    multiples = [SIDE_MULTIPLE >> degree if a == thick else SIDE_MULTIPLE for a in range(3)]
    shape = tuple(n * m for n, m in zip(blocks, multiples, strict=True))
    size = EvenTiling().size(view_of(shape, degree, thick), voxels)
    assert math.prod(size) <= voxels
    assert all(s % m == 0 and m <= s <= n for s, m, n in zip(size, multiples, shape, strict=True))


def test_the_weight_is_one_in_the_middle_and_never_zero() -> None:
    """An eighth of a side off the middle is one standard deviation: exp(-1/2)."""
    weight = gaussian_weight((17, 17, 17))
    assert weight[8, 8, 8] == 1
    assert weight[0, 0, 0] == np.float32(MIN_WEIGHT)
    np.testing.assert_allclose(weight, weight[::-1, ::-1, ::-1])
    assert gaussian_weight((9, 8, 17))[4, 0, 8] == pytest.approx(gaussian_weight((9, 8, 17))[4, 7, 8])
    wide = gaussian_weight((81, 1, 1)).ravel()
    assert wide[40 + 10] == pytest.approx(math.exp(-0.5 * (10 / (81 / 8)) ** 2), rel=1e-5)


def test_a_view_is_cut_evenly_unless_a_layout_says_otherwise() -> None:
    """Windows of 16 in 40 slices, half shared: at 0, 8, 16 and 24."""
    view = view_of((40, 16, 16))
    assert view.tiling == EvenTiling() and (view.tiling.halo, view.sampling) == ((0, 0, 0), None)
    corners = view.tiling.corners(view, (16, 16, 16), 0.5)
    assert corners == even_corners((40, 16, 16), (16, 16, 16), 0.5) == [(d, 0, 0) for d in (0, 8, 16, 24)]
    np.testing.assert_array_equal(view.tiling.weight((16, 16, 16)), gaussian_weight((16, 16, 16)))


def test_sides_are_cut_by_the_networks_own_multiple() -> None:
    """A network that halves five times: 96 is cut by 32, not by 16."""
    view = view_of((96, 64, 64))
    assert EvenTiling(32).size(view, 80 * 64 * 64) == (64, 64, 64)
    assert EvenTiling(16).size(view, 80 * 64 * 64) == (80, 64, 64)

"""Slices filled up to squares: which axis, which pixels, how many when time is short."""

import json
from pathlib import Path

import numpy as np
import pytest

from vesal.inference.geometry.bicubic import bicubic
from vesal.inference.geometry.square_slices import RunTiling, SquareSlices, plane_ratios, slice_axis
from vesal.inference.geometry.views import Box, VolumeGrid, whole

Sides = tuple[int, int, int]
MANY = 10**12
FIXTURE = "fixtures/biomedparse_v"


def grid(shape: Sides) -> VolumeGrid:
    return VolumeGrid(shape, (1.0, 1.0, 1.0))


@pytest.mark.parametrize(
    ("shape", "released", "paper"),
    [
        ((50, 100, 300), 0, 2),
        ((30, 90, 31), 0, 1),
        ((9, 300, 300), 0, 0),
        ((60, 9, 52), 1, 1),
        ((64, 1, 700), 1, 1),
        ((1, 1, 700), 0, 2),
        ((700, 1, 1), 0, 0),
        ((2000, 64, 64), 0, 0),
        ((100, 60, 100), 1, 1),
    ],
)
def test_the_axis_as_released_and_as_in_the_paper(shape: Sides, released: int, paper: int) -> None:
    assert slice_axis(shape)[0] == released
    assert slice_axis(shape, lowest_ratio=True)[0] == paper


def test_the_reason_tells_the_ratio() -> None:
    assert plane_ratios((10, 30, 50)) == (0.5, 4 / 3, 1.0)
    axis, why = slice_axis((10, 30, 50))
    assert axis == 0 and "0.50" in why and "shortest" in why, "a ratio of 0.5 is not below it"
    assert "below 0.5" in slice_axis((10, 31, 50))[1]


def test_slices_are_the_recorded_ones(shared: Path) -> None:
    """Axis, padding and every byte of all recorded volumes."""
    meta = json.loads((shared / FIXTURE / "process_io_meta.json").read_text())
    compared = 0
    with np.load(shared / FIXTURE / "process_io.npz") as stored:
        for about in meta:
            shape = tuple(about["shape"])
            assert slice_axis(shape)[0] == about["valid_axis"]
            assert slice_axis(shape, True)[0] == about["paper_axis"]
            if f"pi{about['n']}_in" not in stored:
                continue
            volume, size = stored[f"pi{about['n']}_in"], about["size"]
            view = SquareSlices(size).view(whole(shape), grid(shape), MANY, 0.0)
            assert view.sampler is not None and view.thick_axis == about["valid_axis"]
            found = view.sampler.slices(volume, view, np.arange(shape[view.thick_axis]))
            assert np.array_equal(found, stored[f"pi{about['n']}_out_u8"])
            compared += 1
    assert compared >= 5


def test_plain_bicubic_is_what_was_recorded_of_floats(shared: Path) -> None:
    """The released code resizes a float volume in float, overshoot kept. Vesal's volumes are bytes."""
    compared = 0
    with np.load(shared / FIXTURE / "process_io.npz") as stored:
        for about in json.loads((shared / FIXTURE / "process_io_meta.json").read_text()):
            if f"pi{about['n']}_out_f32" not in stored:
                continue
            planes = np.moveaxis(stored[f"pi{about['n']}_in"], about["valid_axis"], 0).astype(np.float32)
            squares = np.pad(planes, ((0, 0), *about["pad_width"][1:]))
            side = about["size"]
            found = squares if squares.shape[1] == side else bicubic(squares, (side, side), antialias=False)
            np.testing.assert_allclose(found, stored[f"pi{about['n']}_out_f32"], atol=2e-3)
            compared += 1
    assert compared >= 5


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_view_covers_the_square_around_a_box(axis: int) -> None:
    """A box of 4 x 9 in a plane: a square of 9, of the 5 missing pixels 2 before."""
    start, stop = [3.0, 5.0, 6.0], [7.0, 9.0, 15.0]
    across = [a for a in range(3) if a != axis]
    start[across[0]], stop[across[0]] = 5.0, 9.0
    start[across[1]], stop[across[1]] = 6.0, 15.0
    start[axis], stop[axis] = 2.2, 3.7
    box = Box((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))
    view = SquareSlices(18, axis=axis, least=18).view(box, grid((20, 20, 20)), MANY, 0.0)
    assert (view.start[axis], view.shape[axis], view.step[axis]) == (2.0, 2, 1.0), "whole slices"
    assert (view.start[across[0]], view.start[across[1]]) == (3.0, 6.0)
    assert all(view.step[a] == 0.5 and view.shape[a] == 18 for a in across)


def test_sides_are_halved_where_voxels_are_few() -> None:
    layout = SquareSlices(64, axis=0, least=16)
    sides = [
        layout.view(whole((10, 30, 30)), grid((10, 30, 30)), voxels, 0.0).shape[1]
        for voxels in (10 * 64**2, 10 * 64**2 - 1, 10 * 32**2, 10 * 32**2 - 1, 1)
    ]
    assert sides == [64, 32, 32, 16, 16]


def test_runs_share_no_slice_and_the_last_may_be_shorter() -> None:
    view = SquareSlices(16, axis=1, run=4, least=16, context=2).view(
        whole((9, 10, 9)), grid((9, 10, 9)), MANY, 0
    )
    assert isinstance(view.tiling, RunTiling) and view.tiling.apart
    assert view.tiling.halo == (0, 2, 0)
    size = view.tiling.size(view, 10**6)
    assert size == (16, 4, 16)
    assert view.tiling.corners(view, size, 0.5) == [(0, 0, 0), (0, 4, 0), (0, 8, 0)]
    assert view.tiling.size(view, 2 * 16**2) == (16, 2, 16), "fewer where they do not fit"


def test_a_long_thin_plane_takes_no_square_of_memory() -> None:
    """1 x 60,000 as a square would be 3.6 GB."""
    volume = np.zeros((2, 1, 60000), np.uint8)
    volume[1, 0, 30000:] = 200
    view = SquareSlices(16, axis=0, least=16).view(whole((2, 1, 60000)), grid((2, 1, 60000)), MANY, 0.0)
    assert view.sampler is not None
    found = view.sampler.slices(volume, view, np.array([1]))
    assert found.shape == (1, 16, 16)

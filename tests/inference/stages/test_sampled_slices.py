"""Slices that are sampled when they are read: what an array would give, and no slice more."""

import numpy as np
import pytest

from vesal.inference.geometry.square_slices import SquareSlices
from vesal.inference.geometry.views import View, VolumeGrid, whole
from vesal.inference.stages.sampled_slices import SampledSlices
from vesal.inference.stages.window_input import window_of


class Counted:
    """A view's sampler that keeps which slices were asked for."""

    def __init__(self, view: View) -> None:
        self.view, self.asked = view, list[int]()

    def slices(self, volume: np.ndarray, view: View, numbers: np.ndarray) -> np.ndarray:
        self.asked += [int(n) for n in numbers]
        assert self.view.sampler is not None
        return self.view.sampler.slices(volume, view, numbers)


@pytest.fixture(params=[0, 1, 2])
def axis(request: pytest.FixtureRequest) -> int:
    """Of the slices."""
    return int(request.param)


def made(axis: int, border: str = "reflect") -> tuple[np.ndarray, View]:
    shape = [6, 6, 6]
    shape[axis] = 9
    volume = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    sides = shape[0], shape[1], shape[2]
    layout = SquareSlices(6, axis=axis, least=6, run=2, context=2, border=border)
    return volume, layout.view(whole(sides), VolumeGrid(sides, (1.0, 1.0, 1.0)), 10**9, 0.0)


@pytest.mark.parametrize("border", ["edge", "reflect"])
def test_windows_are_those_of_the_whole_array(axis: int, border: str) -> None:
    """At the ends, too, and in the last run, which is shorter."""
    volume, view = made(axis, border)
    lazy = SampledSlices(volume, view, lambda sampled: sampled[None] / 2)
    dense = volume[None].astype(np.float32) / 2
    for first in range(0, 9, 2):
        part = [slice(None), slice(0, 6), slice(0, 6), slice(0, 6)]
        part[1 + axis] = slice(first, min(9, first + 2))
        at = part[0], part[1], part[2], part[3]
        ours, wanted = window_of(lazy, view, at), window_of(dense, view, at)
        assert np.array_equal(ours.image, wanted.image)
        assert ours.context == 2 and ours.first == first and ours.image.shape[1] == ours.shape[0] + 4
        assert np.array_equal(lazy[at], dense[at])


def test_each_slice_is_sampled_once_as_windows_move_on(axis: int) -> None:
    volume, view = made(axis, "edge")
    counted = Counted(view)
    object.__setattr__(view, "sampler", counted)
    counted.view = made(axis)[1]
    lazy = SampledSlices(volume, view, lambda sampled: sampled[None])
    for first in range(9):
        lazy.take(np.arange(first - 2, first + 3).clip(0, 8), 1 + axis)
    assert counted.asked == list(range(9))
    with pytest.raises(ValueError, match="axis"):
        lazy.take(np.arange(2), 1 + (axis + 1) % 3)


def test_a_window_knows_its_first_slice_in_the_volume() -> None:
    """Of a region's view, too, which begins at slice 3."""
    from vesal.inference.geometry.views import Box

    volume = np.zeros((9, 6, 6), np.uint8)
    box = Box((3.0, 0.0, 0.0), (7.0, 6.0, 6.0))
    view = SquareSlices(6, axis=0, least=6).view(box, VolumeGrid((9, 6, 6), (1.0, 1.0, 1.0)), 10**9, 0.0)
    lazy = SampledSlices(volume, view, lambda sampled: sampled[None])
    window = window_of(lazy, view, (slice(None), slice(2, 3), slice(0, 6), slice(0, 6)))
    assert window.first == 5

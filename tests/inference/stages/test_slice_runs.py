"""Runs of slices: every one, some of them, none; what lies between, and what is kept of it."""

from collections.abc import Callable

import numpy as np
import pytest

from vesal.inference.families.contract import Decoded
from vesal.inference.geometry.square_slices import SquareSlices
from vesal.inference.geometry.views import VolumeGrid, whole
from vesal.inference.stages.coarse_planes import CoarsePlanes
from vesal.inference.stages.slice_runs import RunOrder, SliceRuns, wanted_runs
from vesal.inference.stages.sliding_window import Blended, Slices

SIDE = 8


def runs_of(slices: int, run: int = 1, axis: int = 0, classes: int = 2) -> SliceRuns:
    """Over a volume of so many slices."""
    shape = [SIDE] * 3
    shape[axis] = slices
    sides = shape[0], shape[1], shape[2]
    layout = SquareSlices(SIDE, axis=axis, run=run, least=SIDE)
    view = layout.view(whole(sides), VolumeGrid(sides, (1.0, 1.0, 1.0)), 10**9, 0.0)
    size = view.tiling.size(view, 10**9)
    return SliceRuns(classes, view, size, view.tiling.corners(view, size, 0.0))


class Numbered:
    """Predicts its slice's number, a tenth of it for the second class; keeps what was asked."""

    def __init__(self, axis: int = 0, told: bool = False) -> None:
        self.axis, self.told = axis, told
        self.asked: list[list[int]] = []

    def __call__(self, at: Slices) -> Decoded:
        part = at[1 + self.axis]
        numbers = np.arange(part.start, part.stop, dtype=np.float32)
        self.asked.append([int(n) for n in numbers])
        values = np.stack([numbers, numbers / 10])
        side = SIDE // 2 if self.told else SIDE
        planes = np.broadcast_to(values[:, :, None, None], (*values.shape, side, side)).copy()
        return Decoded(planes, values / 100, -planes, enlarged if self.told else None)


def enlarged(planes: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    return planes.repeat(2, 1).repeat(2, 2) + 100


def order(
    every: Callable[[], int] = lambda: 1, planned: int = 1, windows: int = 10**6, more: int = 0
) -> RunOrder:
    """So many windows are allowed, and so many of those given up."""
    left, added = [windows], [more]

    def spend(count: list[int]) -> bool:
        count[0] -= 1
        return count[0] >= 0

    return RunOrder(every, planned, lambda: spend(left), lambda: spend(added))


def first_class(result: Blended, axis: int = 0) -> list[float]:
    return [round(float(plane.mean()), 4) for plane in np.moveaxis(result.probability[0], axis, 0)]


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("run", [1, 2, 3, 4])
def test_every_slice_is_run_once_along_any_axis(axis: int, run: int) -> None:
    predict = Numbered(axis)
    result = runs_of(7, run, axis).run(predict, order())
    assert sorted(n for asked in predict.asked for n in asked) == list(range(7))
    assert first_class(result, axis) == list(range(7))
    assert result.probability.shape == (2, *(7 if a == axis else SIDE for a in range(3)))
    np.testing.assert_allclose(result.presence[1], np.arange(7) / 1000, rtol=1e-6)
    assert result.edges is not None and np.array_equal(
        np.asarray(result.edges), -np.asarray(result.probability)
    )
    assert (result.windows, result.dropped, result.interpolated) == (-(-7 // run), 0, 0)


def test_of_every_third_the_last_is_run_too() -> None:
    assert wanted_runs(9, 3) == [0, 3, 6, 8]
    assert wanted_runs(7, 3) == [0, 3, 6]
    assert wanted_runs(1, 4) == [0]


@pytest.mark.parametrize("every", [2, 3, 5])
def test_what_lies_between_is_interpolated(every: int) -> None:
    """Numbers of slices are linear, so that nothing else can be seen."""
    predict = Numbered()
    result = runs_of(9).run(predict, order(lambda: every, planned=every))
    assert [n for (n,) in predict.asked] == wanted_runs(9, every)
    assert first_class(result) == list(range(9))
    np.testing.assert_allclose(result.presence[0], np.arange(9) / 100, atol=1e-6)
    assert result.interpolated == 9 - len(wanted_runs(9, every)) and result.dropped == 0


def test_given_up_runs_are_run_while_time_lasts() -> None:
    """Every second first, and then the first two of those between."""
    predict = Numbered()
    result = runs_of(9).run(predict, order(lambda: 2, planned=1, more=2))
    assert [n for (n,) in predict.asked] == [0, 2, 4, 6, 8, 1, 3]
    assert (result.windows, result.interpolated) == (7, 2)
    assert first_class(result) == list(range(9))


def test_runs_that_the_plan_leaves_out_stay_out() -> None:
    predict = Numbered()
    runs_of(9).run(predict, order(lambda: 3, planned=3, more=100))
    assert len(predict.asked) == 4


def test_every_second_from_the_middle_on() -> None:
    """The ladder takes its step after four runs."""
    predict = Numbered()
    result = runs_of(9).run(predict, order(lambda: 2 if len(predict.asked) >= 4 else 1, planned=1))
    assert [n for (n,) in predict.asked] == [0, 1, 2, 3, 4, 6, 8]
    assert first_class(result) == list(range(9))


def test_what_no_time_is_left_for_is_empty_and_counted() -> None:
    result = runs_of(9).run(Numbered(), order(windows=4))
    assert first_class(result) == [0, 1, 2, 3, 0, 0, 0, 0, 0]
    assert (result.windows, result.dropped) == (4, 5)
    nothing = runs_of(9).run(Numbered(), order(windows=0))
    assert not np.asarray(nothing.probability).any() and nothing.dropped == 9


def test_skipped_runs_are_empty() -> None:
    result = runs_of(4).run(Numbered(), order(), lambda at: at[1].start == 2)
    assert first_class(result) == [0, 1, 0, 3]
    assert (result.windows, result.skipped, result.dropped) == (3, 1, 0)


@pytest.mark.parametrize("axis", [0, 2])
def test_what_a_network_tells_is_enlarged_when_it_is_read(axis: int) -> None:
    """A dropped slice is 0, and not what 0 would be made of."""
    runs = runs_of(6, axis=axis)
    result = runs.run(Numbered(axis, told=True), order(lambda: 2, planned=2, windows=3))
    probability = result.probability
    assert isinstance(probability, CoarsePlanes)
    assert first_class(result, axis) == [100, 101, 102, 103, 104, 0]
    assert probability.shape == tuple(2 if a == 0 else 6 if a == 1 + axis else SIDE for a in range(4))
    part = [slice(None)] * 4
    part[1 + axis] = slice(1, 3)
    assert np.array_equal(probability[tuple(part)], np.asarray(probability)[tuple(part)])
    emptied = probability.copy()
    emptied.empty_planes(0, np.array([True, False, True, True, True, True]))
    assert not np.take(emptied[0], 1, axis).any() and np.take(probability[0], 1, axis).all()
    assert np.array_equal(emptied[1], probability[1])
    with pytest.raises(TypeError, match="empty_planes"):
        emptied[[0]] = np.zeros((1, SIDE, SIDE, SIDE))

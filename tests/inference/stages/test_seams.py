"""No background between classes that touch, whatever the enlargement; other borders stay where they were."""

import hashlib
from collections.abc import Iterator, Sequence

import numpy as np
import pytest

from vesal.inference.geometry.resample import to_native
from vesal.inference.geometry.views import View
from vesal.inference.stages import enlarged_labels, grid_labels, label_map
from vesal.inference.stages.label_map import LabelMap

Shape = tuple[int, int, int]


def view_of(grid: Sequence[int], shape: Shape) -> View:
    """A view of a whole volume."""
    d, h, w = (n / m for n, m in zip(shape, grid, strict=True))
    return View((0.0, 0.0, 0.0), (d, h, w), (grid[0], grid[1], grid[2]), 0, 0)


def enlarged(maps: Sequence[np.ndarray], shape: Shape, threshold: float = 0.5) -> LabelMap:
    """Classes (d, h, w), numbered from 1, on a volume of ``shape``."""
    maps = [np.asarray(each, np.float32) for each in maps]
    result = LabelMap(shape, len(maps))
    classes = [(number, lambda each=each: each) for number, each in enumerate(maps, 1)]
    result.add_classes(classes, view_of(maps[0].shape, shape), threshold)
    return result


def rows_of(*rows: Sequence[float]) -> list[np.ndarray]:
    """Classes on a grid of one row each."""
    return [np.array(row, np.float32)[None, None] for row in rows]


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize(
    ("classes", "length", "expected"),
    [
        # Centres at -1/6, 1/2 and 7/6: in the middle both have half.
        (([1, 0], [0, 1]), 3, [1, 1, 2]),
        # Centres at -0.2, 0.4, 1, 1.6 and 2.2: a class that touches two others.
        (([1, 0, 0], [0, 1, 0], [0, 0, 1]), 5, [1, 1, 2, 3, 3]),
        # And where foreground ends: from 1 to 0 at a half, from 0.8 to 0.2 too.
        (([1, 0, 0, 0], [0, 1, 0, 0]), 12, [1, 1, 1, 2, 2, 2, 0, 0, 0, 0, 0, 0]),
        (([0.8, 0.2, 0.2, 0.2], [0.2, 0.8, 0.2, 0.2]), 12, [1, 1, 1, 2, 2, 2, 0, 0, 0, 0, 0, 0]),
        # Where the borders of two classes leave nothing between them, it stays so.
        (([1, 0, 0], [0, 0, 1]), 9, [1, 1, 1, 0, 0, 0, 2, 2, 2]),
    ],
)
def test_a_row_of_classes(
    axis: int, classes: Sequence[list[float]], length: int, expected: list[int]
) -> None:
    shape = [1, 1, 1]
    shape[axis] = length
    maps = [np.moveaxis(each, 2, axis) for each in rows_of(*classes)]
    result = enlarged(maps, (shape[0], shape[1], shape[2]))
    assert result.labels.reshape(-1).tolist() == expected


def test_a_class_below_two_that_touch() -> None:
    """Four voxels, 1 | 2 above and 3 below: 3 ends where it is no longer the largest, without a gap."""
    first, second, third = np.zeros((3, 1, 2, 2), np.float32)
    first[0, 0, 0] = second[0, 0, 1] = 1
    third[0, 1] = 1
    labels = enlarged([first, second, third], (1, 8, 8)).labels[0]
    # Centres at -0.375, -0.125, 0.125, 0.375, ...: three corners of four are clear.
    assert (labels > 0).all()
    assert labels[:3, :3].tolist() == [[1, 1, 1]] * 3 and labels[:3, -3:].tolist() == [[2, 2, 2]] * 3
    assert (labels[-4:] == 3).all()


@pytest.mark.parametrize("classes", [2, 3, 7, 16, 30])
@pytest.mark.parametrize("shape", [(48, 48, 48), (36, 36, 36), (25, 31, 53), (24, 40, 60), (12, 24, 37)])
def test_maps_without_background_stay_so(classes: int, shape: Shape) -> None:
    """Every voxel of 24^3 has one class at random, with a probability of 1."""
    labels = np.random.default_rng(classes).integers(0, classes, (24, 24, 24))
    result = enlarged([labels == number for number in range(classes)], shape)
    assert np.count_nonzero(result.labels == 0) == 0
    assert (result.probability == 1).all()


def test_probabilities_just_above_the_threshold_leave_no_gap() -> None:
    """The smallest number above it, also where an output voxel is on a centre but for rounding."""
    rng = np.random.default_rng(0)
    for threshold in (0.1, 0.3, 0.5, 0.7):
        least = np.nextafter(np.float32(threshold), np.float32(1))
        labels, shape = rng.integers(0, 4, (9, 10, 11)), (27, 23, 33)
        surer = rng.random(labels.shape) < 0.5
        maps = [np.where(labels == number, np.where(surer, 0.9, least), 0) for number in range(4)]
        assert enlarged(maps, shape, threshold).labels.all()


@pytest.mark.parametrize("seed", range(8))
def test_one_class_is_where_its_probability_is_above_the_threshold(seed: int) -> None:
    """Soft balls, whose every voxel has others beside it."""
    rng = np.random.default_rng(seed)
    grid, shape = (14, 15, 16), tuple(int(n) for n in rng.integers(14, 60, 3))
    away = sum(((axis - n / 2) / 4) ** 2 for axis, n in zip(np.ogrid[:14, :15, :16], grid, strict=True))
    soft = (1 / (1 + np.exp(4 * away - 4))).astype(np.float32)
    found = enlarged([soft], shape)
    above = to_native(soft, view_of(grid, shape), (0, 0, 0), shape)
    np.testing.assert_array_equal(found.labels, above > 0.5)
    np.testing.assert_array_equal(found.probability, above * (above > 0.5))


def cells(maps: np.ndarray, shape: Shape) -> Iterator[tuple[tuple[int, ...], np.ndarray, np.ndarray]]:
    """Of each voxel of a volume: its index, and probabilities (n, 8) and weights (8,) of its corners."""
    grid = maps.shape[1:]
    for at in np.ndindex(shape):
        centre = [(i + 0.5) * n / m - 0.5 for i, n, m in zip(at, grid, shape, strict=True)]
        centre = [min(max(c, 0.0), n - 1.0) for c, n in zip(centre, grid, strict=True)]
        corners, weights = [], []
        for step in np.ndindex(2, 2, 2):
            corner = [int(c) + s for c, s in zip(centre, step, strict=True)]
            weight = np.prod([1 - abs(c - i) for c, i in zip(centre, corner, strict=True)])
            if weight > 1e-6:
                corners.append(maps[:, *corner])
                weights.append(weight)
        yield at, np.array(corners).T, np.array(weights)


@pytest.mark.parametrize("kind", ["soft", "noise", "with background"])
def test_every_voxel_is_what_the_corners_of_its_cell_say(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One by one, by the rule: soft balls that touch and overlap, noise, and noise with much background."""
    monkeypatch.setattr(enlarged_labels, "find_lone_voxels", lambda *_: None)
    rng = np.random.default_rng(0)
    grid, shape, maps = (7, 6, 8), (15, 13, 19), []
    for _ in range(5):
        centre = rng.uniform(1, 6, 3)
        away = sum(((axis - c) / 2) ** 2 for axis, c in zip(np.ogrid[:7, :6, :8], centre, strict=True))
        ball = 1 / (1 + np.exp(4 * away - 4))
        noise = rng.random(grid) * (rng.random(grid) < 0.3 if kind == "with background" else 1)
        maps.append((ball if kind == "soft" else noise).astype(np.float32))
    result, different = enlarged(maps, shape), 0
    for at, corners, weights in cells(np.array(maps), shape):
        winners, found = set(corners.argmax(0)[corners.max(0) > 0.5]), result.labels[at]
        present = np.flatnonzero((corners > 0.5).any(1))
        value = corners @ weights
        if len(present) <= 1:
            expected = present[0] + 1 if len(present) and value[present[0]] > 0.5 else 0
            different += found != expected
            continue
        # None of today's foreground is lost, and what is foreground all around stays so.
        assert found > 0 or (value <= 0.5 + 1e-6).all()
        assert found > 0 or (corners.max(0) <= 0.5).any()
        assert found == 0 or corners.max(0) @ weights > 0.5 - 1e-6
        if found:
            assert found - 1 in winners
            assert value[found - 1] > max(value[w] for w in winners) - 1e-6
    assert different <= 2, "but for rounding at the threshold"
    assert len(np.unique(result.labels)) == 6


def test_a_class_without_foreground_moves_no_border() -> None:
    """0.4 where the other ends: the border is where it is without."""
    ball, other = np.zeros((2, 6, 6, 6), np.float32)
    ball[2:4, 2:4, 2:4], other[:] = 0.9, 0.4
    other[2:4, 2:4, 2:4] = 0
    alone, beside = enlarged([ball], (20, 21, 22)), enlarged([ball, other], (20, 21, 22))
    np.testing.assert_array_equal(beside.labels, alone.labels)
    np.testing.assert_array_equal(beside.probability, alone.probability)


def test_no_class_comes_up_between_two_others() -> None:
    """3 is everywhere, and nowhere the most probable: nor is it where 1 and 2 give way to each other."""
    left, right = np.zeros((2, 4, 4, 6), np.float32)
    left[..., :3] = right[..., 3:] = 0.9
    both = np.full((4, 4, 6), 0.6, np.float32)
    result = enlarged([left, right, both], (11, 11, 21))
    assert set(np.unique(result.labels)) == {1, 2}


def test_classes_in_planes_apart_do_not_meet() -> None:
    """Between them is a plane of background that is beside both; D is not enlarged."""
    above, below = np.zeros((2, 3, 2, 2), np.float32)
    above[0, 0, 0] = below[2, 0, 0] = 1
    labels = enlarged([above, below], (3, 8, 8)).labels
    assert not labels[1].any()
    # A corner of a cube: product of distances to both centres, above a half.
    for plane, label in ((0, 1), (2, 2)):
        np.testing.assert_array_equal(labels[plane] == label, enlarged([above[:1]], (1, 8, 8)).labels[0])


def test_two_rows_of_one_prompt_are_one_class() -> None:
    """Left and right side under one id."""
    left, right, other = rows_of([1, 0, 0], [0, 1, 0], [0, 0, 1])
    result = LabelMap((1, 1, 9), 7)
    classes = [(7, lambda: left), (7, lambda: right), (3, lambda: other)]
    result.add_classes(classes, view_of((1, 1, 3), (1, 1, 9)), 0.5)
    assert result.labels[0, 0].tolist() == [7] * 6 + [3] * 3
    assert result.boxes[7][2].stop >= 6 and result.boxes[3][2].start <= 6


@pytest.mark.parametrize("largest", [254, 255, 256, 65534, 65535])
def test_large_ids_touch_too(largest: int) -> None:
    first, second = rows_of([1, 0], [0, 1])
    result = LabelMap((1, 1, 3), largest)
    result.add_classes([(largest, lambda: first), (1, lambda: second)], view_of((1, 1, 2), (1, 1, 3)), 0.5)
    assert result.labels[0, 0].tolist() == [largest, largest, 1]


def test_a_better_view_wins_where_it_is_surer_and_is_not_broken_up_by_others() -> None:
    """Two classes of one view that touch, with 0.9; one of another view with 0.6 everywhere."""
    left, right = rows_of([0.9, 0], [0, 0.9])
    for first in (True, False):
        result = LabelMap((1, 1, 3), 3)
        other = np.full((1, 1, 4), 0.6, np.float32)
        if first:
            result.add(other, view_of((1, 1, 4), (1, 1, 3)), 3, 0.5)
        classes = [(1, lambda: left), (2, lambda: right)]
        result.add_classes(classes, view_of((1, 1, 2), (1, 1, 3)), 0.5)
        if not first:
            result.add(other, view_of((1, 1, 4), (1, 1, 3)), 3, 0.5)
        assert result.labels[0, 0].tolist() == [1, 1, 2]


@pytest.mark.parametrize("above", [1, 2, 100, 4000])
def test_what_is_above_the_threshold_by_a_bit_is_foreground(above: int) -> None:
    """(0.5, 0.50024] is 0.5 in half precision."""
    value = np.float32(0.5)
    for _ in range(above):
        value = np.nextafter(value, np.float32(1))
    result = enlarged([np.full((2, 2, 2), value)], (3, 4, 5))
    assert value < 0.50025 and result.labels.all()
    assert enlarged([np.full((2, 2, 2), 0.5)], (3, 4, 5)).labels.any() == np.False_


def test_the_larger_of_two_that_are_nearly_equal_wins() -> None:
    """Added together or one after the other, in either order; of equal ones the first."""
    low, high = np.full((2, 2, 2), 0.7, np.float32), np.full((2, 2, 2), np.nextafter(np.float32(0.7), 1))
    shape, view = (3, 4, 5), view_of((2, 2, 2), (3, 4, 5))
    assert (enlarged([low, high], shape).labels == 2).all()
    assert (enlarged([high, low], shape).labels == 1).all()
    assert (enlarged([low, low], shape).labels == 1).all()
    for order in ((low, high), (high, low)):
        result = LabelMap(shape, 2)
        for number, each in enumerate(order, 1):
            result.add(each, view, number, 0.5)
        assert (result.labels == (2 if order[0] is low else 1)).all()


@pytest.mark.parametrize("shape", [(21, 18, 24), (13, 29, 17), (7, 6, 8), (5, 6, 30)])
def test_parts_do_not_change_classes_that_touch(shape: Shape, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where outputs lie on the centres of grid voxels, and where some voxels have no output."""
    rng = np.random.default_rng(7)
    maps = [rng.random((7, 6, 8)) ** 2 * (rng.random((7, 6, 8)) < 0.6) for _ in range(4)]
    whole = enlarged(maps, shape)
    monkeypatch.setattr(enlarged_labels, "MOST_COLUMNS", 5)
    monkeypatch.setattr(enlarged_labels, "MOST_ROWS", 4)
    monkeypatch.setattr(label_map, "SLAB_VOXELS", 20)
    monkeypatch.setattr(grid_labels, "KEPT_BYTES", 0)
    parts = enlarged(maps, shape)
    assert len(np.unique(whole.labels)) == 5
    np.testing.assert_array_equal(parts.labels, whole.labels)
    np.testing.assert_array_equal(parts.probability, whole.probability)


def test_labels_and_probabilities_stay_the_same_bytes() -> None:
    """Soft balls that touch and overlap, on grids enlarged two times, three times and by no whole number."""
    rng, digest = np.random.default_rng(5), hashlib.sha256()
    for shape in ((28, 30, 32), (42, 45, 48), (14, 37, 41)):
        maps = []
        for _ in range(4):
            centre = rng.integers(4, 12, 3)
            axes = zip(np.ogrid[:14, :15, :16], centre, strict=True)
            away = sum((axis - c) ** 2 for axis, c in axes)
            maps.append((1 - away / 32).clip(0, 1))  # no function that machines round differently
        found = enlarged(maps, shape)
        digest.update(found.labels.tobytes() + found.probability.tobytes())
    assert digest.hexdigest()[:16] == "d06fe2718a897338"

"""Classes on views become labels on the volume's own grid."""

import numpy as np
import pytest

from vesal.inference.geometry.fit import fit_view
from vesal.inference.geometry.resample import to_native
from vesal.inference.geometry.views import View, whole
from vesal.inference.planning.rules import NativeLabels
from vesal.inference.runtime import threads as parallel
from vesal.inference.stages import enlarged_labels, label_map
from vesal.inference.stages.label_map import LabelMap

SAME = View((0.0, 0.0, 0.0), (1.0, 1.0, 1.0), (8, 8, 8), 0, 0)


def cube(first: int, last: int, value: float, shape: tuple[int, int, int] = (8, 8, 8)) -> np.ndarray:
    """(8, 8, 8) float32 with ``value`` from ``first`` up to ``last`` on every axis."""
    values = np.zeros(shape, np.float32)
    values[first:last, first:last, first:last] = value
    return values


@pytest.mark.parametrize(
    ("largest", "dtype"), [(1, np.uint8), (255, np.uint8), (256, np.uint16), (65535, np.uint16)]
)
def test_the_type_holds_the_largest_id(largest: int, dtype: type) -> None:
    result = LabelMap((8, 8, 8), largest)
    result.add(cube(2, 4, 1.0), SAME, largest, 0.5)
    assert result.labels.dtype == dtype
    assert result.labels[3, 3, 3] == largest
    assert np.count_nonzero(result.labels) == 8


def test_the_stronger_class_wins_in_any_order() -> None:
    """Weak on 0..6, strong on 2..4: 216 voxels less 8."""
    for order in ([(7, cube(0, 6, 0.6)), (9, cube(2, 4, 0.9))], [(9, cube(2, 4, 0.9)), (7, cube(0, 6, 0.6))]):
        result = LabelMap((8, 8, 8), 9)
        for label, probability in order:
            result.add(probability, SAME, label, 0.5)
        assert np.count_nonzero(result.labels == 7) == 216 - 8
        assert np.count_nonzero(result.labels == 9) == 8
        assert result.probability[3, 3, 3] == np.float32(0.9)


def test_a_tie_keeps_the_class_that_came_first() -> None:
    result = LabelMap((8, 8, 8), 9)
    result.add(cube(0, 4, 0.75), SAME, 9, 0.5)
    result.add(cube(2, 6, 0.75), SAME, 3, 0.5)
    assert np.count_nonzero(result.labels == 9) == 64
    assert np.count_nonzero(result.labels == 3) == 64 - 8


@pytest.mark.parametrize(("threshold", "voxels"), [(0.3, 8), (0.4, 0), (0.5, 0)])
def test_a_class_needs_more_than_its_threshold(threshold: float, voxels: int) -> None:
    """0.4 in fp32 is above 0.4: the threshold is rounded as probabilities are."""
    result = LabelMap((8, 8, 8), 1)
    result.add(cube(2, 4, 0.4), SAME, 1, threshold)
    assert np.count_nonzero(result.labels) == voxels


def test_a_low_threshold_does_not_beat_a_surer_class() -> None:
    result = LabelMap((8, 8, 8), 2)
    result.add(cube(2, 4, 0.6), SAME, 1, 0.5)
    result.add(cube(2, 5, 0.35), SAME, 2, 0.3)
    assert result.labels[2, 2, 2] == 1
    assert result.labels[4, 4, 4] == 2


def test_a_class_on_a_coarse_view_keeps_its_size() -> None:
    """4 voxels of step 2 are 8 on the volume; a slab has no corners for interpolation to round."""
    view = View((-4.0, 0.0, 0.0), (2.0, 2.0, 2.0), (16, 16, 16), 0, 0)
    probability = np.zeros(view.shape, np.float32)
    probability[6:10] = 1
    result = LabelMap((24, 32, 32), 1)
    result.add(probability, view, 1, 0.5)
    np.testing.assert_array_equal(np.flatnonzero(result.labels.any((1, 2))), np.arange(8, 16))
    assert (result.labels[8:16] == 1).all()


@pytest.mark.parametrize("shape", [(1, 40, 50), (40, 2, 50), (90, 100, 110), (5, 7, 3)])
def test_a_class_everywhere_labels_every_voxel(shape: tuple[int, int, int]) -> None:
    """No plane is lost at a border, thin or large."""
    view = fit_view(whole(shape), (1.0, 1.0, 1.0), 4096)
    result = LabelMap(shape, 1)
    result.add(np.ones(view.shape, np.float32), view, 1, 0.5)
    assert (result.labels == 1).all()


def test_a_class_does_not_spill_out_of_its_view() -> None:
    """The view covers 4..12 of 16 voxels: what lies beyond was never looked at."""
    view = View((4.0, 4.0, 4.0), (0.5, 0.5, 0.5), (16, 16, 16), 0, 0)
    result = LabelMap((16, 16, 16), 1)
    result.add(np.ones(view.shape, np.float32), view, 1, 0.5)
    expected = np.zeros((16, 16, 16), np.uint8)
    expected[4:12, 4:12, 4:12] = 1
    np.testing.assert_array_equal(result.labels, expected)


def test_a_view_outside_the_volume_adds_nothing() -> None:
    result = LabelMap((8, 8, 8), 1)
    result.add(cube(0, 8, 1.0), View((20.0, 0.0, 0.0), (1.0, 1.0, 1.0), (8, 8, 8), 0, 0), 1, 0.5)
    assert not result.labels.any()


def test_slabs_do_not_change_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    view = View((0.0, 0.0, 0.0), (3.0, 3.0, 3.0), (8, 8, 8), 0, 0)
    probability = np.random.default_rng(3).random((8, 8, 8), np.float32)
    at_once, in_parts = LabelMap((24, 24, 24), 1), LabelMap((24, 24, 24), 1)
    at_once.add(probability, view, 1, 0.5)
    monkeypatch.setattr(label_map, "SLAB_VOXELS", 24 * 24 * 5)
    in_parts.add(probability, view, 1, 0.5)
    np.testing.assert_array_equal(in_parts.labels, at_once.labels)
    np.testing.assert_array_equal(in_parts.probability, at_once.probability)


@pytest.mark.parametrize("seed", range(6))
def test_neither_slabs_nor_threads_change_a_voxel(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Random views and classes, against one whole interpolation a class; lone voxels are tested elsewhere."""
    rng = np.random.default_rng(seed)
    shape = tuple(int(n) for n in rng.integers(3, 40, 3))
    expected, best = np.zeros(shape, np.uint8), np.zeros(shape, np.float32)
    result = LabelMap(shape, 9)
    monkeypatch.setattr(label_map, "SLAB_VOXELS", int(rng.integers(1, 2000)))
    monkeypatch.setattr(parallel, "available_threads", lambda limit: 3)
    monkeypatch.setattr(enlarged_labels, "find_lone_voxels", lambda *_: None)
    for label in range(1, 6):
        view = fit_view(whole(shape), tuple(rng.choice([0.5, 1.0, 3.0], 3)), 16**3)
        probability = rng.random(view.shape, np.float32) ** 2
        result.add(probability, view, label, 0.5)
        here = to_native(probability, view, (0, 0, 0), shape)
        wins = (here > 0.5) & (here > best)
        expected[wins], best[wins] = label, here[wins]
    np.testing.assert_array_equal(result.labels, expected)
    np.testing.assert_array_equal(result.probability, best)


@pytest.mark.parametrize("bad", [np.nan, -1.0, -0.0])
def test_what_is_no_probability_wins_nothing(bad: float) -> None:
    probability = cube(2, 4, 1.0)
    probability[5:] = bad
    for threshold in (0.0, 0.5):
        result = LabelMap((8, 8, 8), 1)
        result.add(probability, SAME, 1, threshold)
        assert np.count_nonzero(result.labels) == 8


def test_boxes_hold_their_classes() -> None:
    rng = np.random.default_rng(0)
    result = LabelMap((30, 40, 50), 9)
    for label in (3, 9, 3, 5):
        view = fit_view(whole((30, 40, 50)), (1.0, 1.0, 1.0), 16**3)
        probability = np.zeros(view.shape, np.float32)
        d, h, w = rng.integers(0, 10, 3)
        probability[d : d + 3, h : h + 4, w : w + 5] = rng.random() / 2 + 0.5
        result.add(probability, view, label, 0.5)
    for label, box in result.boxes.items():
        inside = np.count_nonzero(result.labels[box] == label)
        assert inside == np.count_nonzero(result.labels == label) > 0


def test_totals_are_those_of_the_voxels() -> None:
    """Two classes that overlap; of what is written a plane is missing."""
    result = LabelMap((8, 8, 8), 9)
    result.add(cube(0, 4, 0.75), SAME, 9, 0.5)
    result.add(cube(2, 6, 0.875), SAME, 3, 0.5)
    assert result.totals(9, result.labels) == (56, 56 * 0.75)
    assert result.totals(3, result.labels) == (64, 64 * 0.875)
    assert result.totals(5, result.labels) == (0, 0.0)
    written = np.ones((8, 8, 8), np.uint8)
    written[3] = 0
    assert result.totals(3, written) == (48, 48 * 0.875)


def test_totals_of_a_map_filled_by_hand() -> None:
    result = LabelMap((8, 8, 8), 9)
    result.labels[1, 2, 3:5], result.probability[1, 2, 3:5] = 4, 0.5
    assert result.totals(4, result.labels) == (2, 1.0)


def test_a_snapshot_takes_one_class_after_the_other_from_a_later_map() -> None:
    """Class 1 moves, class 2 is lost later, and class 3 is not touched; the maps themselves stay apart."""
    view = View((0.0, 0.0, 0.0), (1.0, 1.0, 1.0), (4, 4, 20), 0, 0)

    def added(result: LabelMap, label: int, columns: slice) -> None:
        probability = np.zeros(view.shape, np.float32)
        probability[:, :, columns] = 0.9
        result.add(probability, view, label, 0.5)

    result = LabelMap((4, 4, 20), 3)
    for label, columns in ((1, slice(0, 5)), (2, slice(5, 10)), (3, slice(10, 15))):
        added(result, label, columns)
    saved, before = result.snapshot(), result.labels.copy()
    result.clear()
    added(result, 1, slice(2, 8))
    np.testing.assert_array_equal(saved.labels, before)
    saved.take(1, result)
    # What is new wins over what another class was before: it is the better result.
    assert saved.labels[0, 0].tolist() == [0] * 2 + [1] * 6 + [2] * 2 + [3] * 5 + [0] * 5
    saved.take(2, result)
    assert saved.labels[0, 0].tolist() == [0] * 2 + [1] * 6 + [0] * 2 + [3] * 5 + [0] * 5
    saved.take(1, result)
    assert saved.labels[0, 0].tolist() == [0] * 2 + [1] * 6 + [0] * 2 + [3] * 5 + [0] * 5


def test_labels_that_reach_beyond_the_end_are_cut_off() -> None:
    found = LabelMap((4, 5, 6), 3)
    found.put(NativeLabels((2, 0, 3), np.full((4, 5, 9), 3, np.uint8), np.full((4, 5, 9), 0.8, np.float32)))
    assert np.count_nonzero(found.labels == 3) == 2 * 5 * 3 == np.count_nonzero(found.labels)
    assert found.box(3) == (slice(2, 4), slice(0, 5), slice(3, 6))

"""What the profile's rules take away, on thick axes other than D too."""

import numpy as np
import pytest

from vesal.inference.data.prompt import Query
from vesal.inference.geometry.views import View
from vesal.inference.planning.plan import AppliedRule, applied_rules
from vesal.inference.stages import filters
from vesal.inference.stages.coarse_planes import CoarsePlanes
from vesal.inference.stages.filters import filter_classes, filter_pass
from vesal.inference.stages.label_map import LabelMap
from vesal.inference.stages.objects import split_into_objects
from vesal.inference.stages.packed_probability import PackedProbability, Probabilities
from vesal.inference.stages.stage_result import StageResult
from vesal.postprocess.components import Components
from vesal.postprocess.fill_holes import FillHoles
from vesal.postprocess.instances import Instances
from vesal.postprocess.presence import Presence
from vesal.postprocess.rule import Rule
from vesal.postprocess.slice_nms import SliceNms
from vesal.postprocess.slices import Slices
from vesal.postprocess.smooth import Smooth, smooth

MM = (1.0, 1.0, 1.0)
NAMED = ((1, "liver", "organ"), (2, "spleen", "organ"), (3, "psoas", "muscle"), (4, "tumor", "lesion"))


def a_pass(probability: Probabilities, presence: np.ndarray, thick: int = 0) -> StageResult:
    """The result of a stage on a view with slices along ``thick``."""
    shape = probability.shape[1:]
    return StageResult(View((0.0,) * 3, (1.0,) * 3, shape, 2, thick), probability, presence, 1, 0, 0.0, "")


def query(id_: int, concept: str, side: str | None = None, kind: str = "organ") -> Query:
    """What the filters read of a query."""
    return Query(id_, concept, concept, side, "CT", kind)


def filtered(result: StageResult, queries: list[Query], *rules: Rule) -> StageResult:
    """The result after the rules of a profile."""
    return filter_pass(result, queries, applied_rules(rules, queries))


@pytest.mark.parametrize("thick", [0, 1, 2])
def test_slices_without_presence_are_emptied_along_the_thick_axis(thick: int) -> None:
    """Three slices on the thick axis: absent, at the border (absent too), present."""
    shape = [4, 5]
    shape.insert(thick, 3)
    probability = np.full((1, *shape), 0.9, np.float32)
    result = a_pass(probability, np.array([[0.1, 0.3, 0.8]], np.float32), thick)
    kept = filtered(result, [query(1, "liver")], Presence(threshold=0.3)).probability
    slices = np.moveaxis(kept[0], thick, 0)
    assert kept.shape == probability.shape
    assert not slices[:2].any()
    assert (slices[2] == np.float32(0.9)).all()
    assert (probability == np.float32(0.9)).all(), "the stage's own result is not touched"


def test_without_rules_nothing_is_copied() -> None:
    result = a_pass(np.ones((1, 3, 4, 5), np.float32), np.zeros((1, 3), np.float32), 1)
    assert filtered(result, [query(1, "liver")]) is result
    assert filtered(result, [query(1, "liver")], Components(), Instances()) is result


@pytest.mark.parametrize("thick", [0, 1, 2])
def test_the_stronger_side_keeps_a_slice(thick: int) -> None:
    """Left and right fill the same slices; left is surer in slice 0, right in slice 1."""
    shape = [6, 7]
    shape.insert(thick, 2)
    probability = np.zeros((2, *shape), np.float32)
    by_slice = np.moveaxis(probability, 1 + thick, 1)
    by_slice[0, 0], by_slice[0, 1] = 0.9, 0.6
    by_slice[1, 0], by_slice[1, 1] = 0.7, 0.8
    sides = [query(1, "kidney", "left"), query(2, "kidney", "right")]
    result = a_pass(probability, np.ones((2, 2), np.float32), thick)
    kept = filtered(result, sides, SliceNms(iou=0.5))
    found = np.moveaxis(kept.probability, 1 + thick, 1)
    assert (found[0, 0] > 0).all() and not found[0, 1].any()
    assert (found[1, 1] > 0).all() and not found[1, 0].any()
    assert (kept.presence, kept.view) == (result.presence, result.view)


@pytest.mark.parametrize(
    "queries",
    [
        [query(1, "kidney", "left"), query(2, "lung", "right")],
        [query(1, "heart"), query(2, "heart atrium", "left")],
        [query(1, "liver"), query(2, "liver")],
    ],
)
def test_only_sides_of_one_concept_compete(queries: list[Query]) -> None:
    """An atrium lies within the heart: both may have every voxel."""
    result = a_pass(np.full((2, 3, 4, 5), 0.9, np.float32), np.ones((2, 3), np.float32))
    kept = filtered(result, queries, SliceNms(iou=0.5))
    assert (kept.probability == np.float32(0.9)).all()


@pytest.mark.parametrize("thick", [0, 1, 2])
def test_packed_classes_are_filtered_as_others_are(thick: int) -> None:
    """Random probabilities and presence; two sides of one concept and a class beside them."""
    rng = np.random.default_rng(thick)
    probability = rng.random((3, 6, 7, 8), np.float32)
    presence = rng.random((3, probability.shape[1 + thick]), np.float32)
    queries = [query(1, "kidney", "left"), query(2, "liver"), query(3, "kidney", "right")]
    rules = Presence(threshold=0.4), SliceNms(iou=0.2)
    dense = filtered(a_pass(probability, presence, thick), queries, *rules).probability
    packed = filtered(a_pass(PackedProbability.of(probability), presence, thick), queries, *rules).probability
    assert isinstance(packed, PackedProbability) and isinstance(dense, np.ndarray)
    assert 0 < np.count_nonzero(dense) < dense.size
    np.testing.assert_array_equal(np.asarray(packed), dense)


def test_components_are_chosen_for_the_kinds_that_ask_for_it() -> None:
    """Two parts each of an organ and of a lesion; only the organ loses its small unsure one."""
    result = LabelMap((4, 4, 20), 7)
    view = View((0.0, 0.0, 0.0), (1.0, 1.0, 1.0), (4, 4, 20), 0, 0)
    for id_, row in ((3, 0), (7, 2)):
        probability = np.zeros(view.shape, np.float32)
        probability[:2, row, :8] = 0.95
        probability[:2, row, 12:14] = 0.6
        result.add(probability, view, id_, 0.5)
    queries = [query(3, "liver"), query(7, "lesion", kind="lesion")]
    filter_classes(result, applied_rules([Components(kinds=("organ",))], queries), MM, instance=False)
    assert np.count_nonzero(result.labels == 3) == 16
    assert np.count_nonzero(result.labels == 7) == 16 + 4


def test_no_rule_changes_nothing() -> None:
    result = LabelMap((2, 2, 2), 1)
    result.labels[0, 0] = 1
    before, copy = result.labels, result.labels.copy()
    filter_classes(result, applied_rules([Presence(), Instances()], [query(1, "liver")]), MM, instance=False)
    assert result.labels is before
    np.testing.assert_array_equal(result.labels, copy)


def test_objects_are_numbered_whatever_their_prompt() -> None:
    """Prompt ids 5 and 9 become objects 1 (larger) and 2; one voxel alone is dropped."""
    labels = np.zeros((3, 9, 9), np.uint16)
    labels[0, 0, 0:2] = 5
    labels[1, 4:6, 4:6] = 9
    labels[2, 8, 8] = 5
    rules = applied_rules([Components(), Instances(min_voxels=2)], [query(5, "cell"), query(9, "cell")])
    objects = split_into_objects(labels, rules)
    assert objects.dtype == np.uint8
    assert [np.count_nonzero(objects == n) for n in (1, 2, 3)] == [4, 2, 0]
    assert objects[1, 4, 4] == 1


def test_objects_of_two_prompts_that_touch_are_two() -> None:
    labels = np.zeros((4, 4, 8), np.uint8)
    labels[:, :, 1:4], labels[:, :, 4:6] = 5, 9
    objects = split_into_objects(labels, [])
    np.testing.assert_array_equal(objects, np.select([labels == 5, labels == 9], [1, 2]))


def test_the_last_rule_that_splits_counts() -> None:
    """A family adds its own behind those of the profile."""
    labels = np.zeros((1, 1, 6), np.uint8)
    labels[0, 0, [0, 2, 3]] = 1
    none: frozenset[int] = frozenset()
    rules = [AppliedRule(Instances(min_voxels=9), none), AppliedRule(Instances(min_voxels=2), none)]
    assert split_into_objects(labels, rules)[0, 0].tolist() == [0, 0, 1, 1, 0, 0]


def a_map(*cubes: tuple[int, tuple[slice, slice, slice]], side: int = 20) -> LabelMap:
    """A map (side, side, side) of classes that are boxes, filled as the engine does it."""
    result = LabelMap((side,) * 3, 9)
    view = View((0.0,) * 3, (1.0,) * 3, (side,) * 3, 0, 0)
    for id_, cube in cubes:
        probability = np.zeros(view.shape, np.float32)
        probability[cube] = 0.9
        result.add(probability, view, id_, 0.5)
    return result


def test_rules_are_run_in_their_order() -> None:
    """A box open at one side by a hole of one voxel: filled only after it was smoothed."""
    queries = [query(1, "liver")]
    found = []
    for rules in ((Smooth(radius_mm=1.0), FillHoles()), (FillHoles(), Smooth(radius_mm=1.0))):
        result = a_map((1, (slice(4, 16),) * 3))
        result.labels[8:12, 8:12, 8:12] = result.labels[10, 10, 12:16] = 0
        filter_classes(result, applied_rules(rules, queries), MM, instance=False)
        found.append(result.labels[10, 10, 10])
    assert found == [1, 0]


def test_a_rule_on_classes_is_left_out_where_objects_are_wanted_unless_it_says_so() -> None:
    queries, hole = [query(1, "cell")], (slice(9, 11),) * 3
    for rule, instance, filled in (
        (FillHoles(), True, False),
        (FillHoles(instances=True), True, True),
        (FillHoles(instances=True), False, True),
    ):
        result = a_map((1, (slice(4, 16),) * 3))
        result.labels[hole] = 0
        filter_classes(result, applied_rules([rule], queries), MM, instance)
        assert (result.labels[hole] == 1).all() == filled


def test_a_rule_sees_what_is_around_the_class_and_all_of_it_can_be_cleared() -> None:
    """A ball of 3 mm reaches beyond the box of a cube, to the background that it is set against."""
    result = a_map((1, (slice(4, 16),) * 3))
    wanted = result.labels.copy()
    smooth(wanted, 1, 3.0, MM)
    assert 0 < np.count_nonzero(wanted) < np.count_nonzero(result.labels)
    filter_classes(result, applied_rules([Smooth(radius_mm=3.0)], [query(1, "liver")]), MM, instance=False)
    np.testing.assert_array_equal(result.labels, wanted)
    assert result.totals(1, result.labels)[0] == np.count_nonzero(wanted)
    result.clear()
    assert not result.labels.any()


def test_voxels_that_a_class_wins_get_its_mean_probability() -> None:
    """They were background, of which nothing is known: the class is as sure as it was before."""
    result = a_map((1, (slice(4, 16),) * 3))
    result.probability[4:16, 4:16, 4:10] = 0.6
    result.labels[9:11, 9:11, 9:11] = result.probability[9:11, 9:11, 9:11] = 0
    voxels, total = result.totals(1, result.labels)
    filter_classes(result, applied_rules([FillHoles()], [query(1, "liver")]), MM, instance=False)
    filled, with_holes = result.totals(1, result.labels)
    assert filled == voxels + 8
    assert with_holes / filled == pytest.approx(total / voxels, abs=1e-3)
    assert (result.probability[:4] == 0).all(), "and nothing else changes"


@pytest.mark.parametrize("thick", [0, 1, 2])
@pytest.mark.parametrize("packed", [False, True])
def test_all_targets_that_a_rule_is_for_compete_some_slices_at_a_time(
    thick: int, packed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Random blobs; the rule as a whole says what stays, and the muscle is no business of its."""
    rng = np.random.default_rng(thick)
    shape = [9, 10]
    shape.insert(thick, 7)
    probability = rng.random((4, *shape), np.float32) * 0.4 + 0.3
    presence = rng.random((4, 7), np.float32)
    queries = [query(n, name, kind=kind) for n, name, kind in NAMED]
    rule = Slices(iou=0.2, threshold=0.3, kinds=("organ", "lesion"))
    given = PackedProbability.of(probability) if packed else probability
    monkeypatch.setattr(filters, "TOGETHER_VOXELS", 2 * 3 * 90)
    kept = filtered(a_pass(given, presence, thick), queries, rule).probability
    assert isinstance(kept, PackedProbability) == packed
    by_slice = np.moveaxis(probability, 1 + thick, 1)
    expected = by_slice.copy()
    expected[[0, 1, 3]] *= rule.keep(by_slice[[0, 1, 3]], presence[[0, 1, 3]])[:, :, None, None]
    assert 0 < np.count_nonzero(expected[[0, 1, 3]]) < expected[[0, 1, 3]].size
    np.testing.assert_array_equal(np.moveaxis(np.asarray(kept), 1 + thick, 1), expected)


def test_rules_that_compare_all_keep_their_place_among_the_others() -> None:
    """Emptied by presence first, the liver cannot drop the spleen; afterwards it has."""
    probability = np.full((2, 1, 4, 5), 0.9, np.float32)
    result = a_pass(probability, np.array([[0.8], [0.7]], np.float32))
    queries = [query(1, "liver"), query(2, "spleen", kind="lesion")]
    gate, compare = Presence(threshold=0.9, kinds=("organ",)), Slices()
    spleen_first = filtered(result, queries, gate, compare).probability
    assert [bool(p.any()) for p in spleen_first] == [False, True]
    assert not filtered(result, queries, compare, gate).probability.any()
    other = filtered(result, [query(5, "lung", kind="muscle")] * 2, Slices(kinds=("organ",)))
    assert other is result


def test_slices_without_presence_are_not_read() -> None:
    """What a network tells on a coarser grid is enlarged for those alone that may stay."""
    read: list[int] = []

    def enlarge(planes: np.ndarray, plane: tuple[int, int]) -> np.ndarray:
        read.append(len(planes))
        return np.ones((len(planes), *plane), np.float32)

    told = PackedProbability(2, (2, 2))
    told.append(np.zeros((2, 6, 2, 2), np.float32))
    coarse = CoarsePlanes(told, (4, 4), enlarge, np.ones((2, 6), bool))
    presence = np.array([[0.9, 0.5, 0.4, 0.1, 0, 0], [0.2, 0.1, 0, 0, 0.3, 0.8]], np.float32)
    view = View((0.0, 0.0, 0.0), (1.0, 1.0, 1.0), (6, 4, 4), 0, 0)
    result = StageResult(view, coarse, presence, 6, 0, 0.0, "")
    queries = [Query(n, "x", None, None, "CT", "") for n in (1, 2)]
    found = filter_pass(result, queries, [AppliedRule(Slices(), frozenset({1, 2}))])
    assert sum(read) == 3
    kept = [[bool(plane.any()) for plane in row] for row in found.probability]
    assert kept == [[True, True, *[False] * 4], [*[False] * 5, True]]
    assert np.asarray(result.probability).all(), "the given result is not changed"

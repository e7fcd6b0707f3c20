"""What the profile's rules take away, on thick axes other than D too."""

import numpy as np
import pytest

from vesal.inference.data.prompt import Query
from vesal.inference.geometry.views import View
from vesal.inference.planning.rules import FilterRule
from vesal.inference.stages.filters import filter_components, filter_pass, split_into_objects
from vesal.inference.stages.label_map import LabelMap
from vesal.inference.stages.packed_probability import PackedProbability, Probabilities
from vesal.inference.stages.stage_result import StageResult


def a_pass(probability: Probabilities, presence: np.ndarray, thick: int = 0) -> StageResult:
    """The result of a stage on a view with slices along ``thick``."""
    shape = probability.shape[1:]
    return StageResult(View((0.0,) * 3, (1.0,) * 3, shape, 2, thick), probability, presence, 1, 0, 0.0, "")


def query(id_: int, concept: str, side: str | None = None, kind: str = "organ") -> Query:
    """What the filters read of a query."""
    return Query(id_, concept, concept, side, "CT", kind)


@pytest.mark.parametrize("thick", [0, 1, 2])
def test_slices_without_presence_are_emptied_along_the_thick_axis(thick: int) -> None:
    """Three slices on the thick axis: absent, at the border (absent too), present."""
    shape = [4, 5]
    shape.insert(thick, 3)
    probability = np.full((1, *shape), 0.9, np.float32)
    result = a_pass(probability, np.array([[0.1, 0.3, 0.8]], np.float32), thick)
    kept = filter_pass(result, [query(1, "liver")], FilterRule(presence_threshold=0.3)).probability
    slices = np.moveaxis(kept[0], thick, 0)
    assert kept.shape == probability.shape
    assert not slices[:2].any()
    assert (slices[2] == np.float32(0.9)).all()
    assert (probability == np.float32(0.9)).all(), "the stage's own result is not touched"


def test_without_rules_nothing_is_copied() -> None:
    result = a_pass(np.ones((1, 3, 4, 5), np.float32), np.zeros((1, 3), np.float32), 1)
    assert filter_pass(result, [query(1, "liver")], FilterRule()) is result


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
    kept = filter_pass(result, sides, FilterRule(slice_nms_iou=0.5))
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
    kept = filter_pass(result, queries, FilterRule(slice_nms_iou=0.5))
    assert (kept.probability == np.float32(0.9)).all()


@pytest.mark.parametrize("thick", [0, 1, 2])
def test_packed_classes_are_filtered_as_others_are(thick: int) -> None:
    """Random probabilities and presence; two sides of one concept and a class beside them."""
    rng = np.random.default_rng(thick)
    probability = rng.random((3, 6, 7, 8), np.float32)
    presence = rng.random((3, probability.shape[1 + thick]), np.float32)
    queries = [query(1, "kidney", "left"), query(2, "liver"), query(3, "kidney", "right")]
    rule = FilterRule(presence_threshold=0.4, slice_nms_iou=0.2)
    dense = filter_pass(a_pass(probability, presence, thick), queries, rule).probability
    packed = filter_pass(
        a_pass(PackedProbability.of(probability), presence, thick), queries, rule
    ).probability
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
    filter_components(result, queries, FilterRule(component_kinds=("organ",)))
    assert np.count_nonzero(result.labels == 3) == 16
    assert np.count_nonzero(result.labels == 7) == 16 + 4


def test_no_kind_no_filter() -> None:
    result = LabelMap((2, 2, 2), 1)
    before = result.labels
    filter_components(result, [query(1, "liver")], FilterRule())
    assert result.labels is before


def test_objects_are_numbered_whatever_their_prompt() -> None:
    """Prompt ids 5 and 9 become objects 1 (larger) and 2; one voxel alone is dropped."""
    labels = np.zeros((3, 9, 9), np.uint16)
    labels[0, 0, 0:2] = 5
    labels[1, 4:6, 4:6] = 9
    labels[2, 8, 8] = 5
    objects = split_into_objects(labels, 2)
    assert objects.dtype == np.uint8
    assert [np.count_nonzero(objects == n) for n in (1, 2, 3)] == [4, 2, 0]
    assert objects[1, 4, 4] == 1

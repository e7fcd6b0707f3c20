"""What the stage before found outside of a refined view, and that it is kept where a rule says so."""

import numpy as np
import pytest
from msgspec import structs

from tests.inference.fake_models import Bright, Constant, Graph, made_image, make_engine, make_prompt, segment
from vesal.inference.geometry.views import View
from vesal.inference.planning.rules import StageRule
from vesal.inference.stages.outside import outside_of
from vesal.inference.stages.packed_probability import PackedProbability, Probabilities
from vesal.inference.stages.stage_result import Latest, StageResult

COARSE = View((0.0, 0.0, 0.0), (2.0, 2.0, 2.0), (8, 8, 8), 0, 0)
"""Voxel k covers 2k to 2k + 2 of a volume of 16^3; its centre is at 2k + 1."""


def latest(probability: Probabilities, row: int = 0) -> Latest:
    """A result on ``COARSE``."""
    return Latest(StageResult(COARSE, probability, np.ones((1, 8)), 1, 0, 0.0, ""), row, 0.4)


def refined(start: float, sides: int) -> View:
    """A view of voxels of 1 mm from ``start`` on, along all axes."""
    return View((start,) * 3, (1.0,) * 3, (sides,) * 3, 0, 0)


def test_inside_of_the_refined_view_nothing_is_left() -> None:
    """It covers 4 to 10: centres 5, 7 and 9, the voxels 2, 3 and 4."""
    found = outside_of(latest(np.ones((1, 8, 8, 8), np.float32)), refined(4.0, 6))
    expected = np.ones((8, 8, 8), np.float32)
    expected[2:5, 2:5, 2:5] = 0
    np.testing.assert_array_equal(found.probability, expected)
    assert (found.view, found.threshold) == (COARSE, 0.4)


@pytest.mark.parametrize(("start", "inside"), [(4.9, 3), (5.0, 3), (5.1, 2)])
def test_a_voxel_is_inside_where_its_centre_is(start: float, inside: int) -> None:
    """From ``start`` six voxels on: 5, 7 and 9 are inside until the view begins behind 5."""
    found = outside_of(latest(np.ones((1, 8, 8, 8), np.float32)), refined(start, 5))
    assert np.count_nonzero(found.probability == 0) == inside**3


def test_the_result_before_is_not_changed() -> None:
    """Other targets and later views still need it; packed or not, and whichever row it is."""
    values = np.random.default_rng(0).random((3, 8, 8, 8), np.float32)
    for before in (values.copy(), PackedProbability.of(values)):
        kept = np.asarray(before).copy()
        found = outside_of(latest(before, 1), refined(0.0, 16))
        assert not found.probability.any()
        np.testing.assert_array_equal(np.asarray(before), kept)
        far = outside_of(latest(before, 1), refined(100.0, 4))
        np.testing.assert_array_equal(far.probability, kept[1])


NEAR, FAR = (slice(4, 16), slice(4, 16), slice(4, 16)), (slice(56, 61), slice(56, 61), slice(56, 61))
"""1728 voxels, and 125: less than a tenth of them, so they do not stretch the region."""
IMAGE = made_image((64, 64, 64), (NEAR, 240), (FAR, 240))
LESION = make_prompt(1, "lesion", kind="lesion")
TARGETS = [("lesion", None, "CT")]
COARSE_RULE = StageRule(window_voxels=64**3)


def labels_of(keep: bool, graph: Graph | None = None) -> np.ndarray:
    """The labels of two lesions that lie far from each other."""
    fine = StageRule(window_voxels=32**3, margin_factor=1.2, keep_outside=keep)
    return segment(make_engine(graph, coarse=COARSE_RULE, fine=fine, targets=TARGETS), IMAGE, [LESION]).labels


def test_a_second_lesion_far_from_the_first_is_kept_where_the_rule_says_so() -> None:
    """125 voxels found by the coarse stage were 0 in the result."""
    np.testing.assert_array_equal(labels_of(True), IMAGE == 240)
    without = labels_of(False)
    assert (without[NEAR] == 1).all() and not without[FAR].any()


def test_what_the_fine_stage_takes_back_inside_of_its_view_stays_away() -> None:
    """A network that finds both without a spatial prompt, and says no with one."""

    def graph(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return (Constant(0.1) if inputs["prompt"].any() else Bright())(inputs)

    labels = labels_of(True, graph)
    assert not labels[NEAR].any() and (labels[FAR] == 1).all()


def test_without_a_fine_stage_all_is_as_it_was_found() -> None:
    fine = StageRule(window_voxels=32**3, keep_outside=True)
    skipped = structs.replace(fine, skip=True)
    engine = make_engine(coarse=COARSE_RULE, fine=skipped, targets=TARGETS)
    np.testing.assert_array_equal(segment(engine, IMAGE, [LESION]).labels, IMAGE == 240)

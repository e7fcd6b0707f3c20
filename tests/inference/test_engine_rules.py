"""The profile's list of rules through the whole engine."""

import numpy as np
import pytest

from tests.inference.fake_models import made_image, make_engine, make_prompt, segment
from vesal.postprocess.fill_holes import FillHoles
from vesal.postprocess.rule import Rule
from vesal.postprocess.smooth import Smooth

CUBE, HOLE = (slice(8, 20), slice(10, 24), slice(6, 26)), (slice(12, 14), slice(15, 17), slice(12, 14))
IMAGE = made_image((32, 32, 32), (CUBE, 200), (HOLE, 20))
LIVER = make_prompt(1, "liver")


@pytest.mark.parametrize(
    ("rules", "filled"),
    [
        ((), False),
        ((FillHoles(),), True),
        ((FillHoles(kinds=("organ",)),), True),
        ((FillHoles(kinds=("lesion",)),), False),
        ((FillHoles(max_voxels=7),), False),
        ((FillHoles(max_voxels=8),), True),
    ],
)
def test_holes_are_filled_by_rule_and_kind(rules: tuple[Rule, ...], filled: bool) -> None:
    result = segment(make_engine(postprocess=rules), IMAGE, [LIVER])
    assert (result.labels[HOLE] == 1).all() == filled
    assert result.prompts[1].voxels == np.count_nonzero(result.labels)


@pytest.mark.parametrize("order", [1, -1])
def test_rules_run_in_their_order(order: int) -> None:
    """A tunnel of one voxel opens the hole: smoothing closes it, and only then is there a hole to fill."""
    image = IMAGE.copy()
    image[12, 15, 14:26] = 20
    rules = (Smooth(radius_mm=1.0), FillHoles())[::order]
    labels = segment(make_engine(postprocess=rules), image, [LIVER]).labels
    assert (labels[HOLE] == 1).all() == (order == 1)


def test_rules_for_objects_too_run_before_they_are_split() -> None:
    both = FillHoles(instances=True), FillHoles(instances=False)
    found = [
        segment(make_engine(postprocess=(rule,)), IMAGE, [LIVER], instance=True).labels[HOLE].all()
        for rule in both
    ]
    assert found == [True, False]


def test_touching_objects_of_two_prompts_are_two_and_counted_once() -> None:
    left, right = (CUBE[0], CUBE[1], slice(6, 16)), (CUBE[0], CUBE[1], slice(16, 26))
    image = made_image((32, 32, 32), (left, 200), (right, 120))
    prompts = [LIVER, make_prompt(2, "spleen")]
    result = segment(make_engine(), image, prompts, instance=True)
    assert sorted(np.unique(result.labels)) == [0, 1, 2]
    assert [result.prompts[id_].objects for id_ in (1, 2)] == [1, 1]

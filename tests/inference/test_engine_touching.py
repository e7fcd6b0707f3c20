"""Objects that touch, through the whole engine."""

import numpy as np

from tests.inference.fake_models import make_engine, make_prompt, segment
from vesal.inference.planning.rules import StageRule
from vesal.inference.timing.clock import Clock
from vesal.postprocess.instances import Instances
from vesal.postprocess.round_objects import RoundObjects

RULES = RoundObjects(concepts=("cell",)), Instances(min_voxels=2)
CELLS = [make_prompt(1, "cell", kind="cell")]


def two_balls() -> np.ndarray:
    """(32, 32, 32) uint8: two balls of radius 6 that touch, of the brightness of liver and cell."""
    z, y, x = np.indices((32, 32, 32))
    near = [(z - 16) ** 2 + (y - 16) ** 2 + (x - at) ** 2 <= 36 for at in (10, 21)]
    return np.where(near[0] | near[1], 200, 20).astype(np.uint8)


def engine(**changes):
    """The whole volume in one view, at its own spacing."""
    coarse, fine = StageRule(window_voxels=32**3), StageRule(window_voxels=32**3, margin_factor=3.0)
    return make_engine(coarse=coarse, fine=fine, postprocess=RULES, **changes)


def test_what_the_profile_names_is_separated_and_nothing_else() -> None:
    cells = segment(engine(), two_balls(), CELLS, instance=True)
    assert cells.prompts[1].objects == 2 and cells.labels[16, 16, 10] != cells.labels[16, 16, 21]
    assert segment(engine(), two_balls(), [make_prompt(1, "liver")], instance=True).prompts[1].objects == 1


def test_no_objects_wanted_nothing_separated() -> None:
    labels = segment(engine(), two_balls(), CELLS).labels
    assert set(np.unique(labels)) == {0, 1}


def test_touching_cells_and_another_thing_beside_them() -> None:
    image = two_balls()
    image[2:8, 2:8, 2:8] = 120
    both = [*CELLS, make_prompt(2, "spleen")]
    result = segment(engine(), image, both, instance=True)
    assert [result.prompts[id_].objects for id_ in (1, 2)] == [2, 1]
    assert len(np.unique(result.labels)) == 4


def test_without_time_touching_cells_are_one_and_the_report_says_so() -> None:
    """The clock stands still until the result is filtered; then next to nothing is left."""
    now = [0.0]
    clock = Clock(20.0, 0.0, lambda: now[0])

    def save(labels: np.ndarray) -> None:
        now[0] = 19.5

    result = segment(engine(), two_balls(), CELLS, clock, save, instance=True)
    assert result.prompts[1].objects == 1
    assert any("touching objects not separated: 1" in step.step for step in result.ladder)
    assert any("touching objects" in text for text in result.fallbacks)

"""Out of GPU memory: windows are halved, and the ladder counts the windows that there are then."""

import numpy as np
import pytest

from tests.inference.fake_models import Bright, dice, made_image, make_engine, make_prompt, segment
from vesal.inference.data.errors import OutOfDeviceMemoryError
from vesal.inference.planning.rules import StageRule
from vesal.inference.timing.clock import Clock

LIVER = (slice(20, 76), slice(20, 76), slice(20, 76))


class SmallGpu(Bright):
    """Takes a second for each window, and windows of at most so many voxels."""

    def __init__(self, voxels: int) -> None:
        super().__init__()
        self.voxels, self.at, self.ran = voxels, 0.0, 0
        self.refused: list[int] = []

    def __call__(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        if inputs["image"][0, 0].size > self.voxels:
            self.refused.append(self.ran)
            raise OutOfDeviceMemoryError("the window does not fit")
        self.at, self.ran = self.at + 1.0, self.ran + 1
        return super().__call__(inputs)

    def clock(self, budget_s: float) -> Clock:
        return Clock(budget_s, 0.0, lambda: self.at)


def run(graph: SmallGpu, budget_s: float):
    """A liver in 96^3 voxels, looked at in one window of 96^3 at a time, if it fits."""
    image = made_image((96, 96, 96), (LIVER, 200))
    rule = StageRule(window_voxels=96**3)
    engine = make_engine(graph, coarse=rule, fine=StageRule(window_voxels=96**3, margin_factor=1.2))
    result = segment(engine, image, [make_prompt(1, "liver")], graph.clock(budget_s))
    return result, dice(result.labels == 1, image == 200)


def test_with_time_all_halved_windows_are_run() -> None:
    graph = SmallGpu(24**3)
    result, found = run(graph, 10_000.0)
    assert found > 0.95
    assert any("do not fit into GPU memory" in note for note in result.fallbacks)
    assert not any("left out" in note for note in result.fallbacks)


def test_without_time_the_view_gets_coarser_instead_of_losing_its_windows() -> None:
    graph = SmallGpu(32**3)
    result, found = run(graph, 30.0)
    assert graph.at < 30.0
    assert found > 0.8, "a coarser view of all, not four windows of sixty"
    assert not any("left out" in note for note in result.fallbacks)
    assert any(step.step.startswith("coarser spacing") for step in result.ladder)


def test_the_windows_of_later_views_are_halved_from_the_beginning() -> None:
    graph = SmallGpu(32**3)
    result, _ = run(graph, 10_000.0)
    assert set(graph.refused) == {0}, "the fine view does not try the windows that did not fit before"
    assert len(result.stages) == 2 and graph.ran > 2


def test_where_no_smaller_window_is_left_the_error_goes_on() -> None:
    with pytest.raises(OutOfDeviceMemoryError):
        run(SmallGpu(8**3), 10_000.0)


def test_a_budget_far_above_the_view_is_halved_until_the_window_shrinks() -> None:
    graph = SmallGpu(24**3)
    image = made_image((48, 48, 48), ((slice(10, 38), slice(10, 38), slice(10, 38)), 200))
    rule = StageRule(window_voxels=128**3)
    result = segment(make_engine(graph, coarse=rule, fine=rule), image, [make_prompt(1, "liver")])
    assert dice(result.labels == 1, image == 200) > 0.97


def test_halvings_of_one_stage_leave_the_views_of_a_smaller_one_as_they_are() -> None:
    graph = SmallGpu(24**3)
    image = made_image((96, 96, 96), (LIVER, 200))
    coarse, fine = StageRule(window_voxels=96**3), StageRule(window_voxels=16**3, margin_factor=1.2)
    result = segment(make_engine(graph, coarse=coarse, fine=fine), image, [make_prompt(1, "liver")])
    assert [(s.grid, s.windows) for s in result.stages if s.stage == "fine"] == [((16, 16, 16), 1)]

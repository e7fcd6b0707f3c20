"""Rounds within each window, windows that show nothing, and where complementary halves come from."""

from collections.abc import Callable

import numpy as np
import pytest
from msgspec import structs

from tests.inference.fake_models import BANK, made_image, make_profile
from vesal.inference.data.prompt import Query
from vesal.inference.families.nano import NanoModel
from vesal.inference.geometry.views import whole
from vesal.inference.planning.rules import CaseStageRule, StageRule
from vesal.inference.stages.passes import run_refining
from vesal.inference.stages.view_pass import ViewPass
from vesal.inference.stages.view_task import ViewTask, Volume, decodings_of
from vesal.inference.timing.clock import Clock
from vesal.inference.timing.forecast import Forecast
from vesal.inference.timing.ladder import Effort, Ladder

SIDE = 32
HALVES = StageRule(
    window_voxels=16 * SIDE * SIDE,
    max_windows=3,
    overlap=0.5,
    rounds=2,
    refine_windows=True,
    min_window_prompt=0.0,
)
"""Three windows of half of the planes each, so that neighbours share a quarter of them."""


class Numbered:
    """Gives every call another probability, above a half; keeps what it was asked."""

    def __init__(self) -> None:
        self.calls: list[dict[str, np.ndarray]] = []

    def __call__(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        self.calls.append(inputs)
        shape = inputs["prompt"].shape
        probability = np.full(shape, self.of(len(self.calls) - 1), np.float32)
        return {"probability": probability, "presence": np.ones(shape[:3], np.float32)}

    @staticmethod
    def of(call: int) -> float:
        return 0.5 + 0.01 * (1 + call)


def task_of(graph: Callable, rule: StageRule, level: int = 20) -> ViewTask:
    model = NanoModel({0: graph, 1: graph, 2: graph}, BANK, make_profile())
    query = Query(1, "liver", "liver", None, "CT", "organ")
    image = made_image((SIDE,) * 3, background=level)
    volume = Volume(image, (1.0, 1.0, 1.0), (100.0, 50.0))
    return ViewTask(volume, model, [query], model.encode_prompts([query]), whole(image.shape), rule, True)


def ladder() -> Ladder:
    return Ladder(Forecast(Clock(600.0, 0.0, lambda: 0.0)), [])


def run(graph: Callable, rule: StageRule, level: int = 20, effort: Effort | None = None):
    used = ladder()
    used.effort = effort or Effort()
    return ViewPass(task_of(graph, rule, level), used).run()


def test_each_window_is_refined_by_its_own_prediction() -> None:
    """Not by what it would be blended with: every second call sees just what the one before gave."""
    graph = Numbered()
    result, passes = run(graph, HALVES)
    assert (passes, result.windows, len(graph.calls)) == (1, 3, 6)
    for first, call in enumerate(graph.calls):
        wanted = Numbered.of(first - 1) if first % 2 else 0.0
        assert np.unique(call["prompt"]).tolist() == [np.float32(wanted)]


def test_rounds_over_the_view_see_the_blended_result() -> None:
    """The default: after all windows, and where two overlap between both of their values."""
    graph = Numbered()
    result, passes = run(graph, structs.replace(HALVES, refine_windows=False))
    assert (passes, result.windows, len(graph.calls)) == (2, 6, 6)
    assert len(np.unique(graph.calls[4]["prompt"])) > 1


def test_complementary_halves_of_a_refinement_are_two_calls() -> None:
    graph, rule = Numbered(), structs.replace(HALVES, complementary_block=8, refinement_block=4)
    run(graph, rule)
    assert len(graph.calls) == 3 * (1 + 2) == 3 * decodings_of(rule, prompted=False)
    assert decodings_of(rule, prompted=True) == 4
    assert decodings_of(structs.replace(rule, refine_windows=False), prompted=True) == 2


def test_with_less_time_windows_are_refined_less_often() -> None:
    graph = Numbered()
    run(graph, HALVES, effort=Effort(rounds=1))
    assert len(graph.calls) == 3


def test_the_report_tells_the_rounds_within_windows() -> None:
    assert "2 round(s)" in run_refining(task_of(Numbered(), HALVES), "all of it", ladder()).why


@pytest.mark.parametrize("skip", [True, False])
def test_black_windows_are_skipped_unless_the_rule_says_otherwise(skip: bool) -> None:
    graph = Numbered()
    result, _ = run(graph, structs.replace(HALVES, rounds=1, skip_empty=skip), level=0)
    assert (result.windows, result.skipped) == ((0, 3) if skip else (3, 0))
    assert len(graph.calls) == result.windows


def test_halves_come_from_the_rule_where_it_draws_them() -> None:
    """It is told stage, window, round and block, and the first call sees the prompt where it says."""
    asked = []

    def draw(stage, corner, round_, shape, block):
        asked.append((stage, corner, round_, shape, block))
        return np.indices(shape)[0] < 4

    rule = CaseStageRule(
        **structs.asdict(structs.replace(HALVES, name="fine", complementary_block=8, refinement_block=4)),
        block_masks=draw,
    )
    graph = Numbered()
    run(graph, rule)
    window = (16, SIDE, SIDE)
    assert asked == [("fine", (first, 0, 0), 1, window, 4) for first in (0, 8, 16)]
    for first, second in ((1, 2), (4, 5)):
        seen = [graph.calls[at]["prompt"][0, 0] > 0 for at in (first, second)]
        assert seen[0][:4].all() and not seen[0][4:].any()
        assert not seen[1][:4].any() and seen[1][4:].all()

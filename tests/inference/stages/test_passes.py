"""One pass at a time: what the coarse and the fine stage look at, and with which spatial prompt."""

from collections.abc import Callable

import numpy as np
import pytest
from msgspec import structs

from tests.inference.fake_models import BANK, Bright, Constant, made_image, make_profile
from vesal.inference.data.prompt import Query
from vesal.inference.families.nano import NanoModel
from vesal.inference.geometry.views import Box, View
from vesal.inference.planning.rules import StageRule
from vesal.inference.stages.passes import locating_tasks, refining_task, run_locating, run_refining
from vesal.inference.stages.regions import find_regions
from vesal.inference.stages.stage_result import Latest, StageResult
from vesal.inference.stages.view_task import Volume
from vesal.inference.timing.clock import Clock
from vesal.inference.timing.forecast import Forecast
from vesal.inference.timing.ladder import Ladder, PlannedStage

LIVER = Query(1, "liver", "liver", None, "CT", "organ")
SPLEEN = Query(2, "spleen", "spleen", None, "CT", "organ")
RULE = StageRule(window_voxels=32**3)
LOW = (slice(4, 12), slice(4, 12), slice(4, 12))


def model_of(graph: Callable) -> NanoModel:
    """One network for all degrees."""
    return NanoModel({0: graph, 1: graph, 2: graph}, BANK, make_profile())


def volume_of(image: np.ndarray, spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)) -> Volume:
    """A volume as the stages see it."""
    return Volume(image, spacing, (100.0, 50.0))


@pytest.fixture
def ladder() -> Ladder:
    """All the time in the world."""
    return Ladder(Forecast(Clock(600.0, 0.0, lambda: 0.0)))


def refine(
    image: np.ndarray,
    graph: Callable,
    queries: list[Query],
    rule: StageRule,
    coarse: StageResult | None,
    index: list[int],
    ladder: Ladder,
) -> StageResult | None:
    """Run the fine view of some rows alone, as the engine does; None where there is nothing to look at."""
    volume, model = volume_of(image), model_of(graph)
    asked = [LIVER, SPLEEN][: 1 if coarse is None else len(coarse.probability)]
    before = [None if coarse is None else Latest(coarse, row, rule.threshold) for row in range(len(asked))]
    [target] = [
        t
        for rows, t in find_regions(volume, structs.replace(rule, max_targets_per_view=1), before, asked)
        if rows == tuple(index)
    ]
    if target.box is None:
        return None
    prompts, mine = model.encode_prompts(queries), [before[i] for i in index]
    task = refining_task(volume, model, queries, prompts, rule, target, mine)
    return run_refining(task, target.why, ladder)


def locate(image: np.ndarray, graph: Callable, queries: list[Query], ladder: Ladder) -> StageResult:
    """Run the locating stage over a volume, as the engine does."""
    model = model_of(graph)
    tasks = locating_tasks(volume_of(image), model, queries, model.encode_prompts(queries), RULE)
    return run_locating(tasks, ladder)


class SlowNet(Constant):
    """Every call takes 10 s of a clock that it moves itself."""

    def __init__(self) -> None:
        super().__init__(0.6)
        self.at = 0.0

    def __call__(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        self.at += 10.0
        return super().__call__(inputs)

    def ladder(self, budget_s: float, rule: StageRule, first: bool) -> Ladder:
        """A ladder for one stage on that clock."""
        return Ladder(Forecast(Clock(budget_s, 0.0, lambda: self.at)), [PlannedStage(rule, first)])


def test_the_coarse_stage_sees_everything_for_every_query(ladder: Ladder) -> None:
    image = made_image((32, 32, 32), (LOW, 200))
    result = locate(image, Bright(), [LIVER, SPLEEN], ladder)
    assert result.view == View((0.0, 0.0, 0.0), (1.0, 1.0, 1.0), (32, 32, 32), 0, 0)
    np.testing.assert_array_equal(result.probability[0] > 0.5, image == 200)
    assert not result.probability[1].any()
    assert (result.presence[0, 4:12] > 0.9).all() and not result.presence[0, 12:].any()
    assert (result.windows, result.skipped, result.dropped) == (1, 0, 0)


def test_many_queries_are_asked_in_passes(ladder: Ladder) -> None:
    """35 queries: 16, 16 and 3; the odd ones are spleens, and each row belongs to its query."""
    bright, most = Bright(), RULE.max_queries
    assert most == 16
    image = made_image((16, 16, 16), (LOW, 200))
    queries = [(LIVER, SPLEEN)[i % 2] for i in range(2 * most + 3)]
    result = locate(image, bright, queries, ladder)
    assert [c["text"].shape[1] for c in bright.calls] == [most, most, 3]
    assert result.probability.any((1, 2, 3)).tolist() == [i % 2 == 0 for i in range(len(queries))]
    assert result.presence.shape == (len(queries), 16)


def coarse_with(cut: tuple[slice, slice, slice] | None, classes: int = 1) -> StageResult:
    """A coarse result on 32^3 voxels at step 2 of a volume of 64^3; 0.8 in ``cut`` of the last class."""
    probability = np.zeros((classes, 32, 32, 32), np.float32)
    if cut is not None:
        probability[-1][cut] = 0.8
    view = View((0.0, 0.0, 0.0), (2.0, 2.0, 2.0), (32, 32, 32), 0, 0)
    return StageResult(view, probability, np.ones((classes, 32), np.float32), 1, 0, 0.0, "")


def test_the_fine_stage_looks_around_the_coarse_result(ladder: Ladder) -> None:
    """Voxels 4..12 at step 2 are 8..24; grown 1.5 times 4..28, which 32 voxels hold at their own grid."""
    constant = Constant(0.6)
    rule = StageRule(window_voxels=32**3, margin_factor=1.5)
    image = made_image((64, 64, 64))
    result = refine(image, constant, [SPLEEN], rule, coarse_with(LOW, 2), [1], ladder)
    assert result is not None
    assert result.view.box == Box((0.0, 0.0, 0.0), (32.0, 32.0, 32.0))
    prompt = constant.calls[0]["prompt"][0, 0]
    assert prompt[16, 16, 16] == pytest.approx(0.8) and prompt[30, 30, 30] == 0
    assert "grown 1.5 times" in result.why


def test_an_empty_coarse_result_gives_nothing_to_look_at(ladder: Ladder) -> None:
    image = made_image((64, 64, 64))
    assert refine(image, Constant(1), [LIVER], RULE, coarse_with(None), [0], ladder) is None


def test_only_the_queries_of_the_view_point_the_way(ladder: Ladder) -> None:
    """The other class's coarse result is no reason to look for this one."""
    image = made_image((64, 64, 64))
    coarse = coarse_with(LOW, 2)
    assert refine(image, Constant(1), [LIVER], RULE, coarse, [0], ladder) is None


def test_without_a_coarse_stage_everything_is_seen_without_prompt(ladder: Ladder) -> None:
    constant = Constant(0.6)
    image = made_image((64, 64, 64))
    result = refine(image, constant, [LIVER], RULE, None, [0], ladder)
    assert result is not None
    assert result.view.box.start[0] <= 0 and result.view.box.stop[0] >= 64
    assert not constant.calls[0]["prompt"].any()


def test_a_round_without_time_does_not_cost_the_one_before() -> None:
    """Windows of 10 s in 165 s: the 8 of the first round, and 85 s left. The second would take 8 * 10 s and
    a margin, so it is not begun. The whole first round was dropped for a second that was cut short.
    """
    net = SlowNet()
    rule = StageRule(window_voxels=32**3, max_windows=8, overlap=0.0, rounds=3)
    ladder = net.ladder(165.0, rule, True)
    result = refine(made_image((64, 64, 64)), net, [LIVER], rule, None, [0], ladder)
    assert result is not None
    np.testing.assert_allclose(result.probability, 0.6, rtol=1e-5)
    assert (result.windows, result.dropped, len(net.calls)) == (8, 0, 8)
    assert "1 of 3 rounds" in result.why
    assert [s.step for s in ladder.steps] == ["fewer refinement rounds: 2", "fewer refinement rounds: 1"]
    assert {s.at_s for s in ladder.steps} == {80.0}


def test_both_halves_of_the_masks_are_in_the_sum() -> None:
    """10 s a call, 20 s a window with both halves: of 50 s the first two rounds take 40, and the third is
    given up before the second begins. Half was counted.
    """
    net = SlowNet()
    rule = StageRule(window_voxels=32**3, rounds=3, complementary_block=8)
    ladder = net.ladder(50.0, rule, False)
    refine(made_image((64, 64, 64)), net, [LIVER], rule, coarse_with(LOW), [0], ladder)
    assert net.at == 40.0
    assert [s.step for s in ladder.steps] == ["fewer refinement rounds: 2"]


def test_the_complementary_pass_goes_before_a_window_does() -> None:
    """A window was seen to take 10 s a call, and 15 s are left: the next one does without its second half."""
    net = SlowNet()
    rule = StageRule(window_voxels=32**3, complementary_block=8)
    ladder = net.ladder(25.0, rule, False)
    refine(made_image((64, 64, 64)), net, [LIVER], StageRule(32**3), coarse_with(LOW), [0], ladder)
    refine(made_image((64, 64, 64)), net, [LIVER], rule, coarse_with(LOW), [0], ladder)
    assert net.at == 20.0
    assert [s.step for s in ladder.steps] == ["no complementary pass"]


@pytest.mark.parametrize(("suspect", "looked"), [(0.5, False), (0.4, False), (0.1, True)])
def test_what_is_only_suspected_is_looked_at_where_the_rule_says_so(
    ladder: Ladder, suspect: float, looked: bool
) -> None:
    """A target that reaches 0.3 nowhere more than 0.5: its box where the rule goes down to 0.1."""
    coarse = coarse_with(LOW)
    coarse.probability[coarse.probability > 0] = 0.3
    rule = StageRule(window_voxels=32**3, margin_factor=1.5, low_threshold=suspect)
    result = refine(made_image((64, 64, 64)), Constant(0.6), [LIVER], rule, coarse, [0], ladder)
    assert (result is not None) == looked
    if result is not None:
        assert result.view.box == Box((0.0, 0.0, 0.0), (32.0, 32.0, 32.0))
        assert "box, from 0.1 on, grown" in result.why


def test_a_found_target_is_looked_at_by_what_is_sure_of_it(ladder: Ladder) -> None:
    """Beside 0.8 in one corner 0.3 elsewhere does not stretch the box."""
    coarse = coarse_with(LOW)
    coarse.probability[0, 25:30, 25:30, 25:30] = 0.3
    rule = StageRule(window_voxels=32**3, margin_factor=1.5, low_threshold=0.1)
    result = refine(made_image((64, 64, 64)), Constant(0.6), [LIVER], rule, coarse, [0], ladder)
    assert result is not None and result.view.box.stop == (32.0, 32.0, 32.0)

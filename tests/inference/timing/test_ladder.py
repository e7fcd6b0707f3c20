"""What is given up, in which order, and what each rung makes of a stage's rule."""

from collections.abc import Callable

import pytest

from vesal.inference.families.voxtell.layouts import Cropped
from vesal.inference.geometry.layouts import Fit
from vesal.inference.planning.rules import CaseStageRule, StageRule
from vesal.inference.timing.clock import Clock
from vesal.inference.timing.forecast import CostEstimate, Forecast
from vesal.inference.timing.ladder import Effort, FineScope, Ladder, PlannedStage, rungs

RULE = StageRule(window_voxels=32**3, max_windows=8, overlap=0.5, rounds=3, complementary_block=8)
COARSE, FINE = (
    PlannedStage(StageRule(window_voxels=32**3, max_windows=2), first=True),
    PlannedStage(RULE, first=False),
)


class Watch:
    """A clock at zero, and a pace that knows that a call takes 1 s."""

    def __init__(self, budget_s: float = 1000.0) -> None:
        self.at = 0.0
        self.forecast = Forecast(Clock(budget_s, 0.0, lambda: self.at))
        for _ in range(2):
            self.at += 1.0
            self.forecast.record_decoding("degree 0", 4096, 1, 1.0)
        self.at = 0.0


class Windows:
    """So many windows of 1 s under each effort."""

    def __init__(self, count: Callable[[Effort], int]) -> None:
        self.count = count

    def cost(self, effort: Effort) -> list[CostEstimate]:
        return [CostEstimate("degree 0", 4096, 1, self.count(effort))]


def test_the_order_of_the_rungs() -> None:
    """As long as a quarter of the smallest grid remains, the coarse stage can become coarser."""
    assert [rung.step for rung in rungs([COARSE, FINE])] == [
        "overlap 0.25",
        "fewer refinement rounds: 2",
        "fewer refinement rounds: 1",
        "no complementary pass",
        "overlap 0",
        "fine stage only where the coarse stage was uncertain",
        "coarse only",
        "coarser spacing: 1/2 of the voxels",
        "coarser spacing: 1/4 of the voxels",
        "coarser spacing: 1/8 of the voxels",
        "coarser spacing: 1/16 of the voxels",
    ]


@pytest.mark.parametrize(
    ("effort", "field", "expected"),
    [
        (Effort(rounds=2), "rounds", 2),
        (Effort(rounds=9), "rounds", 3),
        (Effort(complementary=False), "complementary_block", 0),
        (Effort(overlap=0.25), "overlap", 0.25),
        (Effort(overlap=0.75), "overlap", 0.5),
    ],
)
def test_an_effort_never_raises_what_a_rule_says(effort: Effort, field: str, expected: float) -> None:
    assert getattr(effort.of(RULE, False), field) == expected
    assert effort.of(RULE, True).window_voxels == RULE.window_voxels


@pytest.mark.parametrize(
    ("share", "windows_", "voxels"),
    [(1.0, 8, 32**3), (0.5, 4, 32**3), (1 / 16, 1, 32**3 // 2), (1 / 128, 1, 16**3)],
)
def test_coarser_is_fewer_windows_and_then_fewer_voxels(share: float, windows_: int, voxels: int) -> None:
    """And only where nothing coarser is known; no view is smaller than what the network can halve."""
    rule = Effort(share=share).of(RULE, True)
    assert (rule.max_windows, rule.window_voxels) == (windows_, voxels)
    assert Effort(share=share).of(RULE, False) == RULE


def test_what_fits_takes_no_step() -> None:
    ladder = Ladder(Watch(100.0).forecast, [COARSE, FINE])
    assert ladder.fits(Windows(lambda effort: 80))
    assert (ladder.steps, ladder.effort) == ([], Effort())


def test_steps_are_taken_up_to_the_first_that_fits() -> None:
    """100 windows without, 50 with the complementary pass, and time for 60; overlap and rounds are tried
    before that.
    """
    watch = Watch(60.0)
    ladder = Ladder(watch.forecast, [COARSE, FINE])
    assert ladder.fits(Windows(lambda effort: 100 if effort.complementary else 50))
    assert [step.step for step in ladder.steps] == [
        "overlap 0.25",
        "fewer refinement rounds: 2",
        "fewer refinement rounds: 1",
        "no complementary pass",
    ]
    assert ladder.effort == Effort(rounds=1, complementary=False, overlap=0.25)
    watch.at = 10.0
    assert ladder.fits(Windows(lambda effort: 100 if effort.overlap > 0 else 1))
    assert [step.step for step in ladder.steps[4:]] == ["overlap 0"]
    assert [step.at_s for step in ladder.steps] == [0.0] * 4 + [10.0]
    assert ladder.steps[4].why.startswith("50.00 s of 60 s left, 100 more windows take 100.00 s")


def test_a_rung_that_changes_nothing_is_passed_in_silence() -> None:
    """One round, no masks, one window: what is left to give up is the fine stage."""
    plain = [
        PlannedStage(StageRule(window_voxels=16**3), True),
        PlannedStage(StageRule(window_voxels=16**3), False),
    ]
    ladder = Ladder(Watch(60.0).forecast, plain)
    assert ladder.fits(Windows(lambda effort: 100 if effort.fine is not FineScope.NOWHERE else 1))
    assert [step.step for step in ladder.steps] == [
        "fine stage only where the coarse stage was uncertain",
        "coarse only",
    ]


def test_without_a_coarse_stage_the_only_one_becomes_coarser() -> None:
    """ "Coarse only" would be nothing at all."""
    ladder = Ladder(Watch(60.0).forecast, [PlannedStage(RULE, first=True)])
    assert ladder.fits(Windows(lambda effort: int(100 * effort.share)))
    steps = [step.step for step in ladder.steps]
    assert steps[-1] == "coarser spacing: 1/2 of the voxels" and "coarse only" not in steps


def test_where_nothing_fits_no_step_is_taken() -> None:
    ladder = Ladder(Watch(60.0).forecast, [COARSE, FINE])
    assert not ladder.fits(Windows(lambda effort: 100))
    assert (ladder.steps, ladder.effort) == ([], Effort())
    ladder.omit(Windows(lambda effort: 100))
    assert [step.step for step in ladder.steps] == ["windows left out: 100"]


def test_halved_windows_are_more_of_them_on_the_same_view() -> None:
    """Twice halved: a quarter of the voxels, four times the windows; the overlap is then shortened, too."""
    one = StageRule(window_voxels=32**3)
    halved = Effort(halvings=2).of(one, False)
    assert (halved.window_voxels, halved.max_windows) == (32**3 // 4, 4)
    assert halved.view_voxels == one.view_voxels
    assert Effort(halvings=2, overlap=0.25).of(one, False).overlap == 0.25
    assert Effort(overlap=0.25).of(one, False).overlap == one.overlap, "a single window has none"


def test_halving_windows_is_no_step() -> None:
    ladder = Ladder(Watch(60.0).forecast, [COARSE, FINE])
    ladder.halve_windows()
    ladder.halve_windows()
    assert (ladder.effort, ladder.steps) == (Effort(halvings=2), [])


def test_no_view_gets_smaller_than_its_layout_allows() -> None:
    """A network that halves five times cannot see less than 32 cubed."""
    rule = StageRule(window_voxels=64**3, layout=Fit(multiple=32, degrees=False))
    assert Effort(share=1 / 64).of(rule, True).window_voxels == 32**3
    steps = [rung.step for rung in rungs([PlannedStage(rule, first=True)])]
    assert steps[-1] == "coarser spacing: 1/8 of the voxels"


def test_a_stage_with_a_spacing_for_short_time_gets_it_before_its_windows_stand_side_by_side() -> None:
    """A layout of a family's own says it; other stages keep their spacing."""
    own = CaseStageRule(window_voxels=8**3, layout=Cropped((8, 8, 8), rung_mm=1.5), max_windows=8)
    steps = [rung.step for rung in rungs([PlannedStage(own, first=True)])]
    wanted = ["overlap 0.25", "no complementary pass", "spacing of 1.5 mm", "overlap 0"]
    assert [step for step in steps if step in wanted] == wanted
    assert Effort(finest_mm=1.5).of(own, True).min_spacing_mm == 1.5
    assert Effort(finest_mm=1.5).of(RULE, True).min_spacing_mm == RULE.min_spacing_mm

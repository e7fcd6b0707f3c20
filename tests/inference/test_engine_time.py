"""What the engine does when time runs short; the clock is moved by the network, not by waiting."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from msgspec import structs

from tests.inference.fake_models import Bright, Saved, made_image, make_engine, make_prompt, segment
from vesal.inference.engine import Segmentation
from vesal.inference.planning.rules import StageRule
from vesal.inference.stages import case_run, sliding_window
from vesal.inference.timing.clock import Clock

CUBE = (slice(70, 90), slice(40, 60), slice(100, 120))
IMAGE = made_image((128, 128, 128), (CUBE, 200))
LIVER = make_prompt(1, "liver")


class Slow(Bright):
    """A clock and a network in one: every window takes ``seconds`` of it."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds, self.at, self.growth = seconds, 0.0, 1.0

    def __call__(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        self.at += self.seconds
        self.seconds *= self.growth
        return super().__call__(inputs)

    def clock(self, budget_s: float) -> Clock:
        """The clock of a case that starts now."""
        return Clock(budget_s, self.at, lambda: self.at)


def test_the_coarse_result_is_saved_before_the_fine_stage() -> None:
    """At that moment the network has seen one window; what is saved is the coarse label map."""
    bright, seen = Bright(), []
    saved = Saved()

    def save(labels: np.ndarray) -> None:
        seen.append(len(bright.calls))
        saved(labels)

    result = segment(make_engine(bright), IMAGE, [LIVER], save=save)
    assert seen == [1] and len(bright.calls) == 2
    (coarse,) = saved.maps
    assert (coarse.shape, coarse.dtype) == (IMAGE.shape, np.uint8)
    assert coarse[80, 50, 110] == 1
    assert not np.array_equal(coarse, result.labels), "the fine stage improved on it"


def steps(result: Segmentation) -> list[str]:
    """The rungs that were taken, in order."""
    return [step.step for step in result.ladder]


def test_without_time_for_the_fine_stage_the_coarse_result_stays() -> None:
    slow, saved = Slow(59.5), Saved()
    result = segment(make_engine(slow), IMAGE, [LIVER], clock=slow.clock(60.0), save=saved)
    assert len(slow.calls) == 1
    np.testing.assert_array_equal(result.labels, saved.maps[0])
    assert result.labels[80, 50, 110] == 1
    assert steps(result) == ["fine stage only where the coarse stage was uncertain", "coarse only"]
    (step, _) = result.ladder
    assert step.at_s == 59.5
    assert step.why.startswith("0.50 s of 60 s left, 1 more windows take 0.00 s, the next up to 59.50 s")
    assert result.fallbacks[0] == "time ran short, not refined: liver"
    assert result.fallbacks[2] == f"time ran short at 59.5 s: coarse only ({step.why})"
    assert result.prompts[1].stages == ("coarse",)
    assert result.prompts[1].voxels == np.count_nonzero(result.labels)


def test_what_was_refined_in_time_stays_refined() -> None:
    """Views of 20 s in 85 s. Only after the second one is it known what a view takes: three more are 69 s
    with their margin, and 45 s are left. The stage is given up as a whole, and its views are run as long as
    one more fits: two do, and 5 s are left.
    """
    slow = Slow(20.0)
    halves = {"left": slice(2, 10), "right": slice(50, 60)}
    image = made_image(
        (64, 64, 64),
        ((slice(2, 12),) * 3, 200),
        ((slice(50, 60),) * 3, 120),
        *(((slice(26, 38), slice(26, 38), w), 160) for w in halves.values()),
    )
    prompts = [
        LIVER,
        make_prompt(2, "spleen"),
        make_prompt(3, "kidney", "left"),
        make_prompt(4, "kidney", "right"),
    ]
    fine = StageRule(window_voxels=32**3, max_targets_per_view=1)
    result = segment(make_engine(slow, fine=fine), image, prompts, clock=slow.clock(85.0))
    assert {p: o.stages for p, o in result.prompts.items()} == {
        1: ("coarse", "fine"),
        2: ("coarse", "fine"),
        3: ("coarse", "fine"),
        4: ("coarse",),
    }
    assert result.fallbacks[0] == "time ran short, not refined: right kidney"
    assert steps(result) == [
        "fine stage only where the coarse stage was uncertain",
        "fine stage only for as many views as there was time for: 2 of 4",
    ]
    assert slow.at == 80.0
    assert {step.at_s for step in result.ladder} == {40.0}
    assert set(np.unique(result.labels)) == {0, 1, 2, 3, 4}


def test_with_time_nothing_falls_back() -> None:
    slow = Slow(1.0)
    result = segment(make_engine(slow), IMAGE, [LIVER], clock=slow.clock(60.0))
    assert result.fallbacks == [] and result.prompts[1].stages == ("coarse", "fine")


def test_an_expired_clock_runs_nothing() -> None:
    """A result after the limit scores as little as none, and the zeros are on disk."""
    slow, saved = Slow(0.0), Saved()
    clock = slow.clock(10.0)
    slow.at = 11.0
    result = segment(make_engine(slow), IMAGE, [LIVER], clock=clock, save=saved)
    assert slow.calls == [] and not result.labels.any()
    assert steps(result)[0] == "windows left out: 1"
    assert result.ladder[0].why.startswith("-1.00 s of 10 s left")


WINDOWS = StageRule(window_voxels=32**3, max_windows=8)
"""Over a volume of 64^3: 27 windows with half a side shared, 8 with none."""
CORNER = made_image((64, 64, 64), ((slice(4, 24),) * 3, 200))
"""A cube in the first eighth."""


def run_windows_of(
    slow: Slow, budget_s: float, coarse: StageRule = WINDOWS, fine: StageRule | None = None
) -> Segmentation:
    """See that volume in windows, by default in the coarse stage only."""
    engine = make_engine(slow, coarse=coarse, fine=fine or structs.replace(WINDOWS, skip=True))
    return segment(engine, CORNER, [LIVER], clock=slow.clock(budget_s))


@pytest.mark.parametrize(
    ("budget_s", "calls", "overlaps"),
    [
        (320.0, 27, []),
        (250.0, 2 + 8, ["overlap 0.25", "overlap 0"]),
        (120.0, 2 + 8, ["overlap 0.25", "overlap 0"]),
    ],
)
def test_windows_share_less_where_time_is_short(budget_s: float, calls: int, overlaps: list[str]) -> None:
    """27 windows of 10 s, and after the first two it is known that 25 more take 287.5 s with the margin; a
    quarter of a side shared needs 27 as well, none needs 8 from the beginning, 92 s.
    """
    slow = Slow(10.0)
    result = run_windows_of(slow, budget_s)
    assert (len(slow.calls), steps(result)) == (calls, overlaps)
    assert {step.at_s for step in result.ladder} <= {20.0}
    assert (result.labels[CORNER == 200] == 1).all()
    assert result.stages[0].windows == (calls if calls == 27 else 8)


def test_what_a_window_takes_beside_the_network_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """1 s of the network and 9 s of blending; after two windows that is known."""
    slow, add = Slow(1.0), sliding_window._Slabs.add

    def slow_add(self: sliding_window._Slabs, *given: Any) -> None:
        slow.at += 9.0
        add(self, *given)

    monkeypatch.setattr(sliding_window._Slabs, "add", slow_add)
    result = run_windows_of(slow, 250.0)
    assert (len(slow.calls), steps(result)) == (2 + 8, ["overlap 0.25", "overlap 0"])
    assert slow.at <= 250.0 and (result.labels[CORNER == 200] == 1).all()


def test_below_no_overlap_the_whole_volume_is_seen_with_fewer_voxels() -> None:
    """In 82 s there is no time for 8 windows: half of the voxels are 48^3 and need as many of 32^3, a
    quarter of them cover the volume in fewer, at a coarser spacing.
    """
    slow = Slow(10.0)
    result = run_windows_of(slow, 82.0)
    assert steps(result)[-1] == "coarser spacing: 1/4 of the voxels"
    assert len(slow.calls) == 2 + result.stages[0].windows and result.stages[0].windows <= 4
    assert result.stages[0].spacing_dhw_mm[0] > 1.0
    assert (result.labels[8:20, 8:20, 8:20] == 1).all()


@pytest.mark.parametrize(
    ("budget_s", "fine_step", "stages"),
    [
        (40.0, "coarse only", ("coarse",)),
        (
            82.0,
            "fine stage only for as many views as there was time for: 1 of 1",
            ("coarse", "fine"),
        ),
    ],
)
def test_after_a_coarser_coarse_stage_there_is_a_fine_one_only_in_the_time_left(
    budget_s: float, fine_step: str, stages: tuple[str, ...]
) -> None:
    """The ladder is walked in its order: what could not pay for overlap does not plan for a second stage. The
    coarse stage takes 30 s with what was given up of it, a fine view 11.5 s with its margin.
    """
    fine = StageRule(window_voxels=32**3, rounds=2, complementary_block=8)
    slow = Slow(10.0)
    result = run_windows_of(slow, budget_s, fine=fine)
    assert slow.at <= budget_s
    assert steps(result) == [
        "overlap 0.25",
        "fewer refinement rounds: 1",
        "no complementary pass",
        "overlap 0",
        "fine stage only where the coarse stage was uncertain",
        fine_step,
        "coarser spacing: 1/4 of the voxels",
    ]
    assert result.prompts[1].stages == stages


def test_windows_that_grow_dearer_are_left_out_last() -> None:
    """Every window takes twice the one before, 1 s at first: what was seen by then counts, and is told."""
    slow = Slow(1.0)
    slow.growth = 2.0
    result = run_windows_of(slow, 60.0, coarse=structs.replace(WINDOWS, overlap=0.0))
    assert slow.at < 60.0
    assert any("left out" in step for step in steps(result))
    assert any(f.startswith("time ran short, ") and "windows left out and" in f for f in result.fallbacks)


def test_every_better_result_is_saved_before_the_next_view() -> None:
    """The next one may be the one that hangs. The first view refines the liver, the second the spleen; the
    last result is written by the caller.
    """
    cubes = (slice(4, 17),) * 3, (slice(40, 55),) * 3
    image = made_image((64, 64, 64), (cubes[0], 200), (cubes[1], 120))
    prompts = [LIVER, make_prompt(2, "spleen")]
    saved = Saved()
    fine = StageRule(window_voxels=32**3, margin_factor=1.2, max_targets_per_view=1)
    result = segment(make_engine(fine=fine), image, prompts, save=saved)
    assert [stage.name for stage in result.stages] == ["coarse", "fine liver", "fine spleen"]
    coarse, first = saved.maps
    np.testing.assert_array_equal(first == 1, image == 200)
    np.testing.assert_array_equal(first == 1, result.labels == 1)
    np.testing.assert_array_equal(first == 2, (coarse == 2) & (first != 1))
    assert not np.array_equal(coarse == 1, first == 1) and not np.array_equal(coarse == 2, result.labels == 2)


def test_no_view_is_given_up_for_saving_the_one_before() -> None:
    """A view takes 10 s and writing as long: of 60 s are left 30 after the first view, 20 if it were written;
    the second view and the end take 10 s and 12.5 s, more with their margin. It is run, and not written
    before.
    """
    slow = Slow(10.0)
    image = made_image((64, 64, 64), ((slice(4, 17),) * 3, 200), ((slice(40, 55),) * 3, 120))
    writes: list[float] = []

    def save(labels: np.ndarray) -> None:
        slow.at += 10.0
        writes.append(slow.at)

    fine = StageRule(window_voxels=32**3, margin_factor=1.2, max_targets_per_view=1)
    prompts = [LIVER, make_prompt(2, "spleen")]
    result = segment(make_engine(slow, fine=fine), image, prompts, clock=slow.clock(60.0), save=save)
    assert writes == [20.0] and steps(result) == [] and slow.at == 40.0
    assert {p: o.stages for p, o in result.prompts.items()} == {1: ("coarse", "fine"), 2: ("coarse", "fine")}


def test_what_the_report_counts_is_counted_after_the_labels_are_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And once: it takes time that the case does not have before its output is written."""
    counted: list[str] = []
    count = case_run.prompt_results

    def counting(*given: object) -> object:
        counted.append("now")
        return count(*given)

    monkeypatch.setattr(case_run, "prompt_results", counting)
    result = segment(make_engine(), IMAGE, [LIVER])
    assert result.labels.any() and counted == []
    assert result.prompts[1].voxels == result.prompts[1].voxels > 0 and counted == ["now"]

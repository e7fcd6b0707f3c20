"""What the engine does when time runs short; the clock is moved by the network, not by waiting."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from inference import engine as engine_module
from inference import pace as pace_module
from inference import stages as stages_module
from inference.budget import Clock
from inference.profile import StageRule
from tests.inference.fake_models import Bright, Saved, made_image, make_engine, make_prompt, segment

CUBE = (slice(70, 90), slice(40, 60), slice(100, 120))
IMAGE = made_image((128, 128, 128), (CUBE, 200))
LIVER = make_prompt(1, "liver")


class Slow(Bright):
    """A clock and a network in one: every window takes ``seconds`` of it."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds, self.at = seconds, 0.0

    def __call__(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        self.at += self.seconds
        return super().__call__(inputs)

    def rule(self, monkeypatch: pytest.MonkeyPatch) -> Slow:
        """Let the engine measure its parts by this clock too."""
        for module in (engine_module, pace_module, stages_module):
            monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: self.at))
        return self

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


def test_without_time_for_the_fine_stage_the_coarse_result_stays() -> None:
    slow, saved = Slow(59.5), Saved()
    result = segment(make_engine(slow), IMAGE, [LIVER], clock=slow.clock(60.0), save=saved)
    assert len(slow.calls) == 1
    np.testing.assert_array_equal(result.labels, saved.maps[0])
    assert result.labels[80, 50, 110] == 1
    (fallback,) = result.fallbacks
    assert "time ran short, not refined: liver (0.5 s of 60 s left" in fallback
    assert result.prompts[1].stages == ("coarse",)
    assert result.prompts[1].voxels == np.count_nonzero(result.labels)


def test_what_was_refined_in_time_stays_refined(monkeypatch: pytest.MonkeyPatch) -> None:
    """Views of 20 s, and 31 s must be left to begin one: in 90 s coarse, liver and spleen; no kidney."""
    slow = Slow(20.0).rule(monkeypatch)
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
    result = segment(make_engine(slow), image, prompts, clock=slow.clock(90.0))
    assert {p: o.stages for p, o in result.prompts.items()} == {
        1: ("coarse", "fine"),
        2: ("coarse", "fine"),
        3: ("coarse",),
        4: ("coarse",),
    }
    (fallback,) = result.fallbacks
    assert "not refined: left kidney, right kidney" in fallback
    assert set(np.unique(result.labels)) == {0, 1, 2, 3, 4}


def test_with_time_nothing_falls_back() -> None:
    slow = Slow(1.0)
    result = segment(make_engine(slow), IMAGE, [LIVER], clock=slow.clock(60.0))
    assert result.fallbacks == [] and result.prompts[1].stages == ("coarse", "fine")


def test_an_expired_clock_still_gives_a_coarse_result() -> None:
    """The first view is always run: an answer that may be late beats none."""
    slow = Slow(0.0)
    clock = slow.clock(10.0)
    slow.at = 11.0
    result = segment(make_engine(slow), IMAGE, [LIVER], clock=clock)
    assert result.labels[80, 50, 110] == 1
    assert len(result.fallbacks) == 1


WINDOWS = StageRule(voxels=32**3, windows=8)
"""Over a volume of 64^3: 27 windows with half a side shared, 8 with none."""


def cube_case(skip_fine: bool, slow: Slow, budget_s: float) -> tuple[np.ndarray, object]:
    """A volume of 64^3 with a cube in its first eighth, seen in windows."""
    image = made_image((64, 64, 64), ((slice(4, 24),) * 3, 200))
    engine = make_engine(slow, coarse=WINDOWS, fine=replace(WINDOWS, skip=skip_fine))
    return image, segment(engine, image, [LIVER], clock=slow.clock(budget_s))


def test_the_clock_is_asked_before_every_window(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two windows of 10 s for the cost, then 15 s and a second for each more: five of eight in 82 s."""
    slow = Slow(10.0).rule(monkeypatch)
    image, result = cube_case(True, slow, 82.0)
    assert result.stages[0].windows == 5
    assert len(slow.calls) == 2 + 5
    assert (result.labels[image == 200] == 1).all(), "what was seen counts"


def test_windows_left_out_of_the_coarse_stage_are_a_fallback(monkeypatch: pytest.MonkeyPatch) -> None:
    """The report did not tell that the coarse stage had not seen the whole volume."""
    _, result = cube_case(True, Slow(10.0).rule(monkeypatch), 82.0)
    (fallback,) = result.fallbacks
    assert "3 windows left out" in fallback and "liver" in fallback


@pytest.mark.parametrize(("budget_s", "windows"), [(600.0, 27), (200.0, 8)])
def test_windows_share_less_where_time_is_short(
    monkeypatch: pytest.MonkeyPatch, budget_s: float, windows: int
) -> None:
    """27 windows of 10 s need 1.5 * 270 + 1 s after the two for the cost, 8 need 121 s."""
    _, result = cube_case(True, Slow(10.0).rule(monkeypatch), budget_s)
    assert result.stages[0].windows == windows and result.fallbacks == []

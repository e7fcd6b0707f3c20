"""A thousand simulated cases: never late, whatever the network costs, and nothing given up without need."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.inference.fakes import read_output
from tests.inference.simulated import Cost, SlowNet, World, make_setting, simulate
from vesal.inference.io import temporary
from vesal.inference.runtime.threads import limit_threads

RUNS = 1000
LEAST_S, MOST_S = 0.001, 30.0
"""What a window costs."""
NO_LIMIT_S = 1e6


@pytest.fixture(autouse=True)
def on_one_core_without_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Thousands of small files: what is tested is when they are written."""
    monkeypatch.setattr(temporary, "_synchronise", lambda file: None)
    limit_threads(1)
    yield
    limit_threads(None)


def some_cost(random: np.random.Generator) -> float:
    """Every order of magnitude as often, and the dear ones once more."""
    if random.random() < 0.5:
        return float(random.uniform(1.0, MOST_S))
    return float(np.exp(random.uniform(np.log(LEAST_S), np.log(MOST_S))))


def constant(random: np.random.Generator) -> Cost:
    """Every window costs the same."""
    seconds = some_cost(random)
    return lambda: seconds


def growing(random: np.random.Generator) -> Cost:
    """Every window costs more than the one before, by a factor or by some seconds."""
    now, factor, more = some_cost(random), float(random.uniform(1, 2)), float(random.uniform(0, 3))
    if random.random() < 0.5:
        factor = 1.0
    else:
        more = 0.0

    def cost() -> float:
        nonlocal now
        before, now = now, min(MOST_S, now * factor + more)
        return before

    return cost


def stalling(random: np.random.Generator) -> Cost:
    """Some windows cost up to the most, the others what they usually do."""
    usual, often = some_cost(random), float(random.uniform(0, 0.3))

    def cost() -> float:
        return float(random.uniform(usual, MOST_S)) if random.random() < often else usual

    return cost


@pytest.mark.parametrize("make_cost", [constant, growing, stalling])
def test_an_output_is_there_before_the_deadline(
    tmp_path: Path, make_cost: Callable[[np.random.Generator], Cost]
) -> None:
    """A third of the runs for each way that costs come.

    At the end of every one the clock is before the deadline and a label map of the volume's shape is on disk.
    Most cases end by themselves: they are only abandoned in a window that nobody could know to take so
    long.
    """
    ends: Counter[str] = Counter()
    runs = RUNS // 3 + 1
    for seed in range(runs):
        random = np.random.default_rng(seed)
        setting = make_setting(random)
        world = World(tmp_path / "case.npz")
        net = SlowNet(world, make_cost(random))
        result = simulate(setting, world, net)
        assert world.at <= world.clock.started + world.clock.budget_s, seed
        labels = read_output(world.file)
        assert labels.shape == setting.image.shape and labels.dtype == np.uint8, seed
        assert result is None or np.array_equal(labels, result.labels), seed
        # Where every window costs the same, only the first can come as a surprise.
        assert result is not None or make_cost is not constant or net.count == 1, seed
        ends["abandoned" if result is None else "ladder" if result.ladder else "whole"] += 1
    assert ends["abandoned"] < runs / 20, ends
    assert ends["ladder"] > runs / 20 and ends["whole"] > runs / 20, ends


def test_no_step_is_taken_where_the_plan_fits_with_a_fifth_to_spare(tmp_path: Path) -> None:
    """What the whole plan takes is what a run without a limit takes; with 1.2 times that nothing changes.

    A third of the cases: they find the same wrong margins as a thousand.
    """
    for seed in range(RUNS // 3 + 1):
        setting = make_setting(np.random.default_rng(seed))
        seconds = some_cost(np.random.default_rng((seed, 1)))
        calls, labels = [], []
        budget_s = NO_LIMIT_S
        for _ in range(2):
            world = World(tmp_path / "case.npz")
            net = SlowNet(world, lambda seconds=seconds: seconds)
            result = simulate(setting, world, net, budget_s)
            assert result is not None and result.ladder == [] and result.fallbacks == [], seed
            calls.append(net.count)
            labels.append(result.labels)
            budget_s = 1.2 * world.at
        assert calls[0] == calls[1] and np.array_equal(*labels), seed


def test_with_less_than_the_plan_takes_something_is_given_up(tmp_path: Path) -> None:
    """The property above would also hold for an engine that never looks at the clock: with half of the time
    every case of more than a few windows takes a step, and ends by itself.
    """
    cases = 0
    for seed in range(100):
        setting = make_setting(np.random.default_rng(seed))
        world = World(tmp_path / "case.npz")
        net = SlowNet(world, lambda: 5.0)
        simulate(setting, world, net, NO_LIMIT_S)
        if net.count < 6:
            continue
        cases += 1
        half = World(tmp_path / "case.npz")
        result = simulate(setting, half, SlowNet(half, lambda: 5.0), world.at / 2)
        assert result is not None and result.ladder, seed
    assert cases > 20

"""Runs whose length is given in steps: the same again, whatever the clock says."""

import math
from collections.abc import Callable
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="training needs torch")

from torch import Tensor, nn  # noqa: E402

from tests.training.made import rule, wait_until_full  # noqa: E402
from tests.training.trainers import VOXELS, same, trainer  # noqa: E402
from vesal.training import loop  # noqa: E402
from vesal.training.feeder import Feeder  # noqa: E402
from vesal.training.loop import Number, Trainer, train  # noqa: E402
from vesal.training.parallel import Group  # noqa: E402
from vesal.training.plan import Plan  # noqa: E402
from vesal.training.store import Volume  # noqa: E402
from vesal.training.views import Item  # noqa: E402

pytestmark = pytest.mark.usefixtures("exact")


def test_where_steps_are_counted_a_view_is_as_the_step_wants_it_that_learns_from_it(tmp_path: Path) -> None:
    """However far ahead of that step it is prepared."""
    plan = {"steps": 10, "pairs": 3, "smallest": 0.4, "grown_by": 0.5, "settles_from": 0.5, "settled": 0.8}
    one = trainer(tmp_path / "w", **plan)
    seen = [one.schedule(n) for n in range(30)]
    assert [p.scale for p in seen[::3]] == pytest.approx([0.4 + 0.12 * min(step, 5) for step in range(10)])
    assert [p.plain for p in seen[::3]] == pytest.approx([0.16 * max(0, step - 5) for step in range(10)])
    assert seen[0] == seen[1] == seen[2] != seen[3]
    one.step = 4
    assert [one.schedule(n) for n in range(30)] == seen, "whatever step the network is at"


def rates(folder: Path, volume: Volume, steps: int) -> list[float]:
    """The rates of the steps of a run whose length is given in steps."""
    one, found = trainer(folder, steps=steps, pairs=1, warmup_steps=1), []
    set_rate = one.set_rate
    one.set_rate = lambda: found.append(set_rate()) or found[-1]
    train(one, Feeder([volume], {"CT_Made": rule()}, VOXELS, VOXELS, seed=0, schedule=one.schedule))
    assert one.step == steps
    return found[-steps:]


def test_so_many_steps_are_made_as_are_given_and_the_rate_falls_with_them(
    tmp_path: Path, volume: Volume, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = iter(1e6 * i for i in range(1000))  # the clock says that all hours are over
    monkeypatch.setattr(loop.time, "monotonic", lambda: next(times))
    expected = [Plan.rate * (0.02 + 0.98 * (1 + math.cos(math.pi * n / 4)) / 2) for n in range(4)]
    assert rates(tmp_path / "w", volume, 4) == pytest.approx(expected)
    lines = (tmp_path / "w" / "log.csv").read_text().splitlines()
    assert len(lines) > 1 and lines[-1].startswith("4,"), "fewer steps than the log waits for leave one line"


class Overlapping(Group):
    """One process that averages as several do: while the next view is computed."""

    def __init__(self) -> None:
        super().__init__(0, 1, "")
        self.size = 2

    def send(self, model: nn.Module, number: float) -> None:
        """There is nobody to send to."""
        self.size = 1
        super().send(model, number)
        self.size = 2


def run(
    folder: Path,
    volume: Volume,
    group: Group,
    seed: int = 0,
    after_view: Callable[[Feeder], object] = lambda feeder: None,
) -> Trainer:
    """Train for five steps, begin or go on; ``after_view`` is called with the feeder after each view."""
    one = trainer(folder, group, steps=5, pairs=2, seed=seed, warmup_steps=1, settles_from=0.2)
    learn = one._one_view

    def followed(item: Item) -> tuple[Number, Number, Tensor]:
        result = learn(item)
        after_view(feeder)
        return result

    one._one_view = followed
    rules = {"CT_Made": rule(flips="any", turn_rad=0.3)}
    first = one.step * one.plan.pairs
    feeder = Feeder([volume], rules, VOXELS, VOXELS, seed, schedule=one.schedule, first=first)
    train(one, feeder)
    assert one.step == 5
    return one


@pytest.mark.parametrize("group", [lambda: Group(0, 1, ""), Overlapping])
def test_a_run_of_so_many_steps_gives_the_same_bits_again(
    tmp_path: Path, volume: Volume, monkeypatch: pytest.MonkeyPatch, group: Callable[[], Group]
) -> None:
    """However fast the network is beside the thread that prepares views, and if it is interrupted, too."""
    monkeypatch.setattr(loop, "SAVE_EVERY_STEPS", 2)
    first = run(tmp_path / "first", volume, group())
    slow = run(tmp_path / "slow", volume, group(), after_view=wait_until_full)
    other = run(tmp_path / "other", volume, group(), seed=1)
    views = iter(range(14))  # three steps of four views, saved after two of them, and half of the fourth
    with pytest.raises(StopIteration):
        run(tmp_path / "halted", volume, group(), after_view=lambda feeder: next(views))
    assert torch.load(tmp_path / "halted" / "checkpoint.pt", weights_only=True)["step"] == 2
    halted = run(tmp_path / "halted", volume, group())
    for again in (slow, halted):
        assert same(first.model.state_dict(), again.model.state_dict())
        assert same(first.average, again.average)
    assert not same(first.model.state_dict(), other.model.state_dict())


def test_a_run_that_goes_on_under_other_settings_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    trainer(tmp_path / "w", steps=5, rate=1e-3).save()
    trainer(tmp_path / "w", steps=9, rate=1e-3)  # given more time, as `make weights` does
    assert not caplog.messages
    trainer(tmp_path / "w", Overlapping(), steps=5, rate=1e-3, seed=4)
    assert [m.partition(" was trained with ")[2] for m in caplog.messages] == [
        "processes 1 and goes on with 2: another run than either whole",
        "seed 0 and goes on with 4: another run than either whole",
    ]

"""The training loop on a made volume and a thin network."""

import csv
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs torch")

from tests.training.made import THIN, rule  # noqa: E402
from tests.training.trainers import BANK, VOXELS, same, trainer  # noqa: E402
from vesal.training import loop  # noqa: E402
from vesal.training.feeder import Feeder, ViewSchedule  # noqa: E402
from vesal.training.ideas import Ideas  # noqa: E402
from vesal.training.log import Log  # noqa: E402
from vesal.training.loop import Trainer, train  # noqa: E402
from vesal.training.parallel import Group  # noqa: E402
from vesal.training.plan import Plan  # noqa: E402
from vesal.training.store import Volume  # noqa: E402
from vesal.training.views import Item, coarse_item  # noqa: E402

pytestmark = pytest.mark.usefixtures("exact")


def view(volume: Volume, seed: int = 0) -> Item:
    """A coarse view, always the same for a seed."""
    return coarse_item(volume, rule(), VOXELS, np.random.default_rng(seed))


def step_on(one: Trainer, item: Item) -> float:
    """One update on one view; its loss."""
    one.set_rate()
    loss, _, _ = one._one_view(item)
    one.update()
    return float(loss)


def test_a_view_gives_loss_dice_and_logits_of_its_targets(tmp_path: Path, volume: Volume) -> None:
    item = view(volume)
    loss, dice, logits = trainer(tmp_path / "w").run_view(item)
    assert loss.ndim == 0 and bool(torch.isfinite(loss))
    assert dice.shape == (1, 2) and logits.shape == item.truth.shape


def test_a_few_steps_learn_a_bright_cube(tmp_path: Path, volume: Volume) -> None:
    one, item = trainer(tmp_path / "w", warmup_steps=1), view(volume)
    losses = [step_on(one, item) for _ in range(25)]
    assert losses[-1] < 0.6 * losses[0]
    assert float(one.run_view(item)[1][0, 0]) > 0.5


def test_kernels_go_to_muon_and_everything_else_to_adamw(tmp_path: Path) -> None:
    one = trainer(tmp_path / "w")
    muon, adamw = ([p for g in o.param_groups for p in g["params"]] for o in one.optimizers)
    assert {p.ndim for p in muon} == {5} and all(p.ndim < 5 for p in adamw)
    assert {id(p) for p in (*muon, *adamw)} == {id(p) for p in one.model.parameters()}
    assert len(muon) + len(adamw) == len(list(one.model.parameters()))


@pytest.mark.parametrize(
    ("step", "hours_spent", "share"),
    [
        (0, 0.0, 0.25),  # warm-up of 4 steps
        (2, 0.0, 0.75),
        (4, 0.0, 1.0),
        (1000, 1.0, (1 + 0.02) / 2),  # half of 2 hours
        (1000, 2.0, 0.02),
        (1000, 5.0, 0.02),
    ],
)
def test_the_rate_warms_up_by_steps_and_falls_with_the_time(
    tmp_path: Path, step: int, hours_spent: float, share: float
) -> None:
    one = trainer(tmp_path / "w", hours=2.0, rate=0.01, warmup_steps=4, final_share=0.02, adamw_share=0.6)
    one.step, one.spent_s = step, hours_spent * 3600
    assert one.set_rate() == pytest.approx(0.01 * share)
    rates = [g["lr"] for o in one.optimizers for g in o.param_groups]
    assert rates == pytest.approx([0.01 * share, 0.6 * 0.01 * share])


def test_the_hours_hold_preparing_and_ending_too(tmp_path: Path) -> None:
    one = trainer(tmp_path / "w", hours=1.0, ending_s=600.0, rate=0.01, warmup_steps=1)
    one.begin(1000.0)
    assert one.set_rate() == pytest.approx(0.01)
    one.step, one.spent_s = 5, 3000.0
    assert one.set_rate() == pytest.approx(0.01 * one.plan.final_share)
    one.spent_s = 2000.0  # half way between 1000 and 3000
    assert one.set_rate() == pytest.approx(0.01 * (1 + one.plan.final_share) / 2)
    one.save()
    again = trainer(tmp_path / "w", hours=1.0, ending_s=600.0)
    again.begin(50.0)
    assert (again.begun_s, again.spent_s) == (1000.0, 2050.0)


@pytest.mark.parametrize(("hours_spent", "scale"), [(0.0, 0.4), (0.25, 0.7), (0.5, 1.0), (1.0, 1.0)])
def test_views_grow_where_a_run_begins_from_nothing(tmp_path: Path, hours_spent: float, scale: float) -> None:
    one = trainer(tmp_path / "w", hours=1.0, smallest=0.4, grown_by=0.5)
    one.spent_s = hours_spent * 3600
    assert one.schedule(0).scale == one.schedule(99).scale == pytest.approx(scale)


def test_views_do_not_grow_without_that_idea(tmp_path: Path) -> None:
    one = trainer(tmp_path / "w", ideas=Ideas(growing=False))
    assert one.schedule(0).scale == 1.0


def test_views_are_as_at_run_time_where_a_run_begins_from_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "warm_start", lambda model, folder: [])
    monkeypatch.setattr(loop, "is_bank_of", lambda folder, bank: True)
    one = Trainer(
        Plan(hours=1.0, widths=THIN, smallest=0.4), BANK, tmp_path, Group(0, 1, ""), tmp_path / "weights"
    )
    assert one.schedule(0).scale == 1.0


def schedules(
    folder: Path, volume: Volume, monkeypatch: pytest.MonkeyPatch, **plan: float
) -> list[ViewSchedule]:
    """What the feeder of a run of 25 s was told, whose second step, the last, begins with 10 s gone."""
    times = iter(10.0 * i for i in range(100))
    monkeypatch.setattr(loop.time, "monotonic", lambda: next(times))
    one, told = trainer(folder, hours=25 / 3600, pairs=1, **plan), []

    def schedule(prepared: int) -> ViewSchedule:
        told.append(one.schedule(prepared))
        return told[-1]

    train(one, Feeder([volume], {"CT_Made": rule()}, VOXELS, VOXELS, seed=0, schedule=schedule))
    return told


def test_the_loop_tells_the_feeder_how_large_views_are(
    tmp_path: Path, volume: Volume, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = schedules(tmp_path / "w", volume, monkeypatch, smallest=0.4, grown_by=0.8)
    assert told[0].scale == pytest.approx(0.4)
    assert pytest.approx(0.7) in [p.scale for p in told], "half of what it takes to grow"


@pytest.mark.parametrize(("hours_spent", "plain"), [(0.0, 0.0), (0.5, 0.0), (0.75, 0.4), (1.0, 0.8)])
def test_towards_the_end_most_views_are_not_augmented(
    tmp_path: Path, hours_spent: float, plain: float
) -> None:
    one = trainer(tmp_path / "w", hours=1.0, settles_from=0.5, settled=0.8)
    one.spent_s = hours_spent * 3600
    assert one.schedule(0).plain == pytest.approx(plain)
    one.plan = replace(one.plan, ideas=Ideas(settling=False))
    assert one.schedule(0).plain == 0.0


def test_the_loop_tells_the_feeder_how_many_views_are_not_augmented(
    tmp_path: Path, volume: Volume, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = schedules(tmp_path / "w", volume, monkeypatch, settles_from=0.2, settled=0.5)
    assert pytest.approx(0.125) in [p.plain for p in told], "a quarter of the way from .2 to 1"


def test_a_checkpoint_of_other_widths_is_named(tmp_path: Path) -> None:
    trainer(tmp_path / "w").save()
    message = r"network of widths \(8, 8, 16, 16\), wanted \(8, 8, 16, 24\); give its --widths"
    with pytest.raises(ValueError, match=message):
        trainer(tmp_path / "w", widths=(8, 8, 16, 24))


def test_hours_that_leave_no_time_to_learn_are_refused() -> None:
    plan = Plan(hours=0.1, ending_s=60.0)
    plan.check_time(299.0)
    with pytest.raises(
        ValueError, match="--hours 0.1 is 360 s. Preparing took 300 s.* need 60 s. Give more."
    ):
        plan.check_time(300.0)
    Plan(steps=10, ending_s=60.0).check_time(300.0)  # takes what it takes


@pytest.mark.parametrize("length", [{}, {"hours": 1.0, "steps": 5}, {"hours": -1.0}, {"steps": -5}])
def test_a_run_has_one_length(length: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="takes hours or steps, one of them; got"):
        Plan(**length)


def test_the_average_follows_quickly_at_first_and_slowly_later(tmp_path: Path, volume: Volume) -> None:
    one, item = trainer(tmp_path / "w", warmup_steps=1), view(volume)
    name = "down.0.conv1.weight"
    start = one.average[name].clone()
    step_on(one, item)
    expected = 0.1 * start + 0.9 * one.model.state_dict()[name]  # keeps 1 / 10 after the first step
    torch.testing.assert_close(one.average[name], expected)
    one.step, before = 10**6, one.average[name].clone()
    step_on(one, item)
    expected = 0.999 * before + 0.001 * one.model.state_dict()[name]
    torch.testing.assert_close(one.average[name], expected)


def test_a_long_gradient_is_cut_to_the_length_of_the_plan(tmp_path: Path) -> None:
    one = trainer(tmp_path / "w", clip=1.0)
    seen: list[float] = []
    parameters = list(one.model.parameters())
    for optimizer in one.optimizers:
        optimizer.step = lambda: seen.append(math.sqrt(sum(float(p.grad.square().sum()) for p in parameters)))
        optimizer.zero_grad = lambda set_to_none: None
    for p in parameters:
        p.grad = torch.ones_like(p)
    one.update()
    assert seen == pytest.approx([1.0, 1.0], rel=1e-3)


def test_a_resumed_run_goes_on_as_if_it_had_not_stopped(tmp_path: Path, volume: Volume) -> None:
    one, items = trainer(tmp_path / "w", warmup_steps=1), [view(volume, seed) for seed in (1, 2, 3)]
    for item in items[:2]:
        step_on(one, item)
    one.spent_s = 123.5
    one.save()
    other = trainer(tmp_path / "w", warmup_steps=1)
    assert (other.step, other.spent_s) == (2, 123.5)
    assert same(one.model.state_dict(), other.model.state_dict()) and same(one.average, other.average)
    for each in (one, other):
        step_on(each, items[2])
    assert same(one.model.state_dict(), other.model.state_dict()) and same(one.average, other.average)


def test_only_the_first_process_saves_and_nothing_half_written_stays(tmp_path: Path) -> None:
    one = trainer(tmp_path / "w")
    one.group.rank = 1
    one.save()
    assert not list((tmp_path / "w").iterdir())
    one.group.rank = 0
    one.save()
    assert [p.name for p in (tmp_path / "w").iterdir()] == ["checkpoint.pt"]


def test_all_processes_begin_with_the_same_weights(tmp_path: Path) -> None:
    one, other, seeded = (
        trainer(tmp_path / n, seed=s).model.state_dict() for n, s in (("a", 0), ("b", 0), ("c", 1))
    )
    assert same(one, other) and not same(one, seeded)


def test_a_loss_that_is_nan_ends_the_run_and_names_the_view(tmp_path: Path, volume: Volume) -> None:
    one, item = trainer(tmp_path / "w"), view(volume)
    item.image[0, 0, 0, 0, 0] = float("nan")
    with pytest.raises(FloatingPointError, match="coarse view of CT_Made_1 is nan"):
        one._one_view(item)
    assert all(p.grad is None for p in one.model.parameters())


def test_gradients_of_a_view_meanwhile_wait_for_the_next_update(tmp_path: Path, volume: Volume) -> None:
    one, plain = trainer(tmp_path / "a"), trainer(tmp_path / "b")
    first, meanwhile = view(volume, 1), view(volume, 2)
    for each in (one, plain):
        each.set_rate()
        each._one_view(first)
        each.group.send(each.model, 7.5)
    one._one_view(meanwhile)
    waiting = [None if p.grad is None else p.grad.clone() for p in one.model.parameters()]
    one.settle()
    plain.settle()
    assert same(one.model.state_dict(), plain.model.state_dict())
    assert (one.step, one.spent_s) == (1, 7.5)
    assert all(
        (p.grad is None) if grad is None else torch.equal(p.grad, grad)
        for p, grad in zip(one.model.parameters(), waiting, strict=True)
    )
    one.settle()  # nothing is on its way
    assert one.step == 1


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_gradient_that_is_not_finite_was_saved_in_the_checkpoint(
    tmp_path: Path, volume: Volume, value: float
) -> None:
    """A wrong bf16 kernel gave such gradients under finite losses, and clipping spread them everywhere."""
    one = trainer(tmp_path / "w")
    one._one_view(view(volume))
    one.model.up[1].conv1.weight.grad[0, 0] = value
    before = {k: v.clone() for k, v in one.model.state_dict().items()}
    with pytest.raises(FloatingPointError, match="at step 0 although the losses are finite"):
        one.update()
    assert same(one.model.state_dict(), before) and one.step == 0


def test_train_ends_with_the_clock_and_leaves_checkpoint_and_log(
    tmp_path: Path, volume: Volume, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "LOG_EVERY", 1)
    times = iter(10.0 * i for i in range(100))
    monkeypatch.setattr(loop.time, "monotonic", lambda: next(times))
    one = trainer(tmp_path / "w", hours=25 / 3600)
    feeder = Feeder([volume], {"CT_Made": rule()}, VOXELS, VOXELS, seed=0)
    train(one, feeder)
    # The clock is read twice a step, 10 s each: 10, 30 s are counted at the first two steps, 25 s are given.
    assert one.step == 2 and one.spent_s == 30
    assert feeder._stop.is_set()
    assert torch.load(tmp_path / "w" / "checkpoint.pt", weights_only=True)["step"] == 2
    with (tmp_path / "w" / "log.csv").open() as handle:
        rows = list(csv.DictReader(handle))
    assert {r["step"] for r in rows} == {"1", "2"}
    keys = {r["key"] for r in rows}
    times = {key for key in keys if key.startswith("time ")}
    assert keys - times == {"loss coarse", "loss fine", "CT_Made coarse", "CT_Made fine"}
    assert times == {
        f"time {what}" for what in ("data", "forward and backward", "exchange", "update", "other")
    }
    last = [float(r["value"]) for r in rows if r["step"] == "2" and r["key"] in times]
    assert sum(last) == pytest.approx(1.0, abs=0.01)


def test_the_log_keeps_moving_averages_and_passes_over_absent_classes(tmp_path: Path, volume: Volume) -> None:
    log, item = Log(tmp_path / "log.csv"), view(volume)
    log.add(item, 1.0, 0.5)
    log.add(item, 2.0, math.nan)
    assert log.values == pytest.approx({"loss coarse": 0.97 * 1.0 + 0.03 * 2.0, "CT_Made coarse": 0.5})


def test_precision_is_bf16_only_where_the_processor_computes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    for flags, expected in (
        ("flags : sse2 avx2 avx512f avx512_bf16", torch.bfloat16),
        ("flags : sse2 amx_bf16", torch.bfloat16),
        ("flags : sse2 avx2 avx512f avx512_vnni", torch.float32),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(Path, "read_text", lambda self, flags=flags: flags)
            assert loop.processor_precision() == expected


def test_a_note_is_written_once_and_an_average_again_and_again(tmp_path: Path, volume: Volume) -> None:
    log = Log(tmp_path / "log.csv")
    log.add(view(volume), 1.0, 0.5)
    log.note("val CT_Made fine", 0.25)
    for step in (1, 2):
        log.write(step, 0.0, 0.1)
    with (tmp_path / "log.csv").open() as handle:
        rows = [(r["step"], r["key"]) for r in csv.DictReader(handle)]
    assert rows.count(("1", "val CT_Made fine")) == 1 and ("2", "val CT_Made fine") not in rows
    assert ("2", "CT_Made coarse") in rows

"""A training on a GPU: where its tensors are, and that it learns what a processor learns.

No GPU is needed. On torch's `meta` device tensors have no values, and whatever mixes devices shows. Where a
processor is taken for a GPU, the same code runs with values.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs torch")

from scipy import ndimage  # noqa: E402
from torch import Tensor  # noqa: E402
from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402
from torch.utils._pytree import tree_leaves  # noqa: E402

from tests.training.made import THIN, rule  # noqa: E402
from tests.training.trainers import BANK, VOXELS, trainer  # noqa: E402
from vesal.training import augment_device, device, loop, views  # noqa: E402
from vesal.training.augment import intensity  # noqa: E402
from vesal.training.augment_device import channels_on, intensity_on  # noqa: E402
from vesal.training.blur import blurred  # noqa: E402
from vesal.training.device import DeviceError, find_device, on_cpu, precision_of, work_of  # noqa: E402
from vesal.training.feeder import Feeder, ViewSchedule  # noqa: E402
from vesal.training.loop import Trainer, train  # noqa: E402
from vesal.training.losses import mean_where, segmentation_loss  # noqa: E402
from vesal.training.parallel import Group  # noqa: E402
from vesal.training.plan import Plan  # noqa: E402
from vesal.training.pooled_feeder import PooledFeeder  # noqa: E402
from vesal.training.store import Volume  # noqa: E402
from vesal.training.views import coarse_item, fine_item, unposed  # noqa: E402

META = torch.device("meta")
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")


class OneDevice(TorchDispatchMode):
    """Fails where an operation takes tensors of several devices, unless it copies between them."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """See torch."""
        given = [t for t in tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor) and t.ndim]
        if "copy" not in str(func):
            assert len({t.device for t in given}) < 2, f"{func} of {[str(t.device) for t in given]}"
        return func(*args, **(kwargs or {}))


@pytest.fixture
def on_meta(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Trainer:
    """A trainer on the device without values, which draws no numbers either."""
    monkeypatch.setattr(loop, "precision_of", lambda device: torch.float32)
    monkeypatch.setattr(
        augment_device, "noise_on", lambda shape, seed, device: torch.empty(shape, device=device)
    )
    monkeypatch.setattr(torch, "isfinite", lambda norm: True)
    return Trainer(Plan(hours=1.0, widths=THIN, pairs=1), BANK, tmp_path, Group(0, 1, ""), None, META)


def test_all_tensors_of_a_step_are_on_the_device(on_meta: Trainer, volume: Volume) -> None:
    with OneDevice():
        for seed in range(12):  # all augmentations are drawn among them
            rng = np.random.default_rng(seed)
            coarse = coarse_item(volume, rule(flips="any"), VOXELS, rng, device=META)
            result = unposed(on_meta._learn(coarse)[2].detach()[0].sigmoid(), coarse)
            found = np.ones((len(coarse.targets), *coarse.view.shape), np.float32)
            fine = fine_item(coarse, found, rule(), VOXELS, rng, device=META)
            loss, dice, logits = on_meta._learn(fine)
            told = [coarse.image, coarse.truth, coarse.prompt, fine.prompt, result, loss, dice, logits]
            assert {t.device for t in told} == {META}
        on_meta.group.send(on_meta.model, 3.0)
        sent, flat, _ = on_meta.group._sent
        assert flat.device == META
        for parameter, part in zip(sent, flat[:-1].split([p.numel() for p in sent]), strict=True):
            parameter.grad = part.reshape(parameter.shape)
        before = {id(p) for p in on_meta.model.parameters()}
        on_meta.update()
    states = [value for o in on_meta.optimizers for state in o.state.values() for value in state.values()]
    kept = [*on_meta.model.parameters(), *on_meta.average.values(), *(s for s in states if s.ndim)]
    assert {t.device for t in kept} == {META} and before == {id(p) for p in on_meta.model.parameters()}


@pytest.fixture
def as_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """The processor is taken for a GPU."""
    monkeypatch.setattr(device, "is_processor", lambda device: False)


SHOWN = ViewSchedule(1.0, 1.0)
"""Views that are not augmented: noise is drawn otherwise on a GPU."""


def learnt(folder: Path, volume: Volume, kind: Any) -> dict[str, Tensor]:
    """Weights after three steps on views as they are."""
    one = trainer(folder, steps=3, pairs=2, warmup_steps=1)
    rules = {"CT_Made": rule(crops=0.3)}
    feeder = kind([volume], rules, VOXELS, VOXELS, 0, schedule=lambda n: SHOWN)
    assert train(one, feeder)
    lines = (folder / "log.csv").read_text().splitlines()
    assert any(",loss fine," in line for line in lines)
    return one.model.state_dict()


@pytest.mark.usefixtures("exact")
def test_a_gpu_learns_from_views_of_many_threads_what_a_processor_learns(
    tmp_path: Path, volume: Volume, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = learnt(tmp_path / "processor", volume, Feeder)
    monkeypatch.setattr(device, "is_processor", lambda device: False)
    found = learnt(tmp_path / "gpu", volume, lambda *given, **named: PooledFeeder(3, *given, **named))
    for name, value in wanted.items():
        torch.testing.assert_close(found[name], value, rtol=1e-3, atol=1e-4)


@pytest.mark.usefixtures("exact", "as_gpu")
def test_a_loss_that_is_not_finite_ends_the_run_before_it_reaches_the_weights(
    tmp_path: Path, volume: Volume
) -> None:
    one = trainer(tmp_path / "w", steps=3, pairs=1)
    with torch.no_grad():
        one.model.to_bias.bias.fill_(float("nan"))
    before = {name: value.clone() for name, value in one.average.items()}
    feeder = PooledFeeder(1, [volume], {"CT_Made": rule()}, VOXELS, VOXELS, 0)
    with pytest.raises(FloatingPointError, match="coarse view of CT_Made_1 is nan.*logits not kept"):
        train(one, feeder)
    feeder.close()
    assert one.step == 0 and all(torch.equal(one.average[n], v) for n, v in before.items())


@pytest.mark.parametrize("absent", [(), (1,), (0, 1)])
def test_a_gpu_sums_the_same_loss(absent: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = torch.Generator().manual_seed(0)
    logits = torch.randn(1, 2, 8, 8, 8, generator=drawn, requires_grad=True)
    truth = (torch.rand(1, 2, 8, 8, 8, generator=drawn) > 0.7).float()
    truth[:, list(absent)] = 0
    presence, results = torch.randn(1, 2, 8, generator=drawn), []
    for here in (True, False):
        monkeypatch.setattr(device, "is_processor", lambda device, here=here: here)
        loss, dice = segmentation_loss(logits, presence, truth)
        results.append((loss, dice, *torch.autograd.grad(loss, logits)))
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, equal_nan=True)
    assert float(mean_where(torch.tensor([1.0, 3.0, 9.0]), torch.tensor([True, True, False]))) == 2.0
    assert float(mean_where(torch.ones(2), torch.zeros(2, dtype=torch.bool))) == 0.0


def test_values_are_changed_on_a_gpu_as_on_a_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    made = np.random.default_rng(0).uniform(0, 255, (12, 20, 16)).astype(np.float32)
    made[:4] = 0
    noise = [n for n in range(60) if augment_device.draw_recolouring(np.random.default_rng(n)).noise]
    assert 5 < len(noise) < 55
    for seed in range(60):
        wanted = intensity(made, np.random.default_rng(seed))
        found = intensity_on(torch.from_numpy(made), np.random.default_rng(seed)).numpy()
        assert (found[:4] == 0).all() and found.min() >= 0 and found.max() <= 255
        if seed in noise:
            assert 0.5 < np.abs(found - wanted)[4:].mean() < 30
        else:
            np.testing.assert_allclose(found, wanted, atol=0.05)


def test_a_blur_and_channels_are_those_of_scipy_and_numpy() -> None:
    made = np.random.default_rng(0).uniform(0, 255, (3, 20, 16)).astype(np.float32)
    for sigma in (0.3, 0.9, 1.4):
        wanted = ndimage.gaussian_filter(made, sigma)
        np.testing.assert_allclose(blurred(torch.from_numpy(made), sigma).numpy(), wanted, atol=1e-2)
    channels = channels_on(torch.from_numpy(made), (30.0, 12.0)).numpy()
    np.testing.assert_allclose(channels, views.image_channels(made, (30.0, 12.0)), rtol=1e-5, atol=1e-5)


@pytest.mark.usefixtures("exact", "as_gpu")
def test_a_checkpoint_of_a_gpu_is_read_anywhere(
    tmp_path: Path, volume: Volume, monkeypatch: pytest.MonkeyPatch
) -> None:
    brought = []
    monkeypatch.setattr(loop, "on_cpu", lambda state: brought.append(state) or on_cpu(state))
    learnt(tmp_path / "w", volume, lambda *given, **named: PooledFeeder(2, *given, **named))
    assert brought
    again = trainer(tmp_path / "w", steps=3, pairs=2)
    assert again.step == 3 and again.optimizers[0].state_dict()["state"]


def test_what_is_not_there_is_named_and_a_gpu_has_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(DeviceError, match="cuda is not there: torch .* sees no such device; install"):
        find_device("cuda")
    with pytest.raises(DeviceError, match="no device is called 'tpu'; there are cpu, cuda, mps"):
        find_device("tpu")
    assert find_device("cpu") == device.CPU
    monkeypatch.setattr(device, "available_threads", lambda: 16)
    assert work_of(device.CPU) == device.Work(16, 3, 0)
    assert work_of(torch.device("cuda")) == device.Work(1, 8, 4)
    for able, wanted in ((True, torch.bfloat16), (False, torch.float32)):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation, able=able: able)
        assert precision_of(torch.device("cuda")) == wanted


@needs_cuda
def test_cuda_learns_what_a_processor_learns(tmp_path: Path, volume: Volume) -> None:
    cuda, losses = torch.device("cuda"), []
    for where in (device.CPU, cuda):
        plan = Plan(steps=2, widths=THIN, pairs=1, warmup_steps=1)
        one = Trainer(plan, BANK, tmp_path / where.type, Group(0, 1, ""), None, where)
        one.precision = torch.float32
        item = coarse_item(volume, rule(), VOXELS, np.random.default_rng(0), plain=True, device=where)
        losses.append(float(one.run_view(item)[0]))
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)
    feeder = PooledFeeder(2, [volume], {"CT_Made": rule()}, VOXELS, VOXELS, 0, device=cuda)
    (tmp_path / "cuda").mkdir(exist_ok=True)
    assert train(one, feeder)
    state = torch.load(tmp_path / "cuda" / "checkpoint.pt", weights_only=True)
    assert {value.device for value in state["average"].values()} == {device.CPU}

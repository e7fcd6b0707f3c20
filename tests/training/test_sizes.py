"""Sizes of the default network: what they hold, how they begin, and that one engine runs them."""

import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs torch")
ort = pytest.importorskip("onnxruntime")

from torch import Tensor  # noqa: E402

from tests.training.made import THIN  # noqa: E402
from tests.training.trainers import trainer  # noqa: E402
from vesal.inference.planning.profile import read_profile  # noqa: E402
from vesal.networks.nano import Nano, deeper_of  # noqa: E402
from vesal.training.export import INPUTS, example, export, write_graphs  # noqa: E402
from vesal.training.sizes import SIZES, Size  # noqa: E402
from vesal.training.warm import warm_start  # noqa: E402


@pytest.mark.parametrize(("name", "millions"), [("nano", 5.3), ("small", 8.2), ("base", 25.2)])
def test_parameters_are_as_many_as_is_said(name: str, millions: float) -> None:
    size = SIZES[name]
    with torch.device("meta"):
        network = Nano(size.widths, deeper=size.deeper)
    assert sum(p.numel() for p in network.parameters()) == pytest.approx(millions * 1e6, rel=0.01)


def answers(network: Nano, degree: int) -> tuple[Tensor, ...]:
    """Logits and presence of a made view."""
    with torch.no_grad():
        return network.eval()(*example(), degree)


def moved_on(network: Nano) -> Nano:
    """All its tensors a little changed: an export joins those that are the same, as in a new network."""
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return network


@pytest.mark.parametrize("wide", [THIN, (16, 16, 24, 24)])
def test_further_blocks_add_nothing_at_first(tmp_path: Path, wide: tuple[int, int, int, int]) -> None:
    """Neither to weights of the same widths that a run begins from, nor to narrower ones."""
    torch.manual_seed(0)
    shallow, deep = moved_on(Nano((8, 8, 16, 16))), Nano(wide, deeper=2)
    write_graphs(shallow, tmp_path, 0)
    anew = warm_start(deep, tmp_path)
    assert anew and all(name.startswith("deeper.") for name in anew)
    assert warm_start(shallow, tmp_path) == []  # rounded as they were written
    for degree in range(3):
        for one, other in zip(answers(shallow, degree), answers(deep, degree), strict=True):
            torch.testing.assert_close(one, other, rtol=2e-3, atol=2e-3)


def test_further_blocks_of_a_narrower_network_are_widened(tmp_path: Path) -> None:
    torch.manual_seed(0)
    narrow, wide = moved_on(Nano((8, 8, 16, 16), deeper=1)), Nano((16, 16, 24, 24), deeper=2)
    with torch.no_grad():
        for name, value in narrow.named_parameters():
            if name.startswith("deeper") and "norm2.weight" in name:
                value.uniform_(0.5, 1.0)
    write_graphs(narrow, tmp_path, 0)
    assert warm_start(narrow, tmp_path) == []
    assert all(name.startswith(("deeper.0.1", "deeper.1.1")) for name in warm_start(wide, tmp_path))
    for one, other in zip(answers(narrow, 1), answers(wide, 1), strict=True):
        torch.testing.assert_close(one, other, rtol=5e-3, atol=5e-3)
    with torch.no_grad():
        wide.deeper[0][0].norm2.weight.zero_()
    assert not torch.allclose(answers(narrow, 1)[0], answers(wide, 1)[0], atol=1e-2), "the block counts"


def test_a_deeper_run_is_exported_with_windows_as_large_as_its_views(tmp_path: Path) -> None:
    size = Size(THIN, 1, 64**3, 72**3)
    plan = {"widths": size.widths, "deeper": 1, "coarse_voxels": 64**3, "fine_voxels": 72**3, "steps": 1}
    one = trainer(tmp_path / "w", **plan)
    one.save()
    names, vectors = zip(*one.bank.items(), strict=True)
    np.savez(tmp_path / "w" / "bank.npz", names=np.array(names), vectors=np.stack(vectors))
    export(tmp_path / "w", tmp_path / "out")
    assert deeper_of(one.model.state_dict()) == 1
    content = json.loads((tmp_path / "out" / "manifest.json").read_text())
    default = json.loads((Path(__file__).parents[2] / "weights/nano/manifest.json").read_text())
    for stage, usual, factor in zip(
        content["stages"], default["stages"], ((64 / 52) ** 3, (72 / 56) ** 3), strict=True
    ):
        assert stage["window_voxels"] == round(usual["window_voxels"] * factor)
    assert content["overrides"][-1]["stages"]["fine"]["window_voxels"] == round(700000 * (72 / 56) ** 3)
    read_profile(tmp_path / "out")
    session = ort.InferenceSession(str(tmp_path / "out" / "degree1.onnx"))
    found = session.run(None, {n: t.numpy() for n, t in zip(INPUTS, example(), strict=True)})[0]
    rounded = {n: v.half().float() for n, v in one.average.items()}
    one.model.load_state_dict(rounded)
    np.testing.assert_allclose(found, answers(one.model, 1)[0].sigmoid().numpy(), atol=2e-3)
    with pytest.raises(ValueError, match="1 further blocks a level, wanted 0; give its --size"):
        trainer(tmp_path / "w", **{**plan, "deeper": 0})

"""VoxTell's linear layers in 8 bits: which are, and that both runtimes multiply with what was rounded."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="published files are converted with torch")
pytest.importorskip("onnx", reason="conversion writes ONNX graphs")

import onnx  # noqa: E402

from tests.weights.made_voxtell import SIZES, WINDOW, made_network, run_graphs, write_folder  # noqa: E402
from vesal.inference.runtime.onnx import OnnxRuntime  # noqa: E402
from vesal.inference.runtime.openvino import OpenVino  # noqa: E402
from vesal.weights.convert import graphs, verify  # noqa: E402
from vesal.weights.convert.folder import Options  # noqa: E402
from vesal.weights.convert.graphs import save_graphs, trace  # noqa: E402
from vesal.weights.convert.systems.voxtell import convert_voxtell  # noqa: E402
from vesal.weights.convert.voxtell_graphs import LINEAR, voxtell_graphs  # noqa: E402
from vesal.weights.shared_file import rounded_rows  # noqa: E402


@pytest.mark.parametrize(("least", "kept"), [(0.0, "all"), (1.0, "some")])
def test_large_linear_layers_are_stored_in_8_bits_where_little_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, least: float, kept: str
) -> None:
    """All parts where all agree, else each that does, and what was measured; convolutions keep 16 bits."""
    monkeypatch.setattr(graphs, "MIN_INT8_ELEMENTS", 64)
    monkeypatch.setattr(graphs, "MIN_FP16_ELEMENTS", 64)
    monkeypatch.setattr(verify, "MIN_AGREEMENT", least)
    root = write_folder(tmp_path / "in")
    convert_voxtell(root, tmp_path / "out", Options(precision="fp32"))
    told = json.loads((tmp_path / "out" / "manifest.json").read_text())["network"]["int8"]
    first, *others = told["shares"].values()
    if kept == "all":
        assert len(told["layers"]) == 4 and not others
    else:
        assert first < 1 and len(others) == 4
        assert len(told["layers"]) == sum(share == 1 for share in others) < 4
    types = {
        t.name: t.data_type for role in ("window", "text", "prompt") for t in tensors(tmp_path / "out", role)
    }
    rounded = {name for name, kind in types.items() if kind == onnx.TensorProto.INT8}
    assert bool(rounded) == bool(told["layers"])
    assert all("project_" in name or "transformer_decoder" in name for name in rounded)


def tensors(folder: Path, role: str) -> list[Any]:
    return list(onnx.load(str(folder / f"{role}.onnx"), load_external_data=False).graph.initializer)


@torch.no_grad()
@pytest.mark.parametrize("kind", [OnnxRuntime, OpenVino])
def test_layers_in_8_bits_give_what_their_rounded_weights_give(tmp_path: Path, kind: Any) -> None:
    """In both runtimes the logits of a network whose matrices were rounded in torch."""
    network = made_network()
    traced = voxtell_graphs(network, WINDOW, tmp_path / "exported")
    some = {f"{role}.onnx": graph for role, graph in traced.items()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(graphs, "MIN_INT8_ELEMENTS", 0)
        patch.setattr(graphs, "MIN_FP16_ELEMENTS", 0)
        save_graphs(some, tmp_path, "weights.bin", False, LINEAR)
    for name, value in network.named_parameters():
        if value.ndim == 2:
            whole, scales = rounded_rows(value.numpy())
            value.copy_(torch.from_numpy(whole * scales[:, None]))
            assert name.startswith(LINEAR)
    rng = np.random.default_rng(1)
    image = rng.standard_normal((1, 1, *WINDOW)).astype(np.float32)
    text = rng.standard_normal((1, 2, SIZES.text)).astype(np.float32)
    found = run_graphs(tmp_path, kind(1, "a test"), image, text)
    wanted = network(torch.from_numpy(image), torch.from_numpy(text)).numpy()
    plain = made_network()(torch.from_numpy(image), torch.from_numpy(text)).numpy()
    assert np.abs(found - wanted).max() <= 1e-4 * np.ptp(wanted) < 0.1 * np.abs(plain - wanted).max()


def test_a_row_of_zeros_stays_one() -> None:
    whole, scales = rounded_rows(np.array([[0, 0], [-2, 1]], np.float32))
    assert whole.tolist() == [[0, 0], [-127, 64]] and np.allclose(scales, [1, 2 / 127])


@pytest.mark.parametrize("kind", [OnnxRuntime, OpenVino])
def test_what_is_multiplied_with_8_bits_keeps_its_own(tmp_path: Path, kind: Any) -> None:
    """OpenVINO would round it to as many, by groups of channels, where layers are wide enough."""
    rng = np.random.default_rng(2)
    weight = rng.standard_normal((256, 256)).astype(np.float32)
    layer = torch.nn.Linear(256, 256)
    layer.weight.data, layer.bias.data = torch.from_numpy(weight), torch.zeros(256)
    traced = trace(layer, [torch.ones(1, 3, 256)], ["x"], ["y"], {}, tmp_path / "exported")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(graphs, "MIN_INT8_ELEMENTS", 0)
        save_graphs({"layer.onnx": traced}, tmp_path, "weights.bin", False, ("weight",))
    x = rng.standard_normal((1, 3, 256)).astype(np.float32)
    found = kind(1, "a test").load(tmp_path / "layer.onnx", "fp32", "always")({"x": x})["y"]
    whole, scales = rounded_rows(weight)
    wanted = x @ (whole * scales[:, None]).T
    assert np.abs(found - wanted).max() <= 1e-5 * np.abs(wanted).max()

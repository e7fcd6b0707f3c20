"""Graphs of VoxTell: both runtimes give what the published code gave, for every prompt of a window."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the network's definition needs torch")

import onnx  # noqa: E402

from tests.networks.recorded_voxtell import NETWORKS, Recorded  # noqa: E402
from vesal.inference.runtime.onnx import OnnxRuntime  # noqa: E402
from vesal.inference.runtime.openvino import OpenVino  # noqa: E402
from vesal.weights.convert.graphs import save_graphs  # noqa: E402
from vesal.weights.convert.voxtell_graphs import memory_names, voxtell_graphs  # noqa: E402

Arrays = dict[str, np.ndarray]
ROLES = ("window", "text", "prompt")


@pytest.fixture(scope="module", params=[NETWORKS[1], NETWORKS[-1]], ids=["A", "B"])
def recorded(request: pytest.FixtureRequest, shared: Path) -> Recorded:
    """A cube, and a window of three different sides."""
    torch.set_num_threads(1)
    return Recorded(shared, *request.param)


@pytest.fixture(scope="module")
def folder(recorded: Recorded, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All graphs as files, their weights stored in fp16: those of the fixtures lose nothing by it."""
    path = tmp_path_factory.mktemp("graphs")
    d, h, w = recorded.image.shape[2:]
    graphs = voxtell_graphs(recorded.network, (d, h, w), path / "exported.onnx")
    save_graphs({f"{role}.onnx": graph for role, graph in graphs.items()}, path, "weights.bin", True)
    return path


@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
def test_logits_are_those_recorded(recorded: Recorded, folder: Path, name: str) -> None:
    runtime = OnnxRuntime(1, "a test") if name == "onnxruntime" else OpenVino(1, "a test")
    graphs: dict[str, Callable[[Arrays], Arrays]] = {
        role: runtime.load(folder / f"{role}.onnx", "fp32") for role in ROLES
    }
    queries = graphs["text"]({"text": recorded.text.numpy()})["queries"]
    memory = graphs["window"]({"image": recorded.image.numpy()})
    assert tuple(memory) == memory_names(recorded.network)
    logits = [
        graphs["prompt"]({**memory, "queries": queries[:, n : n + 1]})["logits"]
        for n in range(queries.shape[1])
    ]
    recorded.check("logits", torch.from_numpy(np.stack(logits, 1)))


def test_no_bias_is_left_in_front_of_a_norm(recorded: Recorded, folder: Path) -> None:
    """But for those of the transposed convolutions, which the next kernel sees at its border."""
    for role in ("window", "prompt"):
        graph = onnx.load(str(folder / f"{role}.onnx"), load_external_data=False).graph
        assert not [node for node in graph.node if node.op_type == "Conv" and len(node.input) > 2]
        assert [node for node in graph.node if node.op_type == "ConvTranspose" and len(node.input) == 3]

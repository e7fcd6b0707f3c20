"""Graphs of SegVol: both runtimes give what the published code gave, for any numbers of prompts."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the network's definition needs torch")

import onnx  # noqa: E402
from torch import Tensor  # noqa: E402

from tests.networks.recorded_segvol import (  # noqa: E402
    COMBINATIONS,
    asked_of,
    assert_recorded,
    read_recorded,
    recorded_network,
)
from vesal.inference.runtime.onnx import OnnxRuntime  # noqa: E402
from vesal.inference.runtime.openvino import OpenVino  # noqa: E402
from vesal.networks.point_prompts import FIRST_CORNER, PADDING, TEXT  # noqa: E402
from vesal.networks.segvol import SegVol  # noqa: E402
from vesal.weights.convert.segvol_graphs import segvol_graphs  # noqa: E402

Arrays = dict[str, np.ndarray]
Graphs = dict[str, Callable[[Arrays], Arrays]]
ROLES = ("image", "text", "decoder")


@pytest.fixture(scope="module")
def network(shared: Path) -> SegVol:
    """The reduced network of the fixtures."""
    torch.set_num_threads(1)
    return recorded_network(shared)


@pytest.fixture(scope="module")
def recorded(shared: Path) -> dict[str, Tensor]:
    """All recorded arrays."""
    return read_recorded(shared)


@pytest.fixture(scope="module")
def folder(network: SegVol, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All graphs as files."""
    path = tmp_path_factory.mktemp("graphs")
    for role, graph in segvol_graphs(network, path / "exported.onnx").items():
        onnx.save(graph, str(path / f"{role}.onnx"))
    return path


@pytest.fixture(scope="module", params=["onnxruntime", "openvino"])
def graphs(request: pytest.FixtureRequest, folder: Path) -> Graphs:
    """The graphs in one of the runtimes, fp32."""
    runtime = OnnxRuntime(1, "a test") if request.param == "onnxruntime" else OpenVino(1, "a test")
    return {role: runtime.load(folder / f"{role}.onnx", "fp32") for role in ROLES}


def decoded(graphs: Graphs, embedding: np.ndarray, *asked: Tensor) -> np.ndarray:
    """Logits (N, d, h, w) of prompts."""
    names = ("coordinates", "kinds", "text", "with_text")
    given = {name: each.numpy() for name, each in zip(names, asked, strict=True)}
    return graphs["decoder"]({"embedding": embedding, **given})["logits"]


@pytest.mark.parametrize("combination", COMBINATIONS)
def test_every_combination_of_prompts(graphs: Graphs, recorded: dict[str, Tensor], combination: str) -> None:
    """From the window to the masks, through graphs alone."""
    embedding = graphs["image"]({"image": recorded["image"].numpy()})["embedding"]
    assert_recorded(embedding, recorded["image_embedding"])
    found = decoded(graphs, embedding, *asked_of(recorded, combination))
    assert_recorded(found[:, None], recorded[f"{combination}_lowres"])


def test_texts_of_any_length(graphs: Graphs, recorded: dict[str, Tensor]) -> None:
    ids, length = recorded["input_ids"].numpy(), int(recorded["attention_mask"][0].sum())
    assert_recorded(graphs["text"]({"input_ids": ids})["text"], recorded["text_embedding"])
    shorter = np.ascontiguousarray(ids[:1, :length])
    assert_recorded(graphs["text"]({"input_ids": shorter})["text"], recorded["text_embedding"][:1])
    most = np.full((1, 77), ids.max())
    most[0, :length] = ids[0, :length]
    assert_recorded(graphs["text"]({"input_ids": most})["text"], recorded["text_embedding"][:1])


@torch.no_grad()
@pytest.mark.parametrize("prompts,tokens", [(1, 1), (3, 10), (5, 4)])
def test_any_numbers_of_prompts_and_tokens(
    graphs: Graphs, network: SegVol, recorded: dict[str, Tensor], prompts: int, tokens: int
) -> None:
    make = torch.Generator().manual_seed(tokens)
    asked = (
        torch.rand(prompts, tokens, 3, generator=make) * 60 - 1,
        torch.randint(PADDING, TEXT + 1, (prompts, tokens), generator=make),
        torch.randn(prompts, 64, generator=make),
        (torch.rand(prompts, generator=make) > 0.5).float(),
    )
    wanted = network(recorded["image_embedding"], *asked).logits
    assert_recorded(decoded(graphs, recorded["image_embedding"].numpy(), *asked), wanted)


@torch.no_grad()
def test_an_empty_window_is_asked_as_released(
    graphs: Graphs, network: SegVol, recorded: dict[str, Tensor]
) -> None:
    """A box of -1 in a window in which nothing was found, and a point that is none."""
    box, kinds = torch.full((1, 2, 3), -1.0), torch.tensor([[FIRST_CORNER, FIRST_CORNER + 1]])
    none = torch.full((1, 2, 3), -1.0), torch.full((1, 2), PADDING)
    for places, each in ((box, kinds), none):
        asked = places, each, torch.zeros(1, 64), torch.zeros(1)
        wanted = network(recorded["image_embedding"], *asked).logits
        assert_recorded(decoded(graphs, recorded["image_embedding"].numpy(), *asked), wanted)


@torch.no_grad()
def test_several_windows_at_once(graphs: Graphs, network: SegVol, recorded: dict[str, Tensor]) -> None:
    windows = torch.cat([recorded["image"], recorded["image"].flip(4), recorded["image"] * 0])
    found = graphs["image"]({"image": windows.numpy()})["embedding"]
    assert_recorded(found, network.encode(windows))


def test_inputs_and_outputs_have_their_names(folder: Path) -> None:
    def names(role: str) -> tuple[list[str], list[str]]:
        graph = onnx.load(str(folder / f"{role}.onnx")).graph
        return [port.name for port in graph.input], [port.name for port in graph.output]

    assert names("image") == (["image"], ["embedding"])
    assert names("text") == (["input_ids"], ["text"])
    asked = ["embedding", "coordinates", "kinds", "text", "with_text"]
    assert names("decoder") == (asked, ["logits"])

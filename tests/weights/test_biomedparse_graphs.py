"""Graphs of BiomedParse-V: both runtimes give what the published code gave, for any numbers and sizes."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the network's definition needs torch")

import onnx  # noqa: E402

from tests.networks.recorded_biomedparse_v import FOLDER, recorded_network  # noqa: E402
from vesal.inference.runtime.onnx import OnnxRuntime  # noqa: E402
from vesal.inference.runtime.openvino import OpenVino  # noqa: E402
from vesal.networks.biomedparse_v import BiomedParseV  # noqa: E402
from vesal.networks.boltzformer import sampled_by  # noqa: E402
from vesal.weights.convert.biomedparse_graphs import biomedparse_graphs, memory_names  # noqa: E402

LIMIT = 1e-4
"""Largest difference, as a share of the recorded range: about 1e-6 is found."""

Arrays = dict[str, np.ndarray]
Graphs = dict[str, Callable[[Arrays], Arrays]]


@pytest.fixture(scope="module")
def network(shared: Path) -> BiomedParseV:
    """The reduced network of the fixtures."""
    torch.set_num_threads(1)
    return recorded_network(shared)


@pytest.fixture(scope="module")
def folder(network: BiomedParseV, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All graphs as files."""
    path = tmp_path_factory.mktemp("graphs")
    for role, graph in biomedparse_graphs(network, path / "exported.onnx").items():
        onnx.save(graph, str(path / f"{role}.onnx"))
    return path


@pytest.fixture(scope="module", params=["onnxruntime", "openvino"])
def graphs(request: pytest.FixtureRequest, folder: Path) -> Graphs:
    """The graphs in one of the runtimes, fp32."""
    runtime = OnnxRuntime(1, "a test") if request.param == "onnxruntime" else OpenVino(1, "a test")
    roles = ("image", "text", "decoder", "decoder_full")
    return {role: runtime.load(folder / f"{role}.onnx", "fp32") for role in roles}


@pytest.fixture(scope="module")
def stored(shared: Path) -> Arrays:
    """All recorded arrays."""
    with np.load(shared / FOLDER / "net_io.npz") as file:
        return dict(file)


def packed(volume: np.ndarray) -> np.ndarray:
    """(D, H, W) -> (D, 3, H, W): each slice, the one before and the one behind it, reflected at the ends."""
    padded = np.pad(volume.astype(np.float32), ((1, 1), (0, 0), (0, 0)), mode="reflect")
    return np.stack([padded[1:-1], padded[:-2], padded[2:]], 1)


def words_of(graphs: Graphs, stored: Arrays, prompts: list[int]) -> np.ndarray:
    """Words of some prompts, padded with zeros to the longest: (L, P, C)."""
    encoded = graphs["text"]({"input_ids": stored["input_ids"][prompts]})["tokens"]
    lengths = stored["attention_mask"][prompts].sum(1)
    own = np.arange(lengths.max()) < lengths[:, None]
    return np.moveaxis(encoded[:, : lengths.max()] * own[..., None], 0, 1)


def decode(graphs: Graphs, image: np.ndarray, words: np.ndarray, draws: Arrays | None) -> Arrays:
    """All graphs of the image's side, one after the other."""
    memory = graphs["image"]({"image": image})
    if draws is not None:
        return graphs["decoder"]({**memory, "tokens": words, **draws})
    needed = {name: array for name, array in memory.items() if not name.startswith("features_")}
    return graphs["decoder_full"]({**needed, "tokens": words})


def assert_outputs(found: Arrays, stored: Arrays, run: str, part: slice) -> None:
    """Equal to the recorded outputs of some slices."""
    names = {"mask": "pred_gmasks", "edges": "edge_masks", "existence": "object_existence"}
    for name, recorded in names.items():
        whole = stored[f"{run}_{recorded}"]
        assert found[name].shape == whole[:, part].shape
        assert np.abs(found[name] - whole[:, part]).max() <= LIMIT * np.ptp(whole)


def recorded_draws(stored: Arrays) -> Arrays:
    """Numbers of slices 0 and 1 as the graph takes them: (P, S, heads, Q, HW)."""
    found = {}
    for layer in range(9):
        apart = stored[f"boltz_b0_rand{layer}"].reshape(2, 3, 4, 16, -1)
        found[f"draws_{layer}"] = np.moveaxis(apart, 1, 0)
    return found


def test_recorded_sampling(graphs: Graphs, stored: Arrays) -> None:
    image, words = packed(stored["vol_u8"])[:2], words_of(graphs, stored, [0, 1, 2])
    found = decode(graphs, image, words, recorded_draws(stored))
    assert_outputs(found, stored, "boltz", slice(0, 2))


@pytest.mark.parametrize("batch", [1, 2, 4])
def test_full_attention_in_any_batch(graphs: Graphs, stored: Arrays, batch: int) -> None:
    image, words = packed(stored["vol_u8"]), words_of(graphs, stored, [0, 1, 2])
    for first in range(0, 5, batch):
        part = slice(first, min(5, first + batch))
        assert_outputs(decode(graphs, image[part], words, None), stored, "full", part)


def test_negative_draws_are_full_attention(graphs: Graphs, stored: Arrays) -> None:
    image, words = packed(stored["vol_u8"])[:2], words_of(graphs, stored, [0, 1, 2])
    draws = {name: numbers - 2 for name, numbers in recorded_draws(stored).items()}
    assert_outputs(decode(graphs, image, words, draws), stored, "full", slice(0, 2))


def test_one_prompt_alone(graphs: Graphs, stored: Arrays) -> None:
    found = decode(graphs, packed(stored["vol_u8"]), words_of(graphs, stored, [2]), None)
    recorded = stored["full_single_tumor_pred_gmasks"]
    assert np.abs(found["mask"] - recorded).max() <= LIMIT * np.ptp(recorded)


@torch.no_grad()
def test_other_sizes_give_what_torch_gives(network: BiomedParseV, graphs: Graphs) -> None:
    """One prompt, one slice, not square, and a number of draws that is rounded down."""
    rng = np.random.default_rng(0)
    image = rng.uniform(0, 255, (1, 3, 96, 160)).astype(np.float32)
    words = rng.standard_normal((4, 1, 64)).astype(np.float32)
    tokens = (3 * 5, 6 * 10, 12 * 20)
    draws = {f"draws_{layer}": rng.random((1, 1, 4, 16, tokens[layer % 3]), np.float32) for layer in range(9)}
    found = decode(graphs, image, words, draws)
    masking = sampled_by([torch.from_numpy(one[0]) for one in draws.values()])
    wanted = network(torch.from_numpy(image), torch.from_numpy(words), masking)
    for name, theirs in (("mask", wanted.masks), ("edges", wanted.edges), ("existence", wanted.existence)):
        assert np.abs(found[name] - np.moveaxis(theirs.numpy(), 1, 0)).max() < 1e-3


def test_inputs_and_outputs_have_their_names(network: BiomedParseV, folder: Path) -> None:
    def names(role: str) -> tuple[list[str], list[str]]:
        graph = onnx.load(str(folder / f"{role}.onnx")).graph
        return [port.name for port in graph.input], [port.name for port in graph.output]

    memory, results = list(memory_names(network)), ["mask", "edges", "existence"]
    draws = [f"draws_{layer}" for layer in range(9)]
    full = [name for name in memory if not name.startswith("features_")]
    assert names("image") == (["image"], memory)
    assert names("text") == (["input_ids"], ["tokens"])
    assert names("decoder") == ([*memory, "tokens", *draws], results)
    assert names("decoder_full") == ([*full, "tokens"], results)

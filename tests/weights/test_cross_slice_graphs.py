"""Graphs of BiomedParse-V whose slices see each other, in both runtimes."""

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the network's definition needs torch")

import onnx  # noqa: E402

from tests.networks.test_biomedparse_v import made  # noqa: E402
from vesal.inference.data.cross_slice import NO_CROSS_SLICE, CrossSlice  # noqa: E402
from vesal.inference.families.contract import RunGraph  # noqa: E402
from vesal.inference.runtime.onnx import OnnxRuntime  # noqa: E402
from vesal.inference.runtime.openvino import OpenVino  # noqa: E402
from vesal.networks.biomedparse_v import BiomedParseV  # noqa: E402
from vesal.networks.boltzformer import sampled_by  # noqa: E402
from vesal.weights.convert.biomedparse_graphs import biomedparse_graphs  # noqa: E402

CROSS = CrossSlice(heads=2, offset=2)
ROLES = ("image", "decoder", "decoder_full")


def network(cross: CrossSlice) -> BiomedParseV:
    """A tiny one with random weights, always the same."""
    torch.set_num_threads(1)
    model = made(0)
    model.look_across(cross)
    return model


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Graphs as files, of the network before anything was said of slices and with heads that look across."""
    found = {}
    for name, model in (("plain", made(0)), ("crossed", network(CROSS))):
        path = found[name] = tmp_path_factory.mktemp(name)
        for role, graph in biomedparse_graphs(model, path / "exported.onnx").items():
            onnx.save(graph, str(path / f"{role}.onnx"))
    return found


@pytest.fixture(scope="module", params=["onnxruntime", "openvino"])
def loaded(request: pytest.FixtureRequest, folders: dict[str, Path]) -> dict[str, list[RunGraph]]:
    """Those of ``ROLES`` in one of the runtimes, fp32."""
    loader = OnnxRuntime(1, "a test") if request.param == "onnxruntime" else OpenVino(1, "a test")
    return {
        name: [loader.load(path / f"{role}.onnx", "fp32") for role in ROLES] for name, path in folders.items()
    }


@pytest.mark.parametrize(("slices", "prompts"), [(1, 2), (2, 1), (3, 2), (7, 1)])
@torch.no_grad()
def test_any_numbers_give_what_torch_gives(
    loaded: dict[str, list[RunGraph]], slices: int, prompts: int
) -> None:
    image_graph, sampled, full = loaded["crossed"]
    rng, crossed = np.random.default_rng(0), network(CROSS)
    image = rng.uniform(0, 255, (slices, 3, 64, 64)).astype(np.float32)
    words = rng.standard_normal((5, prompts, 32)).astype(np.float32)
    memory = image_graph({"image": image})
    sizes = crossed.sizes.decoder
    shape = (prompts, slices, sizes.heads, sizes.queries)
    draws = {
        f"draws_{layer}": rng.random((*shape, memory[f"key_{layer}"].shape[1]), np.float32)
        for layer in range(sizes.layers)
    }
    needed = {name: array for name, array in memory.items() if not name.startswith("features_")}
    masking = sampled_by([torch.from_numpy(np.moveaxis(one, 0, 1)).flatten(0, 1) for one in draws.values()])
    for found, seen in (
        (full({**needed, "tokens": words}), None),
        (sampled({**memory, "tokens": words, **draws}), masking),
    ):
        wanted = crossed(torch.from_numpy(image), torch.from_numpy(words), seen)
        for name, theirs in (("mask", wanted.masks), ("existence", wanted.existence)):
            assert np.abs(found[name] - np.moveaxis(theirs.numpy(), 1, 0)).max() < 1e-3 * (1 + theirs.std())
        if slices > 2 and seen is None:
            plain = network(NO_CROSS_SLICE)(torch.from_numpy(image), torch.from_numpy(words))
            assert np.abs(found["mask"] - np.moveaxis(plain.masks.numpy(), 1, 0)).max() > 0.01


def test_graphs_without_heads_are_those_without_it_to_the_byte(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    without = biomedparse_graphs(network(CrossSlice(heads=0)), tmp_path / "exported.onnx")
    for role, graph in without.items():
        onnx.save(graph, str(tmp_path / f"{role}.onnx"))
        assert (tmp_path / f"{role}.onnx").read_bytes() == (folders["plain"] / f"{role}.onnx").read_bytes()


@pytest.mark.parametrize("slices", [1, 2])
def test_a_run_no_longer_than_the_offset_is_that_of_the_plain_graphs_to_the_bit(
    loaded: dict[str, list[RunGraph]], slices: int
) -> None:
    image, words = np.full((slices, 3, 64, 64), 7, np.float32), np.ones((5, 1, 32), np.float32)
    image[:, :, 20:40] = 100
    found = []
    for image_graph, _, full in loaded.values():
        memory = image_graph({"image": image})
        needed = {name: array for name, array in memory.items() if not name.startswith("features_")}
        found.append(full({**needed, "tokens": words}))
    assert all(np.array_equal(found[0][name], found[1][name]) for name in found[0])

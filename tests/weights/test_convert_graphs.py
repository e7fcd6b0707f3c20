"""Graphs of the fixtures' networks against their recorded logits: axes, prompts, storage, arithmetic."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="published files are converted with torch")
pytest.importorskip("onnx", reason="conversion writes ONNX graphs")


from vesal.inference.runtime.onnx import OnnxRuntime  # noqa: E402
from vesal.networks.medal_s import MedalS, prompt_union  # noqa: E402
from vesal.networks.sat import Sat, Sizes, sizes_of  # noqa: E402
from vesal.weights.convert import verify  # noqa: E402
from vesal.weights.convert.graphs import EmbedGraph, EncoderGraph, graphs_of, save_graphs  # noqa: E402
from vesal.weights.convert.systems.medal_s import MEDAL_S  # noqa: E402
from vesal.weights.text.export import read_safetensors  # noqa: E402

CLOSE = 1e-4
"""Largest difference in fp32, as a share of the largest logit: rounding alone makes a tenth of it."""


def network(shared: Path, system: str) -> Sat:
    """The reduced network of the fixtures."""
    tensors = read_safetensors((shared / f"fixtures/{system}/model_small.safetensors").read_bytes())
    used = {name: value for name, value in tensors.items() if ".norm1." not in name}
    sizes = sizes_of({name: tuple(value.shape) for name, value in used.items()})
    model = MedalS(sizes) if system == "medals" else Sat(sizes)
    model.load_state_dict(used)
    return model.eval()


def recorded(shared: Path, system: str, name: str) -> dict[str, np.ndarray]:
    """Inputs of a graph in its own axes (d, h, w), and what was recorded."""
    stored = dict(np.load(shared / f"fixtures/{system}/forward_{name}.npz"))
    image = np.moveaxis(stored["image"], -1, 0).astype(np.float32)
    inputs = {"image": image[None, None], "text": stored["queries"][None]}
    if "labels" in stored:
        labels = np.moveaxis(stored["labels"], -1, 0)
        masks = [labels == i + 1 for i in range(len(stored["queries"]))]
        inputs["prompt"] = np.stack(masks)[None].astype(np.float32)
    return inputs | {key: value for key, value in stored.items() if key.startswith("logits")}


def write(model: Sat, folder: Path, as_fp16: bool = False) -> Path:
    """The graphs of a network, named by their roles."""
    graphs = graphs_of(model, folder / "t")
    save_graphs({f"{role}.onnx": graph for role, graph in graphs.items()}, folder, "weights.bin", as_fp16)
    return folder


def forward(folder: Path, case: dict[str, np.ndarray]) -> np.ndarray:
    """Logits (N, h, w, d) of the graphs in ONNX Runtime; with spatial prompts where the case has them."""
    graphs = {path.stem: path for path in folder.glob("*.onnx")}
    runtime = OnnxRuntime(1, "a test")
    found = verify.graph_logits(graphs, runtime, case["image"], case["text"][0], case.get("prompt"))
    return np.moveaxis(found, 1, -1)


def without_prompts(case: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The same case."""
    return {name: value for name, value in case.items() if name != "prompt"}


def exported_logits(model: Sat, image: Any, text: Any) -> np.ndarray:
    """Logits (N, h, w, d) of the exported form in torch, without prompts, in the model's dtype."""
    features, tokens, positions = EncoderGraph(model).eval()(image)
    masks = EmbedGraph(model).eval()(tokens, positions, text)
    logits = torch.einsum("bnc,bcdhw->bnhwd", masks, features)[0]
    return logits.double().numpy()


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    """Small tensors gain nothing from more."""
    torch.set_num_threads(1)


@pytest.fixture(scope="module", params=["fp32", "fp16"])
def medal_s(request: pytest.FixtureRequest, shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The graphs of Medal S; the folder's name begins with how its weights are stored."""
    folder = tmp_path_factory.mktemp(request.param)
    return write(network(shared, "medals"), folder, request.param == "fp16")


@pytest.mark.parametrize("name", ["A", "B"])
def test_recorded_logits_come_out_of_the_graphs(medal_s: Path, shared: Path, name: str) -> None:
    case = recorded(shared, "medals", name)
    plain, prompted = forward(medal_s, without_prompts(case)), forward(medal_s, case)
    for found, wanted in (
        (plain, case["logits_zero_prompt"]),
        (prompted[:, ::2, ::2, ::2], case["logits_label_prompt_sub2"]),
    ):
        agreement = verify.agreement_of(found, wanted)
        if medal_s.name.startswith("fp32"):
            assert agreement.worst < CLOSE
        assert agreement.share > verify.MIN_AGREEMENT


def test_zeros_as_prompts_are_no_prompts(medal_s: Path, shared: Path) -> None:
    """What is left out of the graph without prompts multiplies zeros only."""
    case = recorded(shared, "medals", "B")
    case["prompt"] = np.zeros_like(case["prompt"])
    with_zeros, without = forward(medal_s, case), forward(medal_s, without_prompts(case))
    assert verify.agreement_of(with_zeros, without).worst < CLOSE / 10


@pytest.mark.parametrize(("name", "every"), [("A", 2), ("B", 1)])
def test_recorded_logits_come_out_of_sats_graph(shared: Path, tmp_path: Path, name: str, every: int) -> None:
    write(network(shared, "sat"), tmp_path)
    case = recorded(shared, "sat", name)
    found = forward(tmp_path, without_prompts(case))[:, ::every, ::every, ::every]
    assert verify.agreement_of(found, case["logits"]).worst < CLOSE


def exact(model: Sat, case: dict[str, np.ndarray], dtype: Any) -> np.ndarray:
    """Logits (N, h, w, d) float64 of the network as published, without prompts, computed in ``dtype``."""
    image = torch.from_numpy(np.ascontiguousarray(np.moveaxis(case["image"], -3, -1))).to(dtype)
    text, network = torch.from_numpy(case["text"]).to(dtype), copy.deepcopy(model).to(dtype)
    if isinstance(network, MedalS):
        zeros = torch.zeros(1, text.shape[1], *image.shape[2:], dtype=dtype)
        return network(image, text, zeros, prompt_union(zeros))[0].double().numpy()
    return network(image, text)[0].double().numpy()


@torch.no_grad()
@pytest.mark.parametrize("name", ["A", "B"])
@pytest.mark.parametrize("system", ["medals", "sat"])
def test_only_rounding_sets_graph_and_network_apart(
    shared: Path, tmp_path: Path, system: str, name: str
) -> None:
    """In float64 the exported form gives the network's logits to 1e-4; and in float32 the graph is as near to
    them as the published network is in float32, whose own rounding makes 1e-4 (Medal S) to 7e-4 (SAT).
    """
    model, case = network(shared, system), recorded(shared, system, name)
    truth = exact(model, case, torch.float64)
    image, text = torch.from_numpy(case["image"]).double(), torch.from_numpy(case["text"]).double()
    given = exported_logits(copy.deepcopy(model).double(), image, text)
    assert np.abs(given - truth).max() < 1e-4
    write(model, tmp_path)
    graph = np.abs(forward(tmp_path, without_prompts(case)) - truth).max()
    rounding = np.abs(exact(model, case, torch.float32) - truth).max()
    assert graph < 2 * rounding
    assert rounding > 5e-5, "else the graph could be asked to agree to less"


@torch.no_grad()
def test_a_network_as_deep_as_sat_pro_is_exported(tmp_path: Path) -> None:
    """Three convolutions a stage instead of two, and a projection wider than the queries."""
    torch.manual_seed(0)
    model = Sat(Sizes(3, (8, 8, 16, 16, 32, 32), 3, 24, 48, 12, 32, 2)).eval()
    write(model, tmp_path)
    rng = np.random.default_rng(0)
    case = {
        "image": rng.integers(0, 256, (1, 1, 64, 32, 32)).astype(np.float32),
        "text": rng.normal(size=(1, 3, 24)).astype(np.float32),
    }
    wanted = exact(model, case, torch.float32)
    assert verify.agreement_of(forward(tmp_path, without_prompts(case)), wanted).worst < CLOSE


def test_weights_are_stored_once_for_all_graphs(medal_s: Path, shared: Path) -> None:
    parameters = sum(p.numel() for p in network(shared, "medals").parameters())
    each = 2 if medal_s.name.startswith("fp16") else 4
    # The encoder's fusion is half of the other's, and both are there.
    assert (medal_s / "weights.bin").stat().st_size < 1.05 * each * parameters


@torch.no_grad()
def test_taking_the_mean_off_brings_bf16_twice_nearer(shared: Path) -> None:
    """Both in torch's own bf16: the network as published, and the form that is exported."""
    case = recorded(shared, "medals", "B")
    model = network(shared, "medals")
    wanted = case["logits_zero_prompt"]
    with torch.autocast("cpu", torch.bfloat16):
        published = MEDAL_S.logits(model, case["image"], case["text"][0], None)
        image, text = torch.from_numpy(case["image"]), torch.from_numpy(case["text"])
        exported = exported_logits(model, image, text)
    published = np.moveaxis(published, 1, -1)
    off = [float(np.sqrt(np.mean((x - wanted) ** 2))) for x in (published, exported)]
    assert off[1] < off[0] / 2

"""What `benchmarks.converted` compares: a network in torch, the graphs made of it, and inputs for both."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from benchmarks.converted_slices import slice_subjects
from benchmarks.converted_steps import Inputs, Step, Subject, fp16_of
from benchmarks.converted_texts import text_subjects
from benchmarks.converted_windows import window_subjects
from vesal.inference.data.terms import MODALITIES
from vesal.inference.planning.weights_folder import WEIGHTS
from vesal.networks.nano import Nano, widths_of
from vesal.weights.convert.graphs import fusion_of, save_graphs
from vesal.weights.convert.system import PROMPTED, StageNetwork, System
from vesal.weights.convert.systems import SYSTEMS
from vesal.weights.text.export import read_safetensors

WINDOW_DHW = (96, 128, 128)
"""Voxels of the window: a multiple of what every network asks for, and long enough to be timed."""
SEED = 4
SATURATED = 8.0
"""Logits are compared up to this size where a graph gives probabilities: fp32 has no digits for more."""
FIXTURES = {"medal-s": "medals", "sat": "sat"}
"""Folders with the reduced networks, of random weights, whose outputs the published code recorded."""
OTHERS: dict[str, Callable[[Any, Path], list[Subject]]] = {
    "biomedparse-v": slice_subjects,
    "segvol": window_subjects,
    "voxtell": text_subjects,
}
"""What there is to compare of systems that have no networks by stage."""
PLAIN_STEPS = {"encoder": ("image",), "embed": ("tokens", "positions", "text")}
PROMPTED_STEPS = {PROMPTED: ("image", "text", "prompt")}
"""Graphs by role in the order in which they are run for a window, and their inputs."""


def subjects(profile: str, shared: Path, window_dhw: tuple[int, int, int] = WINDOW_DHW) -> list[Subject]:
    """What there is to compare of a profile; ``shared`` holds the fixtures."""
    if profile not in SYSTEMS:
        return [_nano(degree, window_dhw) for degree in range(3)]
    system = SYSTEMS[profile]
    if not isinstance(system, System):
        return OTHERS[profile](system, shared / "fixtures" / system.name.replace("-", "_"))
    folder = shared / "fixtures" / FIXTURES[profile]
    tensors = read_safetensors((folder / "model_small.safetensors").read_bytes())
    names = system.network.our_names(tensors)
    state = {ours: tensors[theirs] for ours, theirs in names.items()}
    network = system.network.build({name: tuple(value.shape) for name, value in state.items()})
    network.load_state_dict(state)
    with np.load(folder / "forward_A.npz") as recorded:
        queries = recorded["queries"]
    ways = (False,) if fusion_of(network) is None else (False, True)
    return [_of_system(system, network.eval(), prompted, queries, window_dhw) for prompted in ways]


def _of_system(
    system: System,
    network: StageNetwork,
    prompted: bool,
    queries: np.ndarray,
    window_dhw: tuple[int, int, int],
) -> Subject:
    """A system's graphs without or with spatial prompts, for queries (N, E)."""
    image, boxes = made_window(len(queries), window_dhw)
    prompt = boxes if prompted else None

    def write(folder: Path) -> tuple[Step, ...]:
        steps = PROMPTED_STEPS if prompted else PLAIN_STEPS
        for as_fp16 in (False, True):
            graphs = system.graphs(network, folder / "traced")
            paths = [
                fp16_of(folder / f"{role}.onnx") if as_fp16 else folder / f"{role}.onnx" for role in steps
            ]
            named = {path.name: graphs[role] for path, role in zip(paths, steps, strict=True)}
            save_graphs(named, folder, f"weights{16 if as_fp16 else 32}.bin", as_fp16)
        return tuple(Step(folder / f"{role}.onnx", names) for role, names in steps.items())

    return Subject(
        what=f"reduced network, {PROMPTED if prompted else 'plain'}, {len(queries)} prompts",
        inputs={"image": image, "text": queries[None]} | ({} if prompt is None else {"prompt": prompt}),
        network=partial(system.run_of(network), image, queries, prompt),
        write=write,
        logits=lambda outputs: np.tensordot(outputs["masks"][0], outputs["features"][0], 1),
        exact=partial(_exact, system, network, image, queries, prompt),
        window=_told(window_dhw),
    )


def _told(window_dhw: tuple[int, int, int]) -> str:
    return f"a window of {' x '.join(map(str, window_dhw))} (D,H,W)"


def _exact(
    system: System, network: Any, image: np.ndarray, queries: np.ndarray, prompt: np.ndarray | None
) -> np.ndarray:
    """Logits (N, d, h, w) of a network, computed in float64 for arrays as ``RunNetwork`` takes them."""
    network = copy.deepcopy(network).double()
    for module in network.modules():
        if isinstance(module, nn.Conv3d):
            module.forward = partial(_in_slabs, module)  # type: ignore[method-assign]
    torch.set_default_dtype(torch.float64)
    try:
        wide = None if prompt is None else prompt.astype(np.float64)
        return system.logits(network, image.astype(np.float64), queries.astype(np.float64), wide)
    finally:
        torch.set_default_dtype(torch.float32)


def _in_slabs(conv: nn.Conv3d, x: Tensor, side: int = 8) -> Tensor:
    """A convolution of side 3 on (1, C, a, b, c), eight planes at a time: torch lays out 27 copies of what it
    convolves in float64, which a window of 192^3 voxels is too large for.
    """
    padded = nn.functional.pad(x, (0, 0, 0, 0, 1, 1))
    slabs = [padded[:, :, first : first + side + 2] for first in range(0, x.shape[2], side)]
    return torch.cat(
        [nn.functional.conv3d(s, conv.weight, conv.bias, conv.stride, (0, 1, 1)) for s in slabs], 2
    )


def _nano(degree: int, window_dhw: tuple[int, int, int]) -> Subject:
    """The shipped graph of one degree, and the network with the weights that stand in it."""
    path = WEIGHTS / "nano" / f"degree{degree}.onnx"
    stored = {i.name: onnx.numpy_helper.to_array(i) for i in _initializers(path)}
    state = {
        name.removeprefix("model.").removesuffix(".fp16"): torch.from_numpy(values.astype(np.float32))
        for name, values in stored.items()
    }
    network = Nano(widths_of(state))
    # Each degree's graph holds only what it uses.
    network.load_state_dict(state, strict=False)
    network.eval()
    image, boxes = made_window(3, window_dhw)
    with np.load(WEIGHTS / "nano" / "bank.npz") as bank:
        text = bank["vectors"][[list(bank["names"]).index(name) for name in ("liver", "spleen", "kidney")]]
    inputs = {
        "image": np.concatenate([image / 127.5 - 1, (image - image.mean()) / image.std()], 1),
        "prompt": boxes,
        "text": text[None].astype(np.float32),
        "side": np.array([[0, 0, 1]], np.int64),
        "modality": np.full((1, 3), MODALITIES.index("CT"), np.int64),
    }

    def run() -> np.ndarray:
        with torch.no_grad():
            logits, _ = network(*(torch.from_numpy(inputs[name]) for name in inputs), degree=degree)
        return logits[0].numpy()

    def logits(outputs: Inputs) -> np.ndarray:
        p = np.clip(outputs["probability"][0].astype(np.float64), 1e-7, 1 - 1e-7)
        return np.log(p / (1 - p)).astype(np.float32)

    steps = (Step(path, tuple(inputs)),)
    return Subject(
        f"degree {degree}, 3 prompts", inputs, run, lambda folder: steps, logits, _told(window_dhw)
    )


def _initializers(path: Path) -> list[onnx.TensorProto]:
    return list(onnx.load(str(path)).graph.initializer)


def made_window(prompts: int, window_dhw: tuple[int, int, int] = WINDOW_DHW) -> tuple[np.ndarray, np.ndarray]:
    """A smooth, noisy image (1, 1, d, h, w) of whole numbers 0..255, and boxes (1, N, d, h, w); seeded."""
    rng = np.random.default_rng(SEED)
    axes = np.meshgrid(*(np.linspace(0, 6, n, dtype=np.float32) for n in window_dhw), indexing="ij")
    image = sum(np.sin(axis * rng.uniform(1, 3)) for axis in axes) * 40 + 127
    image = np.clip(image + rng.normal(0, 10, window_dhw), 0, 255).astype(np.uint8).astype(np.float32)
    boxes = np.zeros((1, prompts, *window_dhw), np.float32)
    for box in boxes[0]:
        low = [int(rng.integers(0, n // 2)) for n in window_dhw]
        box[tuple(slice(a, a + n // 3) for a, n in zip(low, window_dhw, strict=True))] = 1
    return image[None, None], boxes

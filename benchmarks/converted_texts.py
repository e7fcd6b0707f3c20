"""What `benchmarks.converted` compares of VoxTell: one text in one window, in torch the plain way."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import torch

from benchmarks.converted_steps import Step, Subject, fp16_of
from vesal.networks.voxtell import VoxTell
from vesal.weights.convert.formats import open_weights
from vesal.weights.convert.graphs import save_graphs
from vesal.weights.convert.keymap import load
from vesal.weights.convert.published_folder import FolderSystem
from vesal.weights.convert.voxtell_graphs import PROMPT, TEXT, WINDOW, memory_names, voxtell_graphs
from vesal.weights.convert.voxtell_names import NETWORK

FIXTURES = {
    "A": "model/voxtell_v1.1/fold_0/checkpoint_final.pth",
    "B": "net/B_state_dict.safetensors",
}
"""Weights of the reduced networks, by the name of their inputs."""


def text_subjects(system: FolderSystem, folder: Path) -> list[Subject]:
    """What there is to compare, with the reduced networks of the fixtures in ``folder``."""
    return [_subject(name, folder) for name in FIXTURES]


def _subject(name: str, folder: Path) -> Subject:
    network = load(open_weights(folder / FIXTURES[name]), NETWORK)
    with np.load(folder / "net" / f"{name}_inputs.npz") as given:
        image, text = given["image"], given["text"][:, :1]
    d, h, w = image.shape[2:]

    def write(folder: Path) -> tuple[Step, ...]:
        steps = {TEXT: ("text",), WINDOW: ("image",), PROMPT: (*memory_names(network), "queries")}
        for as_fp16 in (False, True):
            graphs = voxtell_graphs(network, (d, h, w), folder / "traced")
            plain = {role: folder / f"{role}.onnx" for role in steps}
            paths = {role: fp16_of(path) if as_fp16 else path for role, path in plain.items()}
            named = {path.name: graphs[role] for role, path in paths.items()}
            save_graphs(named, folder, f"weights{16 if as_fp16 else 32}.bin", as_fp16)
        return tuple(Step(folder / f"{role}.onnx", names) for role, names in steps.items())

    shape = f"{d} x {h} x {w}"
    return Subject(
        what=f"reduced network {name}, {shape}, 1 prompt",
        inputs={"image": image, "text": text},
        network=partial(_plain, network, image, text),
        write=write,
        logits=lambda outputs: outputs["logits"],
        window="the windows of the rows (D,H,W)",
    )


@torch.no_grad()
def _plain(network: VoxTell, image: np.ndarray, text: np.ndarray) -> np.ndarray:
    logits: np.ndarray = network(torch.from_numpy(image), torch.from_numpy(text))[0].numpy()
    return logits

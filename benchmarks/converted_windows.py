"""What `benchmarks.converted` compares of a network of windows with spatial prompts.

In torch it is run the plain way, the window encoded again for each prompt, as released; as graphs it is
encoded once.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import torch

from benchmarks.converted_steps import Step, Subject, fp16_of
from vesal.networks.segvol import SegVol
from vesal.weights.convert.formats import open_weights
from vesal.weights.convert.graphs import save_graphs
from vesal.weights.convert.keymap import load
from vesal.weights.convert.one_file import OneFileSystem
from vesal.weights.convert.segvol_graphs import DecoderGraph, ImageGraph
from vesal.weights.convert.segvol_verify import WindowCase, network_outputs, synthetic_case

PROMPTS = 3
WAYS = {"text": "texts", "all": "texts with boxes and points"}
"""Kinds of prompts of a ``WindowCase``, and what a table calls them."""
INPUTS = {"image": ImageGraph.inputs, "decoder": DecoderGraph.inputs}


def window_subjects(system: OneFileSystem, folder: Path) -> list[Subject]:
    """What there is to compare, with the reduced network of the fixtures in ``folder``."""
    network = load(open_weights(folder / "net_weights.safetensors"), system.network)
    case = synthetic_case(network, PROMPTS)
    return [_subject(system, network, case, way) for way in WAYS]


@torch.no_grad()
def _subject(system: OneFileSystem, network: SegVol, case: WindowCase, way: str) -> Subject:
    text = network.encode_text(torch.from_numpy(case.ids)).numpy()
    given = {"image": case.image, "text": text, "with_text": np.ones(PROMPTS, np.float32), **case.asked[way]}

    def write(folder: Path) -> tuple[Step, ...]:
        for as_fp16 in (False, True):
            graphs = system.graphs(network, folder / "traced")
            plain = {role: folder / f"{role}.onnx" for role in INPUTS}
            paths = {role: fp16_of(path) if as_fp16 else path for role, path in plain.items()}
            named = {path.name: graphs[role] for role, path in paths.items()}
            save_graphs(named, folder, f"weights{16 if as_fp16 else 32}.bin", as_fp16)
        return tuple(Step(folder / f"{role}.onnx", names) for role, names in INPUTS.items())

    return Subject(
        what=f"reduced network, {WAYS[way]}, {PROMPTS} prompts",
        inputs=given,
        network=partial(_plain, network, case, way),
        write=write,
        logits=lambda outputs: outputs["logits"],
        window=f"a window of {' x '.join(map(str, network.sizes.image.window_dhw))} (D,H,W)",
    )


def _plain(network: SegVol, case: WindowCase, way: str) -> np.ndarray:
    """Logits (N, d, h, w) as released: window and text are encoded for each prompt."""
    found = []
    for number in range(len(case.ids)):
        only = slice(number, number + 1)
        asked = {way: {name: array[only] for name, array in case.asked[way].items()}}
        found.append(network_outputs(network, WindowCase(case.image, case.ids[only], asked))[way])
    return np.concatenate(found)

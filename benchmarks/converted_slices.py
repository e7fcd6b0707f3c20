"""What `benchmarks.converted` compares of a network of slices.

In torch it is run the plain way, each prompt with an image of its own, as released; as graphs the image is
encoded once a slice.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import torch

from benchmarks.converted_steps import Step, Subject, fp16_of
from vesal.networks.biomedparse_v import BiomedParseV, pad_tokens
from vesal.networks.boltzformer import Masking, sampled_by
from vesal.weights.convert.biomedparse_graphs import memory_names
from vesal.weights.convert.formats import open_weights
from vesal.weights.convert.graphs import save_graphs
from vesal.weights.convert.keymap import load
from vesal.weights.convert.one_file import OneFileSystem
from vesal.weights.convert.slice_verify import FULL, FULL_ROLE, GIVEN, SliceCase, synthetic_case

SIDE, SLICES, PROMPTS = 256, 2, 3
WAYS = {FULL: FULL_ROLE, GIVEN: "decoder"}
"""Graph of the decoder for each way to attend. Masks are given: rounding turns what is drawn."""


def slice_subjects(system: OneFileSystem, folder: Path) -> list[Subject]:
    """What there is to compare, with the reduced network of the fixtures in ``folder``."""
    network = load(open_weights(folder / "net_weights.safetensors"), system.network)
    case = synthetic_case(network, SIDE, SLICES, PROMPTS)
    return [_subject(system, network, case, way) for way in WAYS]


@torch.no_grad()
def _subject(system: OneFileSystem, network: BiomedParseV, case: SliceCase, way: str) -> Subject:
    tokens = pad_tokens(network.encode_text(torch.from_numpy(case.ids)), torch.from_numpy(case.lengths))
    memory, draws = memory_names(network), case.draws.get(way, {})
    used = [name for name in memory if draws or not name.startswith("features_")]
    inputs = {"image": ("image",), WAYS[way]: (*used, "tokens", *draws)}

    def write(folder: Path) -> tuple[Step, ...]:
        for as_fp16 in (False, True):
            graphs = system.graphs(network, folder / "traced")
            plain = {role: folder / f"{role}.onnx" for role in inputs}
            paths = {role: fp16_of(path) if as_fp16 else path for role, path in plain.items()}
            named = {path.name: graphs[role] for role, path in paths.items()}
            save_graphs(named, folder, f"weights{16 if as_fp16 else 32}.bin", as_fp16)
        return tuple(Step(folder / f"{role}.onnx", names) for role, names in inputs.items())

    return Subject(
        what=f"reduced network, {way}, {PROMPTS} prompts",
        inputs={"image": case.image, "tokens": tokens.numpy(), **draws},
        network=partial(_plain, network, case, tokens, way),
        write=write,
        logits=lambda outputs: outputs["mask"],
        window=f"{SLICES} slices of {SIDE} x {SIDE}",
    )


@torch.no_grad()
def _plain(network: BiomedParseV, case: SliceCase, tokens: torch.Tensor, way: str) -> np.ndarray:
    """Mask logits (P, S, h, w) as released: S * P images of one prompt each."""
    masks = network(torch.from_numpy(case.image), tokens, _masking(case, way)).masks
    found: np.ndarray = masks.transpose(0, 1).numpy()
    return found


def _masking(case: SliceCase, way: str) -> Masking | None:
    draws = case.draws.get(way)
    if draws is None:
        return None
    ordered = [torch.from_numpy(draws[f"draws_{layer}"]) for layer in range(len(draws))]
    return sampled_by([one.transpose(0, 1).flatten(0, 1) for one in ordered])

"""The reduced BiomedParse-V of the fixtures, and the published list of its full size."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vesal.networks.biomedparse_v import BiomedParseV, biomedparse_sizes_of
from vesal.weights.text.export import read_safetensors

FOLDER = "fixtures/biomedparse_v"
HEADS, LAYERS, PROMPTS = 4, 9, 3
NOISE = 1e-5
"""Largest difference of what was recorded, as a share of its range: the recorded network in fp32 is up to
8e-6 of a range of 4 away from itself in float64."""


def read_weights(shared: Path, prefix: str) -> dict[str, Tensor]:
    """Tensors below ``prefix``, named without it."""
    tensors = read_safetensors((shared / FOLDER / "net_weights.safetensors").read_bytes())
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def recorded_network(shared: Path) -> BiomedParseV:
    """The recorded network with its weights."""
    tensors = read_weights(shared, "")
    network = BiomedParseV(biomedparse_sizes_of(shapes_of(tensors), heads=HEADS))
    network.load_state_dict(tensors)
    return network.eval()


def read_recorded(shared: Path, *names: str) -> dict[str, np.ndarray]:
    """Arrays of slices 0 and 1, as recorded."""
    with np.load(shared / FOLDER / "net_io.npz") as stored:
        return {name: stored[f"boltz_b0_{name}"] for name in names}


def read_shapes(shared: Path, prefix: str) -> dict[str, tuple[int, ...]]:
    """Shapes of the published tensors below ``prefix``, named without it."""
    found = {}
    for line in (shared / "reference/biomedparse_v_state_dict.txt").read_text().splitlines():
        if line.startswith(prefix) and "\t" in line:
            name, shape, _ = line.split("\t")
            found[name.removeprefix(prefix)] = tuple(int(n) for n in shape.strip("(),").split(",") if n)
    return found


def shapes_of(tensors: dict[str, Tensor]) -> dict[str, tuple[int, ...]]:
    """Shape of each tensor."""
    return {name: tuple(value.shape) for name, value in tensors.items()}


def assert_recorded(ours: Tensor, recorded: np.ndarray) -> None:
    """Equal within the noise of what was recorded."""
    assert tuple(ours.shape) == recorded.shape
    assert np.abs(ours.numpy() - recorded).max() <= NOISE * np.ptp(recorded)


def recorded_text(stored: dict[str, np.ndarray], prompts: list[int]) -> tuple[Tensor, Tensor]:
    """Token ids (P, 77) of some of the recorded prompts, and how many of them are no padding (P,)."""
    ids, mask = (torch.from_numpy(stored[name])[prompts] for name in ("input_ids", "attention_mask"))
    return ids, mask.sum(1)


def recorded_masks(stored: dict[str, np.ndarray], batch: int, form: str) -> list[Tensor]:
    """What each layer did not see in a batch of slices, for the plain or the shared form."""
    found = []
    for layer in range(LAYERS):
        key = f"boltz_b{batch}_attnmask{layer}"
        shape = stored[f"{key}_shape"]
        bits = np.unpackbits(stored[f"{key}_packed"])[: np.prod(shape)]
        found.append(in_form(torch.from_numpy(bits.reshape(shape).astype(bool)), form))
    return found


def recorded_draws(stored: dict[str, np.ndarray], form: str) -> list[Tensor]:
    """Uniform numbers of each layer for slices 0 and 1."""
    return [in_form(torch.from_numpy(stored[f"boltz_b0_rand{layer}"]), form) for layer in range(LAYERS)]


def in_form(recorded: Tensor, form: str) -> Tensor:
    """(slices * prompts * heads, Q, HW) for slices of one prompt each, or for prompts that share a slice."""
    apart = recorded.unflatten(0, (-1, HEADS))
    if form == "plain":
        return apart
    return apart.unflatten(0, (-1, PROMPTS)).transpose(1, 2).flatten(2, 3)

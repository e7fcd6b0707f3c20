"""The reduced VoxTells of the fixtures, and what was recorded of them."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.conftest import SHARED
from vesal.networks.voxtell import VoxTell, voxtell_sizes_of
from vesal.weights.convert.formats import open_weights

FOLDER = "fixtures/voxtell"
LIMIT = 1e-4
"""Largest difference in fp32, as a share of the recorded range."""
TWICE = (".all_modules.", "decoder.encoder.")
NEVER_RUN = (".self_attn.", ".norm1.", "seg_layers.")


def is_used(name: str) -> bool:
    """Whether a stored tensor is part of the network that is run."""
    return not any(part in name for part in (*TWICE, *NEVER_RUN))


def read_network(path: Path) -> VoxTell:
    """The network of a stored state dict."""
    file = open_weights(path)
    tensors = {name: torch.from_numpy(file.read(name)) for name in file.shapes if is_used(name)}
    network = VoxTell(voxtell_sizes_of({name: tuple(value.shape) for name, value in tensors.items()}))
    network.load_state_dict(tensors)
    return network.eval()


class Recorded:
    """One reduced network, its input, and what was recorded for the first prompts."""

    def __init__(self, shared: Path, name: str, weights: str, prompts: int) -> None:
        folder = shared / FOLDER
        self.network = read_network(folder / weights)
        given = np.load(folder / f"net/{name}_inputs.npz")
        self.image = torch.from_numpy(given["image"])
        self.text = torch.from_numpy(given["text"][:, :prompts])
        self.stored: Mapping[str, np.ndarray] = np.load(folder / f"net/{name}_outputs_n{prompts}.npz")
        about: dict[str, Any] = json.loads((folder / f"net/{name}_meta.json").read_text())
        self.about = about["stored"][f"n{prompts}"]
        self.checked: set[str] = set()

    def check(self, name: str, found: Tensor) -> None:
        """Compare with what is stored of a tensor, and its sums over all of it."""
        stored, about = self.stored[name], self.about[name]
        self.checked.add(name)
        assert list(found.shape) == about["shape"], name
        step = about["step"]
        seen = found.numpy()
        if step > 1:
            seen = seen[..., ::step, ::step, ::step]
        assert np.abs(seen - stored).max() <= LIMIT * np.ptp(stored), name
        numbers = found.double()
        assert float((numbers**2).sum()) == pytest.approx(about["sum_of_squares"], rel=LIMIT), name
        assert float(numbers.sum()) == pytest.approx(about["sum"], abs=LIMIT * float(numbers.abs().sum())), (
            name
        )


def is_kept_back(shared: Path, name: str, prompts: int) -> bool:
    """Whether the fixtures are there without what was recorded of so many prompts."""
    folder = shared / FOLDER / "net"
    return folder.is_dir() and not (folder / f"{name}_outputs_n{prompts}.npz").is_file()


WEIGHTS = {"A": "model/voxtell_v1.1/fold_0/checkpoint_final.pth", "B": "net/B_state_dict.safetensors"}
# The last one has more recorded than those of fewer prompts: what does not hang on prompts.
NETWORKS = [
    (name, weights, prompts)
    for name, weights in WEIGHTS.items()
    for prompts in (1, 2, 5)
    if not is_kept_back(SHARED, name, prompts)
]

"""The recorded layers and the reduced SPAD-ViT of the fixtures, and the published list of its full size."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vesal.networks.spad_vit import SpadVit, spad_vit_sizes_of
from vesal.weights.text.export import read_safetensors

FOLDER = "fixtures/spad"


@cache
def read_recorded(shared: Path) -> dict[str, Tensor]:
    """All arrays in float32, as recorded; some may be kept back."""
    with np.load(shared / FOLDER / "spad.npz") as stored:
        return {name: torch.from_numpy(stored[name]).float() for name in stored.files}


@cache
def read_meta(shared: Path) -> dict[str, Any]:
    """``meta`` by key, and the rest as it is."""
    content = json.loads((shared / FOLDER / "meta.json").read_text())
    return content | {"meta": {entry["key"]: entry for entry in content["meta"]}}


def recorded_cases(shared: Path, prefix: str) -> list[dict[str, Any]]:
    """What ``meta.json`` says of every case whose output was recorded, by the beginning of its name."""
    recorded, meta = read_recorded(shared), read_meta(shared)["meta"]
    names = [name.removesuffix("_out") for name in recorded if name.startswith(prefix)]
    return [meta[name] for name in names if name in meta and f"{name}_out" in recorded]


def vit_weights(shared: Path) -> dict[str, Tensor]:
    """Tensors of the reduced backbone by the published names."""
    return read_safetensors((shared / FOLDER / "vit_weights.safetensors").read_bytes())


def recorded_vit(shared: Path) -> SpadVit:
    """The reduced backbone with its weights."""
    tensors = vit_weights(shared)
    network = SpadVit(spad_vit_sizes_of({name: tuple(value.shape) for name, value in tensors.items()}))
    network.load_state_dict(tensors)
    return network.eval()


def published_shapes(shared: Path) -> dict[str, tuple[int, ...]]:
    """Shapes of all tensors of the published backbone by their names."""
    found = {}
    for line in (shared / "reference/spad_vit_b_state_dict.txt").read_text().splitlines():
        if not line.startswith("#"):
            name, shape = line.split("\t")
            found[name] = tuple(int(n) for n in shape.strip("(),").split(",") if n)
    return found

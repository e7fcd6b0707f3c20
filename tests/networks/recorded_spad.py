"""The recorded layers and the reduced SPAD-ViT of the fixtures, and the published list of its full size."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

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

"""Weights of the family ``closed``: a graph with a known answer, three classes of which one is background."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper

from tests.samples.biomedparse_weights import save_graph
from tests.samples.slice_weights import save_manifest, targets

LEVELS = {"liver": 200, "spleen": 120}
"""Grey level, 0..255, that a class is found at."""
WIDTH, STEEP = 0.1, 40.0
"""How far from its level, 0..1, a class is as probable as the background, and logits for each grey level."""
SIDES = (8, 16, 16)
"""What sides of a window are multiples of."""


def write_graph(path: Path, channels: int) -> None:
    """Softmax of 0 for the background and 40 (0.1 - |grey - level|); grey is the mean of the channels."""
    nodes = [
        helper.make_node("ReduceMean", ["image"], ["mean"], axes=[1], keepdims=1),
        helper.make_node("Mul", ["mean", "half"], ["halved"]),
        helper.make_node("Add", ["halved", "half"], ["grey"]),
        helper.make_node("Sub", ["grey", "levels"], ["difference"]),  # (1, 2, d, h, w)
        helper.make_node("Abs", ["difference"], ["far"]),
        helper.make_node("Sub", ["width", "far"], ["near"]),
        helper.make_node("Mul", ["near", "steep"], ["found"]),
        helper.make_node("Mul", ["grey", "nothing"], ["background"]),
        helper.make_node("Concat", ["background", "found"], ["logits"], axis=1),
        helper.make_node("Softmax", ["logits"], ["probability"], axis=1),
    ]
    constants = {
        "half": np.float32(0.5),
        "levels": (np.array([*LEVELS.values()], np.float32) / 255).reshape(1, -1, 1, 1, 1),
        "width": np.float32(WIDTH),
        "steep": np.float32(STEEP),
        "nothing": np.float32(0),
    }
    shape: list[str | int] = [1, channels, "d", "h", "w"]
    inputs = {"image": (TensorProto.FLOAT, shape)}
    save_graph(path, nodes, inputs, {"probability": [1, 3, "d", "h", "w"]}, constants)


def write_closed_weights(folder: Path, channels: int = 1, **changes: Any) -> Path:
    """A complete folder; the network shows CT from -160 to 240 HU, as the challenge does."""
    folder.mkdir(parents=True, exist_ok=True)
    write_graph(folder / "network.onnx", channels)
    layout = {"kind": "window", "window_dhw": [16, 32, 32], "spacing_dhw_mm": [2.0, 1.0, 1.0]}
    stage = {"name": "whole", "role": "locate", "window_voxels": 2**14, "max_windows": 64, "layout": layout}
    fields = {
        "name": "sample-closed",
        "family": "closed",
        "graphs": {"network": "network.onnx"},
        "classes": [{"concept": concept} for concept in LEVELS],
        "intensity": {"kind": "window", "low_hu": -160, "high_hu": 240},
        "network": {"channels": channels, "multiple_dhw": SIDES},
        "stages": [stage],
        "targets": targets(*LEVELS),
    }
    return save_manifest(folder, ["network.onnx"], **(fields | changes))

"""Weights of the sample family with boxes: two graphs with a known answer, and their manifest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from onnx import helper

from tests.samples.slice_weights import save_graph, save_manifest, targets

VOLUME: list[str | int] = [1, 1, "d", "h", "w"]


def write_box_weights(folder: Path, **changes: Any) -> Path:
    """Logits are 10 (0.6 - distance to the level) on a copy of the image."""
    folder.mkdir(parents=True, exist_ok=True)
    encoder = [helper.make_node("Identity", ["image"], ["features"])]
    save_graph(folder / "encoder.onnx", encoder, {"image": VOLUME}, {"features": VOLUME}, {})
    decoder = [
        helper.make_node("Reshape", ["level", "shape"], ["levels"]),
        helper.make_node("Sub", ["features", "levels"], ["difference"]),
        helper.make_node("Abs", ["difference"], ["distance"]),
        helper.make_node("Sub", ["half", "distance"], ["likeness"]),
        helper.make_node("Mul", ["likeness", "ten"], ["logits"]),
    ]
    constants = {
        "shape": np.array([1, -1, 1, 1, 1], np.int64),
        "half": np.float32(0.6),
        "ten": np.float32(10),
    }
    logits: dict[str, list[str | int]] = {"logits": [1, "N", "d", "h", "w"]}
    inputs: dict[str, list[str | int]] = {"features": VOLUME, "level": ["N"]}
    save_graph(folder / "decoder.onnx", decoder, inputs, logits, constants)
    side = [32, 32, 32]
    stages = [
        {
            "name": "zoom-out",
            "role": "locate",
            "window_voxels": 32**3,
            "layout": {"kind": "stretch", "shape_dhw": side},
        },
        {
            "name": "zoom-in",
            "role": "refine",
            "window_voxels": 32**3,
            "max_windows": 64,
            "margin_factor": 1.2,
            "layout": {"kind": "window", "window_dhw": side},
        },
    ]
    fields = {
        "name": "sample-boxes",
        "family": "sample-boxes",
        "graphs": {"encoder": "encoder.onnx", "decoder": "decoder.onnx"},
        "levels": {"liver": 4.7, "spleen": 2.5},
        "stages": stages,
        "targets": targets("liver", "spleen"),
    }
    return save_manifest(folder, ["encoder.onnx", "decoder.onnx"], **(fields | changes))

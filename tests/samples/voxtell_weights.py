"""Weights of the family ``voxtell``: graphs with a known answer, and a bank of few labels.

The window is handed on as it is. A text embedding is (steepness, level, side): logits are steepness times
what the normalised number is above the level, plus the side times the place along w, from -1 to 1, where that
is negative.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper

from tests.samples.biomedparse_weights import save_graph
from tests.samples.slice_weights import save_manifest
from vesal.inference.prompts.text_bank import TextBank, write_text_bank

WINDOW = (16, 32, 32)
LABELS = {
    "liver": (4.0, 1.0, 0.0),
    "spleen": (-4.0, -0.2, 0.0),
    "lesion": (8.0, 1.5, 0.0),
    "left kidney": (4.0, 1.0, -1000.0),
    "right kidney": (4.0, 1.0, 1000.0),
}
"""Embeddings: what is bright, what is dark, what is very bright, and what is bright on one side."""


def write_voxtell_weights(folder: Path, window: tuple[int, int, int] = WINDOW, **changes: Any) -> Path:
    """A complete folder; ``changes`` are fields of the manifest."""
    folder.mkdir(parents=True, exist_ok=True)
    d, h, w = window
    image: dict[str, tuple[int, list[str | int]]] = {"image": (TensorProto.FLOAT, [1, 1, d, h, w])}
    handed = {"coarsest": [1, 1, d, h, w]}
    save_graph(
        folder / "window.onnx", [helper.make_node("Identity", ["image"], ["coarsest"])], image, handed, {}
    )
    text = {"text": (TensorProto.FLOAT, [1, "prompts", 3])}
    save_graph(
        folder / "text.onnx",
        [helper.make_node("Identity", ["text"], ["queries"])],
        text,
        {"queries": [1, "prompts", 3]},
        {},
    )
    _write_prompt(folder / "prompt.onnx", window)
    vectors = np.array(list(LABELS.values()), np.float16)
    write_text_bank(folder / "bank.npz", TextBank(tuple(LABELS), vectors))
    graphs = {name: f"{name}.onnx" for name in ("window", "text", "prompt")}
    stage = {
        "name": "whole",
        "role": "locate",
        "window_voxels": math.prod(window),
        "max_windows": 4096,
        "overlap": 0.5,
        "layout": {"kind": "window", "window_dhw": window},
    }
    fields = {
        "name": "sample-voxtell",
        "family": "voxtell",
        "graphs": graphs,
        "bank": "bank.npz",
        "network": {"window_dhw": window, "text": 3},
        "stages": [stage],
        "targets": [],
        "hybrid": "off",
    }
    return save_manifest(folder, [*graphs.values(), "bank.npz"], **(fields | changes))


def _write_prompt(path: Path, window: tuple[int, int, int]) -> None:
    """logits = steepness (number - level) + side place."""
    d, h, w = window
    nodes = [helper.make_node("Reshape", ["queries", "all"], ["query"])]
    for number, name in enumerate(("steepness", "level", "side")):
        nodes.append(helper.make_node("Gather", ["query", f"at_{number}"], [name]))
    nodes += [
        helper.make_node("Squeeze", ["coarsest", "one"], ["numbers"]),
        helper.make_node("Sub", ["numbers", "level"], ["above"]),
        helper.make_node("Mul", ["above", "steepness"], ["found"]),
        helper.make_node("Mul", ["place", "side"], ["sided"]),
        helper.make_node("Min", ["sided", "nothing"], ["cut"]),
        helper.make_node("Add", ["found", "cut"], ["logits"]),
    ]
    constants = {
        "all": np.array([-1], np.int64),
        "one": np.array([1], np.int64),
        "nothing": np.float32(0),
        **{f"at_{number}": np.array(number, np.int64) for number in range(3)},
        "place": np.linspace(-1, 1, w, dtype=np.float32).reshape(1, 1, 1, w),
    }
    inputs: dict[str, tuple[int, list[str | int]]] = {
        "coarsest": (TensorProto.FLOAT, [1, 1, d, h, w]),
        "queries": (TensorProto.FLOAT, [1, 1, 3]),
    }
    save_graph(path, nodes, inputs, {"logits": [1, d, h, w]}, constants)

"""Weights of the family ``spad``: five graphs with a known answer, one for each degree of anisotropy.

A graph finds what is as bright as a target's text vector says, within a spatial prompt where there is one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper

from tests.samples.biomedparse_weights import save_graph
from tests.samples.slice_weights import save_manifest, targets

LEVELS = {"liver": 200, "spleen": 120}
"""Grey level, 0..255, that a target is found at."""
WIDTH = 0.2
"""How far beside its level, 0..1, a thing is not found any more."""
RATIOS = (2.0, 4.0, 8.0, 16.0)
"""Of thick to thin spacing, from which on each degree holds."""


def write_graph(path: Path) -> None:
    """probability = 1 - |grey - level| / 0.2; presence is its largest in a slice."""
    nodes = [
        helper.make_node("Slice", ["image", "from", "to", "to"], ["raw"]),  # (1, 1, D, H, W)
        helper.make_node("Mul", ["raw", "half"], ["halved"]),
        helper.make_node("Add", ["halved", "half"], ["grey"]),
        helper.make_node("Reshape", ["text", "column"], ["levels"]),  # (1, N, 1, 1, 1)
        helper.make_node("Sub", ["grey", "levels"], ["difference"]),
        helper.make_node("Abs", ["difference"], ["far"]),
        helper.make_node("Div", ["far", "width"], ["share"]),
        helper.make_node("Sub", ["unit", "share"], ["near"]),
        helper.make_node("Clip", ["near", "nothing", "unit"], ["likeness"]),
        # Each input has a part in it, as in the real graphs: a runtime would not take others.
        helper.make_node("Add", ["side", "modality"], ["codes"]),
        helper.make_node("Cast", ["codes"], ["numbers"], to=TensorProto.FLOAT),
        helper.make_node("Reshape", ["numbers", "column"], ["each"]),
        helper.make_node("Add", ["prompt", "each"], ["told"]),
        helper.make_node("Mul", ["told", "nothing"], ["silent"]),
        helper.make_node("Add", ["likeness", "silent"], ["probability"]),
        helper.make_node("ReduceMax", ["probability"], ["presence"], axes=[3, 4], keepdims=0),
    ]
    constants = {
        "from": np.array([0], np.int64),
        "to": np.array([1], np.int64),
        "half": np.float32(0.5),
        "column": np.array([1, -1, 1, 1, 1], np.int64),
        "width": np.float32(WIDTH),
        "unit": np.float32(1),
        "nothing": np.float32(0),
    }
    inputs: dict[str, tuple[int, list[str | int]]] = {
        "image": (TensorProto.FLOAT, [1, 2, "D", "H", "W"]),
        "prompt": (TensorProto.FLOAT, [1, "N", "D", "H", "W"]),
        "text": (TensorProto.FLOAT, [1, "N", 1]),
        "side": (TensorProto.INT64, [1, "N"]),
        "modality": (TensorProto.INT64, [1, "N"]),
    }
    outputs: dict[str, list[str | int]] = {
        "probability": [1, "N", "D", "H", "W"],
        "presence": [1, "N", "D"],
    }
    save_graph(path, nodes, inputs, outputs, constants)


def write_spad_weights(folder: Path, **changes: Any) -> Path:
    """A complete folder with both stages."""
    folder.mkdir(parents=True, exist_ok=True)
    graphs = {str(degree): f"degree{degree}.onnx" for degree in range(5)}
    for name in graphs.values():
        write_graph(folder / name)
    vectors = np.array([[level / 255] for level in LEVELS.values()], np.float16)
    np.savez(folder / "bank.npz", names=np.array(list(LEVELS)), vectors=vectors)
    stage = {"window_voxels": 32**3, "layout": {"kind": "fit", "degree_ratios": RATIOS}}
    fields = {
        "name": "sample-spad",
        "family": "spad",
        "graphs": graphs,
        "bank": "bank.npz",
        "stages": [
            {"name": "coarse", "role": "locate", **stage},
            {"name": "fine", "role": "refine", **stage},
        ],
        "targets": targets(*LEVELS),
    }
    return save_manifest(folder, [*graphs.values(), "bank.npz"], **(fields | changes))

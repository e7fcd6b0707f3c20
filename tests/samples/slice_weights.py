"""Weights of the sample family of slices: a graph with a known answer, and its manifest."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

FLOAT = TensorProto.FLOAT
OPSET = 17


def save_graph(
    path: Path,
    nodes: list[onnx.NodeProto],
    inputs: dict[str, list[str | int]],
    outputs: dict[str, list[str | int]],
    constants: dict[str, np.ndarray],
) -> None:
    """Write an ONNX graph of some nodes; shapes by name, with names for free axes."""
    graph = helper.make_graph(
        nodes,
        "sample",
        [helper.make_tensor_value_info(name, FLOAT, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(name, FLOAT, shape) for name, shape in outputs.items()],
        [numpy_helper.from_array(values, name) for name, values in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))


def save_manifest(folder: Path, files: list[str], **fields: Any) -> Path:
    """Write the manifest of a folder whose files are there; ``fields`` are the family's and the stages."""
    digests = {f: {"sha256": hashlib.sha256((folder / f).read_bytes()).hexdigest()} for f in files}
    common = {"licence": "none", "files": digests, "hybrid": "off"}
    (folder / "manifest.json").write_text(json.dumps(common | fields), encoding="utf-8")
    return folder


def targets(*concepts: str) -> list[dict[str, Any]]:
    """Concepts in CT, of one side."""
    return [{"concept": concept, "side": None, "modality": "CT"} for concept in concepts]


def write_slice_weights(folder: Path, **changes: Any) -> Path:
    """A weighted mean of three slices is 1 at a target's level, and 0 from 0.2 beside it on."""
    folder.mkdir(parents=True, exist_ok=True)
    nodes = [
        helper.make_node("Conv", ["slices", "kernel"], ["mean"]),  # (S, 1, h, w)
        helper.make_node("Reshape", ["level", "shape"], ["levels"]),  # (1, N, 1, 1)
        helper.make_node("Sub", ["mean", "levels"], ["difference"]),
        helper.make_node("Abs", ["difference"], ["distance"]),
        helper.make_node("Div", ["distance", "width"], ["share"]),
        helper.make_node("Sub", ["one", "share"], ["likeness"]),
        helper.make_node("Clip", ["likeness", "zero", "one"], ["probability"]),
        helper.make_node("ReduceMax", ["probability"], ["presence"], axes=[2, 3], keepdims=0),
    ]
    constants = {
        "kernel": np.array([0.1, 0.8, 0.1], np.float32).reshape(1, 3, 1, 1),
        "shape": np.array([1, -1, 1, 1], np.int64),
        "width": np.float32(0.2),
        "zero": np.float32(0),
        "one": np.float32(1),
    }
    wanted: dict[str, list[str | int]] = {"probability": ["S", "N", "h", "w"], "presence": ["S", "N"]}
    inputs: dict[str, list[str | int]] = {"slices": ["S", 3, "h", "w"], "level": ["N"]}
    save_graph(folder / "network.onnx", nodes, inputs, wanted, constants)
    layout = {"kind": "slices", "run": 4, "context": 1}
    stages = [
        {
            "name": "every-slice",
            "role": "locate",
            "window_voxels": 10**6,
            "max_windows": 1000,
            "layout": layout,
        }
    ]
    fields = {
        "name": "sample-slices",
        "family": "sample-slices",
        "graphs": {"network": "network.onnx"},
        "levels": {"liver": 200 / 255, "spleen": 120 / 255},
        "stages": stages,
        "postprocess": [{"rule": "presence", "threshold": 0.3}],
        "targets": targets("liver", "spleen"),
    }
    return save_manifest(folder, ["network.onnx"], **(fields | changes))

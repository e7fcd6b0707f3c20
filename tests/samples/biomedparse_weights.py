"""Weights of the family ``biomedparse-v``: graphs with a known answer, a tokenizer of few words, a manifest.

The image graph hands the slice itself on. The decoder finds what is near a brightness that a sentence's words
add up to; presence is how far the brightest match is above nothing. Draws add nothing to it but their mean,
so that what is drawn can be seen in the result where a test asks for it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.samples.slice_weights import save_manifest

WORDS = {"liver": 200, "spleen": 120, "left": 1, "kidney": 160, "in": 0, "ct": 0, "dark": 20}
"""Brightness that a word stands for."""
FIRST, LAST = "<|startoftext|>", "<|endoftext|>"
LAYERS, HEADS, QUERIES, SIDE = 3, 2, 16, 64
"""Of the network."""


def save_graph(
    path: Path,
    nodes: list[onnx.NodeProto],
    inputs: dict[str, tuple[int, list[str | int]]],
    outputs: dict[str, list[str | int]],
    constants: dict[str, np.ndarray],
) -> None:
    """Write an ONNX graph; inputs by name with their type."""
    graph = helper.make_graph(
        nodes,
        "sample",
        [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in inputs.items()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()],
        [numpy_helper.from_array(values, name) for name, values in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))


def write_tokenizer(path: Path) -> None:
    """One token a word."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

    names = [*WORDS, "[UNK]", FIRST, LAST]
    tokenizer = Tokenizer(models.WordLevel({name: n for n, name in enumerate(names)}, "[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.save(str(path))


def write_text(path: Path) -> None:
    """Each token's brightness, 0 for marks and unknown words; a second channel that is 1 for every token."""
    table = np.array([[*WORDS.values(), 0, 0, 0], [1] * (len(WORDS) + 3)], np.float32).T
    nodes = [helper.make_node("Gather", ["table", "input_ids"], ["tokens"])]
    inputs = {"input_ids": (TensorProto.INT64, ["P", 77])}
    save_graph(path, nodes, inputs, {"tokens": ["P", 77, 2]}, {"table": table})


def write_image(path: Path) -> None:
    """The channels at a quarter of the size, a tenth of each neighbour; keys only tell their number."""
    nodes = [
        helper.make_node("Conv", ["image", "kernel"], ["mask_features"], strides=[4, 4]),
        *(
            helper.make_node("AveragePool", ["mask_features"], [f"features_{level}"], **_pool(8 >> level))
            for level in range(3)
        ),
    ]
    for layer in range(LAYERS):
        source = f"features_{layer % 3}"
        nodes += [
            helper.make_node("Reshape", [source, "flat"], [f"value_{layer}"]),
            helper.make_node("Identity", [f"value_{layer}"], [f"key_{layer}"]),
        ]
    kernel = np.zeros((1, 3, 4, 4), np.float32)
    kernel[0, :] = np.array([0.8, 0.1, 0.1], np.float32)[:, None, None] / 16
    outputs: dict[str, list[str | int]] = {"mask_features": ["S", 1, "h", "w"]}
    outputs |= {f"features_{level}": ["S", 1, f"h{level}", f"w{level}"] for level in range(3)}
    for layer in range(LAYERS):
        outputs |= {f"{kind}_{layer}": ["S", f"t{layer}", 1] for kind in ("key", "value")}
    constants = {"kernel": kernel, "flat": np.array([0, -1, 1], np.int64)}
    inputs = {"image": (TensorProto.FLOAT, ["S", 3, "H", "W"])}
    save_graph(path, nodes, inputs, outputs, constants)


def _pool(size: int) -> dict[str, list[int]]:
    return {"kernel_shape": [size, size], "strides": [size, size]}


def write_decoder(path: Path, is_drawn: bool) -> None:
    """mask = 30 - min(|slice - level|, 60), level the sum of the words, and 0.01 a token of the group.

    The mean of all draws of a pair, 0.5 as a rule, is added, less 0.5.
    """
    free: list[str | int] = ["P", "S", HEADS, QUERIES]
    inputs: dict[str, tuple[int, list[str | int]]] = {
        "mask_features": (TensorProto.FLOAT, ["S", 1, "h", "w"]),
        "tokens": (TensorProto.FLOAT, ["L", "P", 2]),
    }
    for layer in range(LAYERS):
        for kind in ("key", "value"):
            inputs[f"{kind}_{layer}"] = TensorProto.FLOAT, ["S", f"t{layer}", 1]
    nodes = [
        helper.make_node("ReduceSum", ["tokens", "zero"], ["sums"], keepdims=0),  # (P, 2)
        helper.make_node("Gather", ["sums", "none"], ["levels"], axis=1),  # (P,)
        helper.make_node("Shape", ["tokens"], ["shape"]),
        helper.make_node("Gather", ["shape", "none"], ["length"]),
        helper.make_node("Cast", ["length"], ["long"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["long", "hundredth"], ["more"]),
        helper.make_node("Reshape", ["levels", "column"], ["level"]),  # (P, 1, 1, 1)
        helper.make_node("Squeeze", ["mask_features", "one"], ["slices"]),  # (S, h, w)
        helper.make_node("Sub", ["slices", "level"], ["difference"]),
        helper.make_node("Abs", ["difference"], ["far"]),
        helper.make_node("Min", ["far", "sixty"], ["distance"]),
        helper.make_node("Sub", ["thirty", "distance"], ["near"]),
        helper.make_node("Add", ["near", "more"], ["longer"]),
    ]
    nodes += [
        helper.make_node("Mul", [f"{k}_{n}", "nothing"], [f"no_{k}_{n}"])
        for n in range(LAYERS)
        for k in ("key", "value")
    ]
    nodes += [
        helper.make_node("ReduceMean", [f"no_{k}_{n}"], [f"mean_{k}_{n}"], keepdims=0)
        for n in range(LAYERS)
        for k in ("key", "value")
    ]
    added = [f"mean_{k}_{n}" for n in range(LAYERS) for k in ("key", "value")]
    if is_drawn:
        for level in range(3):
            inputs[f"features_{level}"] = TensorProto.FLOAT, ["S", 1, f"h{level}", f"w{level}"]
            nodes += [
                helper.make_node("Mul", [f"features_{level}", "nothing"], [f"no_{level}"]),
                helper.make_node("ReduceMean", [f"no_{level}"], [f"mean_{level}"], keepdims=0),
            ]
            added.append(f"mean_{level}")
        for layer in range(LAYERS):
            inputs[f"draws_{layer}"] = TensorProto.FLOAT, [*free, f"n{layer}"]
            nodes += [
                helper.make_node(
                    "ReduceMean", [f"draws_{layer}"], [f"drawn_{layer}"], axes=[2, 3, 4], keepdims=0
                ),
                helper.make_node("Sub", [f"drawn_{layer}", "half"], [f"centred_{layer}"]),
                helper.make_node("Unsqueeze", [f"centred_{layer}", "last"], [f"pair_{layer}"]),
            ]
            added.append(f"pair_{layer}")
    nodes += [
        helper.make_node("Sum", ["longer", *added], ["mask"]),
        helper.make_node("Neg", ["mask"], ["edges"]),
        helper.make_node("ReduceMax", ["mask"], ["existence"], axes=[2, 3], keepdims=0),
    ]
    plane: list[str | int] = ["P", "S", "h", "w"]
    constants = {
        "zero": np.array([0], np.int64),
        "none": np.array(0, np.int64),
        "one": np.array([1], np.int64),
        "last": np.array([2, 3], np.int64),
        "column": np.array([-1, 1, 1, 1], np.int64),
        "hundredth": np.float32(0.01),
        "thirty": np.float32(30),
        "sixty": np.float32(60),
        "half": np.float32(0.5),
        "nothing": np.float32(0),
    }
    outputs = {"mask": plane, "edges": plane, "existence": ["P", "S"]}
    save_graph(
        path,
        nodes,
        inputs,
        outputs,
        constants if is_drawn else {k: v for k, v in constants.items() if k not in ("half", "last")},
    )


def write_biomedparse_weights(folder: Path, **changes: Any) -> Path:
    """A complete folder, both attentions, one stage that is run and one that is not."""
    folder.mkdir(parents=True, exist_ok=True)
    write_tokenizer(folder / "tokenizer.json")
    write_text(folder / "text.onnx")
    write_image(folder / "image.onnx")
    write_decoder(folder / "decoder.onnx", True)
    write_decoder(folder / "decoder_full.onnx", False)
    layout = {"kind": "square-slices", "side": SIDE, "least": SIDE // 2, "run": 1}
    stages = [
        {
            "name": "coarse",
            "role": "locate",
            "window_voxels": SIDE**2,
            "skip_empty": False,
            "layout": layout | {"side": SIDE // 2, "every": 3},
        },
        {
            "name": "fine",
            "role": "refine",
            "window_voxels": SIDE**2,
            "margin_factor": 1.2,
            "skip_empty": False,
            "layout": layout,
        },
    ]
    graphs = {name: f"{name}.onnx" for name in ("image", "text", "decoder", "decoder_full")}
    fields = {
        "name": "sample-biomedparse",
        "family": "biomedparse-v",
        "graphs": graphs,
        "tokenizer": "tokenizer.json",
        "network": {"heads": HEADS, "layers": LAYERS, "queries": QUERIES, "multiple": 16},
        "stages": stages,
        "postprocess": [{"rule": "slices"}],
        "targets": [],
    }
    return save_manifest(folder, [*graphs.values(), "tokenizer.json"], **(fields | changes))


def manifest_of(folder: Path) -> dict[str, Any]:
    """What stands in a folder's manifest."""
    found: dict[str, Any] = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    return found

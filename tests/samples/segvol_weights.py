"""Weights of the family ``segvol``: graphs with a known answer, a tokenizer of few words, a manifest.

The embedding is the window at a quarter of its plane. The decoder finds what is as bright as the sum of a
sentence's words, or without a sentence what is bright, and cuts away what lies outside of a box; a point of
the foreground moves the brightness to 0.5.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from onnx import NodeProto, TensorProto, helper

from tests.samples.biomedparse_weights import FIRST, LAST, save_graph
from tests.samples.slice_weights import save_manifest

WINDOW = (8, 32, 32)
LEVELS = {"liver": 0.75, "spleen": 0.05, "kidney": 0.25, "left": 0.0}
"""Grey level, 0..1, that a word stands for; other words stand for nothing."""
WITHOUT_TEXT, AT_POINTS = 0.75, 0.5
WIDTH, STEEP = 0.1, 40.0
"""How far from its level a thing is found, and logits for each grey level."""


def write_tokenizer(path: Path) -> None:
    """One token a word."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

    names = [*LEVELS, "[UNK]", FIRST, LAST]
    tokenizer = Tokenizer(models.WordLevel({name: n for n, name in enumerate(names)}, "[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation()]
    )
    tokenizer.save(str(path))


def write_text(path: Path) -> None:
    """The sum of the words' levels."""
    table = np.array([*LEVELS.values(), 0, 0, 0], np.float32)[:, None]
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["levels"]),
        helper.make_node("ReduceSum", ["levels", "words"], ["text"], keepdims=0),
    ]
    constants = {"table": table, "words": np.array([1], np.int64)}
    save_graph(path, nodes, {"input_ids": (TensorProto.INT64, ["P", "L"])}, {"text": ["P", 1]}, constants)


def write_image(path: Path) -> None:
    """(B, 1, d, h, w) -> (B, 1, d, h / 4, w / 4)."""
    pool = helper.make_node(
        "AveragePool", ["image"], ["embedding"], kernel_shape=[1, 4, 4], strides=[1, 4, 4]
    )
    d, h, w = WINDOW
    inputs = {"image": (TensorProto.FLOAT, ["B", 1, d, h, w])}
    save_graph(path, [pool], inputs, {"embedding": ["B", 1, d, h // 4, w // 4]}, {})


def write_decoder(path: Path) -> None:
    """logits = 40 (0.1 - |embedding - level|), -20 outside of a box."""
    d, h, w = WINDOW
    nodes: list[NodeProto] = [
        helper.make_node("Squeeze", ["text", "one"], ["told"]),
        helper.make_node("Mul", ["told", "with_text"], ["said"]),
        helper.make_node("Sub", ["unit", "with_text"], ["silent"]),
        helper.make_node("Mul", ["silent", "default"], ["bright"]),
        helper.make_node("Add", ["said", "bright"], ["level"]),
        *_any_of("foreground", "points"),
        helper.make_node("Where", ["points", "at_points", "level"], ["moved"]),
        helper.make_node("Reshape", ["moved", "column"], ["levels"]),
        helper.make_node("Squeeze", ["embedding", "channel"], ["grey"]),  # (1, d, h / 4, w / 4)
        helper.make_node("Sub", ["grey", "levels"], ["difference"]),
        helper.make_node("Abs", ["difference"], ["far"]),
        helper.make_node("Sub", ["width", "far"], ["near"]),
        helper.make_node("Mul", ["near", "steep"], ["found"]),
        *_corner("first"),
        *_corner("second"),
        *_any_of("first", "boxed"),
        helper.make_node("Reshape", ["boxed", "column"], ["boxes"]),
        helper.make_node("Not", ["boxes"], ["free"]),
    ]
    inside = "free"
    for axis in range(3):
        for corner, operator in (("first", "GreaterOrEqual"), ("second", "LessOrEqual")):
            name = f"{corner}_{axis}"
            nodes += [
                helper.make_node("Gather", [f"{corner}_corner", f"axis_{axis}"], [f"{name}_flat"], axis=1),
                helper.make_node("Reshape", [f"{name}_flat", "column"], [f"{name}_side"]),
                helper.make_node(operator, [f"place_{axis}", f"{name}_side"], [f"{name}_ok"]),
                helper.make_node("Or", [f"{name}_ok", "free"], [f"{name}_in"]),
            ]
            if inside == "free":
                inside = f"{name}_in"
            else:
                nodes.append(helper.make_node("And", [inside, f"{name}_in"], [f"{name}_all"]))
                inside = f"{name}_all"
    nodes.append(helper.make_node("Where", [inside, "found", "outside"], ["logits"]))
    constants = {
        "one": np.array([1], np.int64),
        "channel": np.array([1], np.int64),
        "column": np.array([-1, 1, 1, 1], np.int64),
        "last": np.array([-1], np.int64),
        "unit": np.float32(1),
        "zero": np.float32(0),
        "default": np.float32(WITHOUT_TEXT),
        "at_points": np.float32(AT_POINTS),
        "width": np.float32(WIDTH),
        "steep": np.float32(STEEP),
        "outside": np.float32(-20),
        **{f"axis_{axis}": np.array(axis, np.int64) for axis in range(3)},
        "foreground": np.array(1, np.int64),
        "first": np.array(2, np.int64),
        "second": np.array(3, np.int64),
        "place_0": np.arange(d, dtype=np.float32).reshape(1, d, 1, 1),
        "place_1": (np.arange(h // 4, dtype=np.float32) * 4 + 1.5).reshape(1, 1, -1, 1),
        "place_2": (np.arange(w // 4, dtype=np.float32) * 4 + 1.5).reshape(1, 1, 1, -1),
    }
    inputs: dict[str, tuple[int, list[str | int]]] = {
        "embedding": (TensorProto.FLOAT, [1, 1, d, h // 4, w // 4]),
        "coordinates": (TensorProto.FLOAT, ["N", "T", 3]),
        "kinds": (TensorProto.INT64, ["N", "T"]),
        "text": (TensorProto.FLOAT, ["N", 1]),
        "with_text": (TensorProto.FLOAT, ["N"]),
    }
    save_graph(path, nodes, inputs, {"logits": ["N", d, h // 4, w // 4]}, constants)


def _any_of(kind: str, found: str) -> list[NodeProto]:
    """Whether a prompt has a token of a kind, (N,) bool."""
    return [
        helper.make_node("Equal", ["kinds", kind], [f"{found}_equal"]),
        helper.make_node("Cast", [f"{found}_equal"], [f"{found}_number"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMax", [f"{found}_number"], [f"{found}_most"], axes=[1], keepdims=0),
        helper.make_node("Greater", [f"{found}_most", "zero"], [found]),
    ]


def _corner(kind: str) -> list[NodeProto]:
    """The place of a prompt's token of a kind, (N, 3)."""
    return [
        helper.make_node("Equal", ["kinds", kind], [f"{kind}_equal"]),
        helper.make_node("Cast", [f"{kind}_equal"], [f"{kind}_number"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", [f"{kind}_number", "last"], [f"{kind}_token"]),
        helper.make_node("Mul", ["coordinates", f"{kind}_token"], [f"{kind}_places"]),
        helper.make_node("ReduceSum", [f"{kind}_places", "one"], [f"{kind}_corner"], keepdims=0),
    ]


def write_segvol_weights(folder: Path, **changes: Any) -> Path:
    """A complete folder with both stages; its bank knows the liver."""
    folder.mkdir(parents=True, exist_ok=True)
    write_tokenizer(folder / "tokenizer.json")
    write_text(folder / "text.onnx")
    write_image(folder / "image.onnx")
    write_decoder(folder / "decoder.onnx")
    np.savez(folder / "bank.npz", names=np.array(["liver"]), vectors=np.array([[LEVELS["liver"]]]))
    stages = [
        {
            "name": "zoom-out",
            "role": "locate",
            "window_voxels": 2**21,
            "layout": {"kind": "stretch", "shape_dhw": [32, 256, 256]},
        },
        {
            "name": "zoom-in",
            "role": "refine",
            "window_voxels": 2**21,
            "overlap": 0.5,
            "layout": {"kind": "window", "window_dhw": [32, 256, 256]},
        },
    ]
    graphs = {name: f"{name}.onnx" for name in ("image", "text", "decoder")}
    fields = {
        "name": "sample-segvol",
        "family": "segvol",
        "graphs": graphs,
        "bank": "bank.npz",
        "tokenizer": "tokenizer.json",
        "network": {"window_dhw": WINDOW, "channels": 1, "patch_dhw": [1, 4, 4]},
        "stages": stages,
        "targets": [],
        "hybrid": "off",
    }
    return save_manifest(folder, [*graphs.values(), "bank.npz", "tokenizer.json"], **(fields | changes))

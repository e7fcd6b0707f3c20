"""ONNX graphs that share one file of weights: what several of them hold is stored once, as fp16 or fp32."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import onnx

OPSET = 18
"""First opset whose Resize and GroupNorm-free exports both OpenVINO and ONNX Runtime run in our checks."""
SUFFIXES = {"float16": ".fp16", "float32": "", "int8": ".int8"}
"""Behind the name of a tensor that is stored in this type."""
ALIGNMENT = 64
"""Bytes; where a tensor begins in the file."""


def save_shared(
    graphs: Iterable[tuple[str, onnx.ModelProto]],
    folder: Path,
    file: str,
    as_fp16: bool,
    is_moved: Callable[[str, np.ndarray], bool],
    is_int8: Callable[[str, np.ndarray], bool] = lambda name, values: False,
) -> None:
    """Write graphs that share one file of weights.

    Args:
        graphs: with file names; fp32 tensors that ``is_moved`` names are moved out of them, in place. Large
            ones may come one after the other: none is held here.
        folder: where to write.
        file: name of the file for the weights.
        as_fp16: whether to store fp16, which the graphs cast back, or fp32.
        is_moved: of a tensor's name and values (any shape) to whether it goes into the file.
        is_int8: of one that does and is a matrix, whether it is stored in 8 bits, each row with a scale of
            its own, which the graphs multiply back.
    """
    offsets: dict[bytes, int] = {}
    with (folder / file).open("wb") as out:
        for name, graph in graphs:
            casts: list[onnx.NodeProto] = []
            rows: list[onnx.TensorProto] = []
            for tensor in list(graph.graph.initializer):
                values = onnx.numpy_helper.to_array(tensor)
                if values.dtype != np.float32 or not is_moved(tensor.name, values):
                    continue
                scales = None
                if is_int8(tensor.name, values):
                    stored, scales = rounded_rows(values)
                else:
                    stored = values.astype(np.float16) if as_fp16 else values
                data = stored.tobytes()
                key = hashlib.sha256(data).digest()
                if key not in offsets:
                    out.write(b"\0" * (-out.tell() % ALIGNMENT))
                    offsets[key] = out.tell()
                    out.write(data)
                called = tensor.name
                _move_out(tensor, stored, file, offsets[key], len(data))
                if scales is not None:
                    rows.append(onnx.numpy_helper.from_array(scales, f"{called}.scales"))
                    casts.append(_scaled_back(called, tensor.name, rows[-1].name))
                elif as_fp16:
                    casts.append(_cast_back(called, tensor.name))
            graph.graph.initializer.extend(rows)
            nodes = list(graph.graph.node)
            del graph.graph.node[:]
            graph.graph.node.extend(casts + nodes)
            onnx.save(graph, str(folder / name))


def rounded_rows(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A matrix (O, I) float32 in 8 bits, -127..127, and the scale of each row (O,) float32."""
    scales = np.abs(values).max(1) / np.float32(127)
    scales[scales == 0] = 1
    return np.rint(values / scales[:, None]).astype(np.int8), scales


def _move_out(tensor: onnx.TensorProto, stored: np.ndarray, file: str, offset: int, length: int) -> None:
    """Let ``tensor`` point into ``file``, which has its values ``stored`` (any shape)."""
    name = tensor.name
    tensor.Clear()
    tensor.name = f"{name}{SUFFIXES[stored.dtype.name]}"
    tensor.data_type = onnx.helper.np_dtype_to_tensor_dtype(stored.dtype)
    tensor.dims.extend(stored.shape)
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", file), ("offset", str(offset)), ("length", str(length))):
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value


def _cast_back(name: str, stored: str) -> onnx.NodeProto:
    """The node that makes fp32 of fp16."""
    return onnx.helper.make_node("Cast", [stored], [name], to=onnx.TensorProto.FLOAT, name=f"cast {name}")


def _scaled_back(name: str, stored: str, scales: str) -> onnx.NodeProto:
    """The node that multiplies rows of 8 bits by their scales."""
    return onnx.helper.make_node("DequantizeLinear", [stored, scales], [name], axis=0, name=f"scale {name}")

"""ONNX graphs that share one file of weights: what several of them hold is stored once, as fp16 or fp32."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import onnx

OPSET = 18
"""First opset whose Resize and GroupNorm-free exports both OpenVINO and ONNX Runtime run in our checks."""
ALIGNMENT = 64
"""Bytes; where a tensor begins in the file."""


def save_shared(
    graphs: Iterable[tuple[str, onnx.ModelProto]],
    folder: Path,
    file: str,
    as_fp16: bool,
    is_moved: Callable[[str, np.ndarray], bool],
) -> None:
    """Write graphs that share one file of weights.

    Args:
        graphs: with file names; fp32 tensors that ``is_moved`` names are moved out of them, in place. Large
            ones may come one after the other: none is held here.
        folder: where to write.
        file: name of the file for the weights.
        as_fp16: whether to store fp16, which the graphs cast back, or fp32.
        is_moved: of a tensor's name and values (any shape) to whether it goes into the file.
    """
    offsets: dict[bytes, int] = {}
    with (folder / file).open("wb") as out:
        for name, graph in graphs:
            casts = []
            for tensor in graph.graph.initializer:
                values = onnx.numpy_helper.to_array(tensor)
                if values.dtype != np.float32 or not is_moved(tensor.name, values):
                    continue
                stored = values.astype(np.float16) if as_fp16 else values
                data = stored.tobytes()
                key = hashlib.sha256(data).digest()
                if key not in offsets:
                    out.write(b"\0" * (-out.tell() % ALIGNMENT))
                    offsets[key] = out.tell()
                    out.write(data)
                cast = _move_out(tensor, stored, file, offsets[key], len(data))
                casts += [cast] if as_fp16 else []
            nodes = list(graph.graph.node)
            del graph.graph.node[:]
            graph.graph.node.extend(casts + nodes)
            onnx.save(graph, str(folder / name))


def _move_out(
    tensor: onnx.TensorProto, stored: np.ndarray, file: str, offset: int, length: int
) -> onnx.NodeProto:
    """Let ``tensor`` point into ``file``, which has its values ``stored`` (any shape, fp16 or fp32).

    Returns:
        the node that casts fp16 back to fp32.
    """
    name = tensor.name
    tensor.Clear()
    tensor.name = f"{name}.fp16" if stored.dtype == np.float16 else name
    tensor.data_type = onnx.helper.np_dtype_to_tensor_dtype(stored.dtype)
    tensor.dims.extend(stored.shape)
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", file), ("offset", str(offset)), ("length", str(length))):
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value
    return onnx.helper.make_node(
        "Cast", [tensor.name], [name], to=onnx.TensorProto.FLOAT, name=f"cast {name}"
    )

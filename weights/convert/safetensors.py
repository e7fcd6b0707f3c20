"""Files in the format safetensors: eight bytes of length, a JSON header, then the values.

Nothing in such a file can be run. It is mapped into memory, and values are read when asked for.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from vesal.inference.data.errors import shown
from vesal.weights.convert.errors import CheckpointError, MissingTensorsError

LENGTH = struct.Struct("<Q")
MAX_HEADER = 100_000_000
"""Bytes of a header, as the format's own reader allows."""
METADATA = "__metadata__"
BFLOAT16 = "BF16"
DTYPES = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    BFLOAT16: "<u2",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "|i1",
    "U8": "|u1",
    "BOOL": "|b1",
}
"""numpy's name of each type; of bfloat16 the bits alone."""


class SafeTensors:
    """The tensors of one file by name, as ``checkpoint.Checkpoint`` has them."""

    step: int | None = None
    """The format tells none."""

    def __init__(self, path: Path) -> None:
        """Read the header; where the file ends too early, tensors have shapes only.

        Raises:
            CheckpointError: no such file, or a header that makes no sense.
        """
        self.path = path
        try:
            size = path.stat().st_size
            with path.open("rb") as file:
                head = file.read(LENGTH.size)
                length = LENGTH.unpack(head)[0] if len(head) == LENGTH.size else 0
                if not 2 <= length <= min(MAX_HEADER, size - LENGTH.size):
                    self._refuse(f"its first {LENGTH.size} bytes give no length of a header within the file")
                header = file.read(length)
        except OSError as error:
            raise CheckpointError(f"{path} cannot be read ({error.strerror}).") from None
        self._first = LENGTH.size + length
        self._entries = self._checked(header)
        end = max((entry["data_offsets"][1] for entry in self._entries.values()), default=0)
        there = size - self._first
        if there > end:
            self._refuse(f"{there - end} bytes lie behind the last tensor")
        self.complete = there == end
        self.absent = {n for n, entry in self._entries.items() if entry["data_offsets"][1] > there}
        # Copy on write: torch wants arrays that may be written to.
        self._values = np.memmap(path, np.uint8, "c") if self.complete else None

    @property
    def tensors(self) -> dict[str, Any]:
        """What the header says of each tensor, by name."""
        return self._entries

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of every tensor by the name in the file."""
        return {name: tuple(entry["shape"]) for name, entry in self._entries.items()}

    def read(self, name: str) -> np.ndarray:
        """Values of one tensor as float32 (or as they are, if whole numbers), in its shape.

        What is float32 in the file is not copied: it is the mapped file itself.

        Raises:
            MissingTensorsError: the file ends too early.
        """
        if self._values is None:
            raise MissingTensorsError(f"{self.path} ends too early; fetch it again.", (name,))
        entry = self._entries[name]
        first, last = (self._first + offset for offset in entry["data_offsets"])
        values = self._values[first:last].view(DTYPES[entry["dtype"]]).reshape(entry["shape"])
        if entry["dtype"] == BFLOAT16:
            # Of a single number numpy's arithmetic makes a scalar.
            return np.asarray((values.astype(np.uint32) << 16).view(np.float32))
        floating = np.issubdtype(values.dtype, np.floating)
        return np.require(values, np.float32 if floating else None, ["ALIGNED"])

    def _checked(self, header: bytes) -> dict[str, dict[str, Any]]:
        """The header's entries; each must fit its own shape, and all must lie one behind the other."""
        try:
            content = json.loads(header, object_pairs_hook=_once)
        except (ValueError, RecursionError) as error:
            self._refuse(f"its header is no JSON ({str(error)[:120]})")
        if not isinstance(content, dict):
            self._refuse("its header is no JSON object")
        entries = {name: entry for name, entry in content.items() if name != METADATA}
        if not entries:
            self._refuse("it holds no tensor")
        for name, entry in entries.items():
            if not _is_entry(entry):
                self._refuse(f"the header's entry of {shown(name)} is none of a tensor that is known here")
        end = 0
        for name, entry in sorted(entries.items(), key=lambda item: item[1]["data_offsets"]):
            first, last = entry["data_offsets"]
            if first != end:
                self._refuse(f"{shown(name)} does not begin where the tensor before it ends")
            end = last
        return entries

    def _refuse(self, why: str) -> Any:
        raise CheckpointError(
            f"{self.path} is no whole file in the format safetensors: {why}. Fetch it again."
        )


def write_safetensors(path: Path, tensors: Mapping[str, np.ndarray], as_fp16: bool) -> None:
    """Write a file with tensors of any shape by name, each as float16 or float32."""
    dtype, code = (np.dtype("<f2"), "F16") if as_fp16 else (np.dtype("<f4"), "F32")
    header: dict[str, Any] = {}
    end = 0
    for name, values in tensors.items():
        size = values.size * dtype.itemsize
        header[name] = {"dtype": code, "shape": list(values.shape), "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % LENGTH.size)
    with path.open("wb") as file:
        file.write(LENGTH.pack(len(text)) + text)
        for values in tensors.values():
            file.write(np.ascontiguousarray(values, dtype).tobytes())


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object in which no name stands twice."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice")
    return found


def _is_entry(entry: Any) -> bool:
    """Whether a header's value describes a tensor whose bytes are as many as its shape asks for."""
    if not isinstance(entry, dict) or entry.get("dtype") not in DTYPES:
        return False
    lists = [entry.get("shape"), entry.get("data_offsets")]
    whole = all(isinstance(x, list) and all(type(n) is int and n >= 0 for n in x) for x in lists)
    if not whole or len(entry["data_offsets"]) != 2:
        return False
    first, last = entry["data_offsets"]
    width = np.dtype(DTYPES[entry["dtype"]]).itemsize
    return bool(last - first == width * math.prod(entry["shape"]))

"""Probabilities of a prompt in a file of their own, on the grid of the case's label map."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from vesal.inference.io.formats import format_of, suffix_of
from vesal.inference.io.label_writer import write_label_map
from vesal.inference.io.temporary import replacing


def write_probability(path: Path, values: np.ndarray, header: object, kind: str) -> None:
    """Write (D,H,W) float32 0..1 in the format of the file's name.

    Args:
        path: of the file.
        values: probabilities on the engine's axes.
        header: of the case's reader.
        kind: ``uint8``: 0 to 255 for 0 to 1, rounded; ``float16``: rounded to 16 bits. Formats other than
            npz have no such type and hold them in 32 bits, of which the lower ones are 0.
    """
    if kind == "uint8":
        write_label_map(path, np.rint(values * 255).astype(np.uint8), header)
        return
    half = values.astype(np.float16)
    rounded = half if suffix_of(path) in (None, ".npz") else half.astype(np.float32)
    with replacing(path) as file:
        format_of(path).write(file, rounded, rounded.dtype, header)

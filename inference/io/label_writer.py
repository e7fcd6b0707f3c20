"""The output: a label map in the format that its name asks for, whole or not there at all."""

from pathlib import Path

import numpy as np

from vesal.inference.data.errors import LabelMapError, shown
from vesal.inference.io.formats import format_of
from vesal.inference.io.temporary import replacing


def write_label_map(path: Path, labels: np.ndarray, header: object = None) -> None:
    """Write `labels` in the smallest unsigned type that holds them; `header` is that of the case's reader.

    `labels` are whole numbers (or bool) from 0 on, of any shape, usually (D,H,W); an empty array is written
    as uint8. The same labels give the same bytes. The file appears at once or not at all (a temporary file
    in the same folder, synchronised, then renamed), with the permissions that the umask asks for. Raises
    LabelMapError for other labels, OSError when the folder cannot be written.
    """
    path, labels = Path(path), np.asarray(labels)
    dtype = smallest_type(labels)
    with replacing(path) as file:
        format_of(path).write(file, labels, dtype, header)


def smallest_type(labels: np.ndarray) -> np.dtype:
    """The smallest unsigned type for labels of any shape; raises LabelMapError."""
    if labels.dtype.kind not in "bui":
        raise LabelMapError(
            f"A label map has dtype {labels.dtype}; whole numbers are wanted. Round and cast it first."
        )
    if labels.size == 0:
        return np.dtype(np.uint8)
    if labels.dtype.kind == "i" and labels.min() < 0:
        raise LabelMapError(
            f"A label map goes down to {shown(int(labels.min()))}; labels from 0 on are wanted."
        )
    return np.min_scalar_type(int(labels.max()))

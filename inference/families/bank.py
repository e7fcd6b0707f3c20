"""The bank of a set of weights: stored text vectors by name."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from vesal.inference.data.errors import ProfileError

Vectors = Mapping[str, np.ndarray]
"""(T,) float32 by concept, or by sentence"""


def read_bank(path: Path, *more: str) -> tuple[Vectors, list[np.ndarray]]:
    """Read an npz with ``names`` (K,) and ``vectors`` (K, T).

    Args:
        path: the file.
        more: names of further arrays (M, T) that it holds.

    Returns:
        vectors (T,) float32 by name, and the further arrays as float32.

    Raises:
        ProfileError: an array is not there, or their shapes do not go together.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            names, vectors, *others = (archive[key] for key in ("names", "vectors", *more))
    except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ProfileError(
            f"{path} is no bank of text vectors ({error}). Export or convert the weights again."
        ) from error
    if len(names) != len(vectors) or any(
        a.ndim != 2 or a.shape[1:] != vectors.shape[1:] for a in (vectors, *others)
    ):
        shapes = "".join(f", {key} {a.shape}" for key, a in zip(more, others, strict=True))
        raise ProfileError(
            f"{path} holds {len(names)} names, vectors {vectors.shape}{shapes}, which do not go together. "
            "Export or convert the weights again."
        )
    rows = dict(zip(names.tolist(), vectors.astype(np.float32), strict=True))
    return rows, [array.astype(np.float32) for array in others]

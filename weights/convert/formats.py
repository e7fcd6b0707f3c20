"""A published file of weights, in whatever format it is: an archive of torch, or safetensors."""

from __future__ import annotations

import zipfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from vesal.weights.convert.archive import HEADER
from vesal.weights.convert.checkpoint import Checkpoint
from vesal.weights.convert.errors import CheckpointError
from vesal.weights.convert.pointer import pointer_told
from vesal.weights.convert.safetensors import SafeTensors

SUFFIX = ".safetensors"


class WeightsFile(Protocol):
    """The tensors of one file; values are read when asked for."""

    path: Path
    complete: bool
    """Whether the file has its end."""
    step: int | None
    """Training step that the file states."""

    @property
    def absent(self) -> Collection[str]:
        """Names of tensors whose values are not in the file."""

    @property
    def tensors(self) -> Mapping[str, Any]:
        """Something for each tensor, by its name in the file."""

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Shape of each tensor."""

    def read(self, name: str) -> np.ndarray:
        """Values of one tensor as float32, or as they are if whole numbers, in its shape.

        Raises CheckpointError where they are damaged or not there.
        """


def open_weights(path: Path) -> WeightsFile:
    """Open a file by what it begins with, or by its name where that tells nothing.

    Raises:
        CheckpointError: see ``Checkpoint`` and ``SafeTensors``; or it is a pointer of Git LFS.
    """
    pointer = pointer_told(path)
    if pointer is not None:
        raise CheckpointError(pointer)
    try:
        with path.open("rb") as file:
            head = file.read(9)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read ({error.strerror}).") from None
    is_archive = head.startswith(HEADER) or zipfile.is_zipfile(path)
    # Behind the length of a safetensors header stands its first brace.
    if not is_archive and (head[8:] == b"{" or path.suffix == SUFFIX):
        return SafeTensors(path)
    return Checkpoint(path)

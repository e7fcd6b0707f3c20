"""Published ``.pth`` and ``.ckpt`` files, opened by torch: nothing in them is run, and values stay on disk
until they are used.

Facts: ``docs/checkpoints.md`` 1 to 7. The file is mapped into memory, so the optimizer's state, twice as
large as the weights, is never read. torch compares no checksum; here that of every used tensor is compared.
"""

from __future__ import annotations

import pickle
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vesal.inference.data.errors import shown
from vesal.weights.convert.archive import read_archive
from vesal.weights.convert.errors import CheckpointError, MissingTensorsError, UnsafeCheckpointError
from vesal.weights.convert.restricted import SETTINGS, described, entry_of, refusal

STATES = ("model_state_dict", "state_dict", "model", "network_weights")
"""Where weights lie in the file: as Medal S and SAT write it, Lightning, SegVol, or nnU-Net and VoxTell."""
STEPS = ("step", "global_step")
DTYPES = (
    *(torch.float32, torch.float64, torch.float16, torch.bfloat16),
    *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool),
)


class Checkpoint:
    """The tensors of one file by name, and its training step; values are read when asked for."""

    def __init__(self, path: Path) -> None:
        """Open a file; where it lacks values of tensors, all have shapes only, so that these can be named.

        Raises:
            CheckpointError: no such file, no zip archive, no list of tensors, or one that makes no sense.
            MissingTensorsError: the file ends before its list of tensors does.
            UnsafeCheckpointError: its pickle asks for more than tensors and numbers.
        """
        self.path = path
        pickled, self._entries, self.complete = read_archive(path)
        try:
            content = described(pickled)
            self.tensors = _named_tensors(content)
            odd = [name for name, tensor in self.tensors.items() if not _is_plain(tensor)]
            self._entry_names = {n: str(entry_of(t)) for n, t in self.tensors.items() if n not in odd}
            self.absent = {name for name, entry in self._entry_names.items() if entry not in self._entries}
            if self._entry_names and self.complete and not self.absent and not odd:
                self.tensors = _named_tensors(self._mapped())
        except pickle.UnpicklingError as error:
            raise UnsafeCheckpointError(f"{path}: {refusal(str(error), pickled)}") from error
        except Exception as error:  # a damaged file may raise almost anything
            detail = f"{type(error).__name__}: {error}".split("\n")[0][:200]
            raise CheckpointError(
                f"{path}: its list of tensors cannot be read ({detail}). Fetch the file again."
            ) from error
        if not self.tensors:
            keys = list(content)[:8] if isinstance(content, dict) else [type(content).__name__]
            raise CheckpointError(
                f"{path} holds {', '.join(map(shown, keys)) or 'nothing'}; wanted is a dict with "
                f"one of {', '.join(map(repr, STATES))}, as the published training writes it. Give the "
                "published file."
            )
        if odd:
            raise CheckpointError(
                f"{path}: {', '.join(odd[:8])} ({len(odd)}) of its tensors are no arrays of real numbers "
                "that lie in their storage. The file is damaged, or not the published one; fetch it again."
            )
        steps = [content[key] for key in STEPS if isinstance(content.get(key), int)]
        self.step: int | None = steps[0] if steps else None

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of every tensor by the name in the file."""
        return {name: tuple(tensor.shape) for name, tensor in self.tensors.items()}

    def read(self, name: str) -> np.ndarray:
        """Values of one tensor as float32 (or as they are, if whole numbers), in its shape.

        What is float32 in the file is not copied: it is the mapped file itself.

        Raises:
            MissingTensorsError: the file lacks values.
            CheckpointError: the values are damaged, or the pickle places the tensor outside of its storage.
        """
        tensor = self.tensors[name]
        if self.absent or not self.complete:
            raise MissingTensorsError(f"{self.path} lacks values of its tensors; fetch it again.", (name,))
        where = self._entry_names[name]
        entry = self._entries[where]
        stored = torch.empty(0, dtype=torch.uint8).set_(tensor.untyped_storage()).numpy()
        if stored.size != entry.file_size:
            raise CheckpointError(
                f"{self.path}: {name} of shape {tuple(tensor.shape)} does not lie in its storage of "
                f"{stored.size} bytes: {where} has {entry.file_size}. The file is damaged; fetch it again."
            )
        if zlib.crc32(stored.data) != entry.CRC:
            raise CheckpointError(
                f"{self.path}: {where}, {name}, is damaged (it has another checksum than was stored); fetch "
                "it again."
            )
        return (tensor.float() if tensor.is_floating_point() else tensor).numpy()

    def _mapped(self) -> Any:
        """The content with its values, which stay on disk."""
        # Compressed values are read into memory: torch would map them as they are.
        stored = all(entry.compress_type == zipfile.ZIP_STORED for entry in self._entries.values())
        with torch.serialization.safe_globals(SETTINGS):
            return torch.load(self.path, weights_only=True, mmap=stored, map_location="cpu")


def _named_tensors(content: Any) -> dict[str, Tensor]:
    """Tensors (any shape) by name, without gradients: of ``STATES``, or of the content itself."""
    # Methods of the types themselves: a pickle may put attributes of the same names on its objects.
    state = content if isinstance(content, dict) else None
    for key in STATES:
        if isinstance(content, dict) and isinstance(dict.get(content, key), dict):
            state = dict.get(content, key)
            break
    items = dict.items(state) if isinstance(state, dict) else ()
    return {
        name: Tensor.detach(value)
        for name, value in items
        if isinstance(name, str) and isinstance(value, Tensor)
    }


def _is_plain(tensor: Tensor) -> bool:
    """Whether a described tensor of any shape holds real numbers, as many as its storage does at most."""
    return (
        tensor.layout is torch.strided
        and not (tensor.is_nested or tensor.is_neg())
        and tensor.dtype in DTYPES
        and entry_of(tensor) is not None
        and tensor.numel() * tensor.element_size() <= tensor.untyped_storage().nbytes()
    )

"""Published ``.pth`` files, read without running anything and without reading more than is wanted.

Facts: ``shared/reference/checkpoints.md`` (common container). A file is a zip archive: one pickle that names
the tensors, and one stored entry per storage. The pickle is interpreted by ``io.pickle_reader``; it
can only describe tensors and numbers. The optimizer's state, twice as large as the weights, is never read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vesal.inference.data.errors import UnsafePickleError, shown
from vesal.inference.io.pickle_reader import PickleReader
from vesal.weights.convert.archive import Entry, entries_of
from vesal.weights.convert.errors import CheckpointError, MissingTensorsError, UnsafeCheckpointError

STATE, STEP = "model_state_dict", "step"
DTYPES = {
    "FloatStorage": "f4",
    "DoubleStorage": "f8",
    "HalfStorage": "f2",
    "BFloat16Storage": "bf16",
    "LongStorage": "i8",
    "IntStorage": "i4",
    "ShortStorage": "i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "?",
}
_MULTIARRAY = ("numpy.core.multiarray", "numpy._core.multiarray")  # numpy 1 and numpy 2
_MOST_ELEMENTS = 2**33


@dataclass(frozen=True)
class Storage:
    """One entry of the archive, as the pickle names it."""

    key: str
    dtype: str
    count: int


@dataclass(frozen=True)
class Tensor:
    """A tensor of the file: where it lies, not its values."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    """Both in elements."""


class Checkpoint:
    """The tensors of one file by name, and its training step; values are read when asked for."""

    def __init__(self, path: Path) -> None:
        """Read the list of tensors.

        Raises:
            CheckpointError: no such file, no zip archive, no list of tensors, or one that makes no sense.
            UnsafeCheckpointError: its pickle asks for more than tensors and numbers.
        """
        self.path = path
        self._entries, self.complete = entries_of(path)
        content = self._interpret(self._entry("data.pkl"))
        state = content.get(STATE, content)
        self.step = content[STEP] if isinstance(content.get(STEP), int) else None
        if not isinstance(state, dict) or not any(map(_is_named_tensor, state.items())):
            raise CheckpointError(
                f"{path} holds {', '.join(map(shown, list(content)[:8])) or 'nothing'}; wanted is a dict "
                f"with {STATE!r}, as the training of Medal S and SAT writes it. Give the published file."
            )
        self.tensors: dict[str, Tensor] = dict(filter(_is_named_tensor, state.items()))

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of every tensor by the name in the file."""
        return {name: tensor.shape for name, tensor in self.tensors.items()}

    def cut_off(self, names: Mapping[str, str]) -> list[str]:
        """Of ``names`` (ours -> the file's), ours whose values the file does not hold: it was cut short."""
        return [ours for ours, theirs in names.items() if not self._holds(self.tensors[theirs])]

    def _holds(self, tensor: Tensor) -> bool:
        entry = self._entries.get(f"data/{tensor.storage.key}")
        return entry is not None and entry.complete

    def read(self, name: str) -> np.ndarray:
        """Values of one tensor as float32 (or as they are, if whole numbers), in its shape.

        Raises:
            CheckpointError: the values are damaged, or the pickle places the tensor outside of its storage.
        """
        tensor = self.tensors[name]
        storage = tensor.storage
        dtype = np.dtype("<u2" if storage.dtype == "bf16" else f"<{storage.dtype}")
        raw = self._entry(f"data/{storage.key}", name).read(name)
        last = tensor.offset + sum((n - 1) * s for n, s in zip(tensor.shape, tensor.strides, strict=True))
        if len(raw) != storage.count * dtype.itemsize or (0 not in tensor.shape and last >= storage.count):
            raise CheckpointError(
                f"{self.path}: {name} of shape {tensor.shape} does not lie in its storage of {storage.count} "
                f"elements and {len(raw)} bytes. The file is damaged; fetch it again."
            )
        flat = np.frombuffer(raw, dtype)[tensor.offset :]
        steps = tuple(s * dtype.itemsize for s in tensor.strides)
        values = np.lib.stride_tricks.as_strided(flat, tensor.shape, steps, writeable=False)
        if storage.dtype == "bf16":
            return (values.astype(np.uint32) << 16).view(np.float32)
        return values.astype(np.float32) if values.dtype.kind == "f" else np.array(values)

    def _entry(self, name: str, tensor: str | None = None) -> Entry:
        """An entry that is whole: a tensor's, or without ``tensor`` the list of all of them."""
        entry = self._entries.get(name)
        if entry is None or not entry.complete:
            cut = "ends before" if not self.complete else "lacks"
            what = "all of its tensors are" if tensor is None else f"{tensor} is"
            raise MissingTensorsError(
                f"{self.path} {cut} its entry {name}: {what} missing. Wanted is a file that "
                "torch.save wrote (1.6 or later); fetch it again.",
                () if tensor is None else (tensor,),
            )
        return entry

    def _interpret(self, entry: Entry) -> dict[Any, Any]:
        try:
            content = _Reader(_find).read(entry.read())
        except CheckpointError as error:
            raise type(error)(f"{self.path}: {error}") from error
        except UnsafePickleError as error:
            raise UnsafeCheckpointError(f"{self.path}: {error}") from error
        except Exception as error:  # a damaged pickle may raise almost anything
            detail = f"{type(error).__name__}: {error}"[:200]
            raise CheckpointError(
                f"{self.path}: its list of tensors cannot be read ({detail}). Fetch the file again."
            ) from error
        if not isinstance(content, dict):
            raise CheckpointError(
                f"{self.path} holds a {type(content).__name__}; wanted is a dict with {STATE!r}. "
                "Give the published file."
            )
        return content


class _Reader(PickleReader):
    """Prompts' opcodes, and what tensors need besides: persistent ids, and a dict that has attributes."""

    def _step(self, name: str, argument: Any) -> None:
        if name == "BINPERSID":
            self._stack.append(_storage(self._stack.pop()))
        elif name == "BUILD" and type(self._stack[-2]) is dict:
            self._stack.pop()  # attributes of an OrderedDict: versions of modules, of no use here
        else:
            super()._step(name, argument)


def _is_named_tensor(item: tuple[Any, Any]) -> bool:
    name, value = item
    return isinstance(name, str) and isinstance(value, Tensor)


@dataclass(frozen=True)
class _StorageType:
    dtype: str


def _storage(described: Any) -> Storage:
    if not isinstance(described, tuple) or len(described) != 5 or described[0] != "storage":
        raise CheckpointError(f"a storage is described as {shown(described)}. Fetch the file again.")
    _, kind, key, _, count = described
    known = isinstance(kind, _StorageType) and isinstance(key, str) and isinstance(count, int)
    if not known or not 0 <= count <= _MOST_ELEMENTS:
        raise CheckpointError(f"a storage is described as {shown(described)}. Fetch the file again.")
    return Storage(key, kind.dtype, count)


def _rebuild_tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> Tensor:
    numbers = (offset, *shape, *strides)
    if not isinstance(storage, Storage) or not all(isinstance(n, int) and n >= 0 for n in numbers):
        raise CheckpointError("a tensor is described in an unknown way. Fetch the file again.")
    return Tensor(storage, offset, tuple(shape), tuple(strides))


def _rebuild_parameter(data: Any, *_: Any) -> Any:
    return data


class _Ignored:
    """A numpy number or type: the optimizer's settings hold some, and nothing here needs them."""

    def set_state(self, state: Any) -> None:
        """Take the state that numpy pickles."""


def _ignored(*_: Any) -> _Ignored:
    return _Ignored()


def _ordered_dict(*items: Any) -> dict[Any, Any]:
    """torch makes an empty one and sets its keys; other items would come past the check of keys."""
    if items and items != ([],):
        raise CheckpointError("an OrderedDict is made of items at once, which torch.save does not do.")
    return {}


_BUILDERS: dict[tuple[str, str], Callable[..., Any]] = {
    ("collections", "OrderedDict"): _ordered_dict,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
    ("numpy", "dtype"): _ignored,
    ("_codecs", "encode"): _ignored,
    **{(module, "scalar"): _ignored for module in _MULTIARRAY},
}


def _find(module: Any, name: Any) -> Any:
    if module == "torch" and name in DTYPES:
        return _StorageType(DTYPES[name])
    builder = _BUILDERS.get((str(module), str(name)))
    if builder is None:
        raise UnsafeCheckpointError(
            f"the pickle asks for {shown(f'{module}.{name}')}, which no published checkpoint needs; refused, "
            "and nothing of it was run. Give the published file."
        )
    # A fresh function each time: the permitted ones themselves are never in the pickle's hands.
    return lambda *arguments: builder(*arguments)

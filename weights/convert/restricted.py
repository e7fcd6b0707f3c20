"""torch's restricted reader, for the pickle of a checkpoint alone: tensors with shapes and no values."""

from __future__ import annotations

import io
import pickle
import pickletools
import re
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch._weights_only_unpickler import Unpickler

from vesal.inference.data.errors import shown


class _Setting:
    """Stands for a numpy number or type: the optimizer's settings hold some (``docs/checkpoints.md`` 4)."""

    def __init__(self, *_: Any) -> None:
        """Take what numpy would be called with."""

    def __setstate__(self, state: Any) -> None:
        """Take the state that numpy pickles."""


_MULTIARRAY = ("numpy.core.multiarray", "numpy._core.multiarray")  # numpy 1 and numpy 2
SETTINGS: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = [
    (_Setting, name) for name in ("numpy.dtype", *(f"{module}.scalar" for module in _MULTIARRAY))
]
"""For ``torch.serialization.safe_globals``: nothing of numpy is called."""
_ENTRY = "vesal_entry"
"""Attribute of a storage without values: the archive's entry that holds them, such as ``data/8``."""


class _Describer(Unpickler):
    """torch's own reader; a storage has no values, and knows in which entry they are."""

    def __init__(self, pickled: bytes) -> None:
        self._bytes = io.BytesIO(pickled)
        super().__init__(self._bytes, encoding="utf-8")
        self.read = self._next

    def _next(self, count: int) -> bytes:
        """The next bytes, if the last opcode made no tuple of tuples of tuples, as torch.save makes none.

        A few bytes make one so large or so deep that, as the key of a dict, it is hashed for ever or ends the
        process.
        """
        top = self.stack[-1] if self.stack else None
        if type(top) is tuple and any(type(item) is tuple and tuple in map(type, item) for item in top):
            raise pickle.UnpicklingError("a tuple of tuples of tuples")
        return self._bytes.read(count)

    def persistent_load(self, described: Any) -> Any:
        """A storage without values."""
        _, kind, key, _, count = described
        storage = torch.UntypedStorage(count * kind.dtype.itemsize, device="meta")
        setattr(storage, _ENTRY, f"data/{key}")
        return torch.storage.TypedStorage(wrap_storage=storage, dtype=kind.dtype, _internal=True)


def described(pickled: bytes) -> Any:
    """What a pickle says, with tensors without values.

    Raises:
        pickle.UnpicklingError: it asks for more than tensors, numbers, text and containers.
        Exception: almost any, on a damaged pickle.
    """
    with torch.serialization.safe_globals(SETTINGS), warnings.catch_warnings():
        # Of another protocol, of which the reader refuses what it does not know.
        warnings.simplefilter("ignore")
        return _Describer(pickled).load()


def entry_of(tensor: Tensor) -> str | None:
    """The archive's entry that holds the values of a tensor (of any shape) that was ``described``, if any."""
    entry: str | None = getattr(tensor.untyped_storage(), _ENTRY, None)
    return entry


def refusal(message: str, pickled: bytes) -> str:
    """What a pickle wants that torch's restricted reader does not give, whose message this is."""
    asked = re.search(r"GLOBAL (\S+)", message)
    operand = re.search(r"Unsupported operand (\d+)", message)
    wanted = f"wants what it may not ({message[:200]})"
    if asked:
        wanted = f"asks for {shown(asked[1])}"
    elif operand:
        names = {ord(opcode.code): opcode.name for opcode in pickletools.opcodes}
        opcode = names.get(int(operand[1]), f"byte {operand[1]} as an opcode")
        wanted = f"uses {opcode}{_foreign_name(pickled)}"
    return (
        f"the pickle {wanted}, which no published checkpoint needs; refused, and nothing of it was run. Give "
        "the published file."
    )


def _foreign_name(pickled: bytes) -> str:
    """The first name beside torch's that a pickle asks for: torch stops at opcodes that it does not know."""
    texts: list[str] = []
    try:
        for opcode, argument, _ in pickletools.genops(pickled):
            texts += [argument] if isinstance(argument, str) else []
            if opcode.name in ("GLOBAL", "INST", "STACK_GLOBAL"):
                name = ".".join(texts[-2:]) if argument is None else texts[-1].replace(" ", ".")
                if name.split(".")[0] not in ("torch", "collections", "numpy", "_codecs"):
                    return f" and asks for {shown(name)}"
    except ValueError:  # damaged behind what was refused
        pass
    return ""

"""The prompts' pickle, read without running anything that it asks for.

numpy stores a dict in an npz as the pickle of an object array. A pickle is a program, so only the few globals
that such an array needs are known here, and even these are not numpy's own: a forged dtype state can make
numpy read arbitrary memory. Stand-ins record what the pickle says, and plain Python values are built from the
records.
"""

import io
import pickle
import pickletools
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from inference.errors import PromptError, UnsafePickleError, shown

_MULTIARRAY = ("numpy.core.multiarray", "numpy._core.multiarray")  # numpy 1 and numpy 2
_NUMERIC = ("numpy.core.numeric", "numpy._core.numeric")
_PLAIN_DTYPE = re.compile(r"[biufSU]\d{1,6}")
MAX_TUPLES = 20_000  # a numpy scalar takes three or four
_PLAIN_TYPES = (str, int, float, bool, type(None))


def load_plain(data: bytes, source: str = "The prompts") -> Any:
    """Return what the pickle `data` holds, as dict, list, tuple, str, int, float, bool and None only.

    numpy scalars become Python numbers, numpy arrays become lists (a 0-d array becomes its element). Raises
    UnsafePickleError, naming the global, when the pickle asks for anything else, and PromptError when it is
    damaged. `source` begins the message.
    """
    try:
        _refuse_absurd_sizes(data)
        # latin1 is how numpy asks for arrays that Python 2 pickled.
        return _Plain().convert(_RecordingUnpickler(io.BytesIO(data), encoding="latin1").load())
    except PromptError as error:
        raise type(error)(f"{source}: {error}") from error
    except Exception as error:  # a damaged pickle may raise almost anything
        detail = f"{type(error).__name__}: {error}"[:200]
        raise PromptError(
            f"{source}: the pickle cannot be read ({detail}). Save them again as an object array holding a "
            "dict {'1': 'sentence', 'instance_label': 0}, or give them in a JSON file."
        ) from error


def _refuse_absurd_sizes(data: bytes) -> None:
    # The C unpickler allocates its memo up to the highest index that it is told, so a dozen bytes could take
    # 64 GB; and a dict key of a million nested tuples overflows the C stack when it is hashed.
    tuples = 0
    for opcode, argument, _ in pickletools.genops(data):
        tuples += opcode.name.startswith("TUPLE")
        if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT") and (argument or 0) > len(data):
            raise UnsafePickleError(
                f"the pickle asks for a memo of {argument} entries in {len(data)} bytes; refused."
            )
        if tuples > MAX_TUPLES:
            raise UnsafePickleError(
                f"the pickle makes more than {MAX_TUPLES} tuples, which no prompts need; refused."
            )


class _DtypeRecord:
    """What a pickled numpy dtype says: its code, such as 'O8' or 'f4', and its byte order."""

    def __init__(self, code: Any, *_: Any) -> None:
        self.code = code
        self.order = "|"

    def __setstate__(self, state: Any) -> None:
        self.order = state[1]

    def numpy(self) -> np.dtype:
        """Return the dtype, if it is one of plain numbers or text."""
        known = isinstance(self.code, str) and _PLAIN_DTYPE.fullmatch(self.code)
        if not known or self.order not in ("<", ">", "|", "="):
            raise UnsafePickleError(
                f"the pickle holds numpy data of type {shown(self.code)}; only numbers and text are read."
            )
        return np.dtype(self.order + self.code)


class _ArrayRecord:
    """What a pickled numpy array says: shape, dtype, order and content (a list of objects, or bytes)."""

    def __init__(self) -> None:
        self.shape: Any = (0,)
        self.dtype: Any = None
        self.content: Any = []

    def __setstate__(self, state: Any) -> None:
        _, self.shape, self.dtype, _, self.content = state

    def elements(self) -> list[Any]:
        """Return the elements in storage order."""
        if not isinstance(self.dtype, _DtypeRecord):
            raise PromptError("the pickled prompts hold an array without a type. Save them again.")
        if isinstance(self.content, list):
            return self.content
        return np.frombuffer(self.content, self.dtype.numpy()).tolist()


class _Global:
    """A stand-in for one permitted global: callable, and immune to a pickle that tries to change it."""

    __slots__ = ("_build",)

    def __init__(self, build: Callable[..., Any]) -> None:
        self._build = build

    def __call__(self, *args: Any) -> Any:
        return self._build(*args)

    def __setstate__(self, state: Any) -> None:
        raise UnsafePickleError("the pickle tries to change a function; refused, and nothing of it was run.")


def _scalar(dtype: _DtypeRecord, raw: bytes) -> Any:
    return np.frombuffer(raw, dtype.numpy(), count=1)[0].item()


def _reconstruct(*_: Any) -> _ArrayRecord:
    return _ArrayRecord()


def _from_buffer(buffer: Any, dtype: _DtypeRecord, shape: Any, order: Any) -> _ArrayRecord:
    record = _ArrayRecord()
    record.__setstate__((1, shape, dtype, order == "F", buffer))
    return record


def _latin1(text: str, encoding: str) -> bytes:
    if encoding != "latin1":
        raise UnsafePickleError(
            f"the pickle encodes text as {shown(encoding)}; only latin1 is wanted. Refused."
        )
    return text.encode("latin1")


def _not_called(*_: Any) -> Any:
    raise UnsafePickleError("the pickle makes a bare numpy.ndarray; refused, and nothing of it was run.")


def _permitted() -> dict[tuple[str, str], Callable[..., Any]]:
    builders: dict[tuple[str, str], Callable[..., Any]] = {
        ("numpy", "dtype"): _DtypeRecord,
        ("numpy", "ndarray"): _not_called,  # named as the type to reconstruct, never called itself
        ("_codecs", "encode"): _latin1,  # how protocol 2 spells bytes
    }
    builders |= {(module, "_reconstruct"): _reconstruct for module in _MULTIARRAY}
    builders |= {(module, "scalar"): _scalar for module in _MULTIARRAY}
    builders |= {(module, "_frombuffer"): _from_buffer for module in _NUMERIC}
    return builders


class _RecordingUnpickler(pickle.Unpickler):
    """An unpickler that knows the stand-ins and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        build = _permitted().get((module, name))
        if build is None:
            raise UnsafePickleError(
                f"the pickle asks for {shown(f'{module}.{name}')}, which no prompt needs; refused, and "
                "nothing of it was run. Save the prompts as a dict of text and numbers, or give a JSON file."
            )
        return _Global(build)


class _Plain:
    """Turns records into plain values; each shared object once, so that nesting cannot multiply the work."""

    def __init__(self) -> None:
        self._done: dict[int, Any] = {}
        self._open: set[int] = set()

    def convert(self, value: Any) -> Any:
        """Return `value` without records; raises PromptError on cycles and on types that are not plain."""
        if type(value) in _PLAIN_TYPES:
            return value
        key = id(value)
        if key in self._open:
            raise PromptError("the pickled prompts contain themselves. Save them again as a plain dict.")
        if key not in self._done:
            self._open.add(key)
            # The original is kept beside the result so that its id cannot be given to another object.
            self._done[key] = (value, self._convert(value))
            self._open.discard(key)
        return self._done[key][1]

    def _convert(self, value: Any) -> Any:
        if type(value) is dict:
            return {self.convert(k): self.convert(v) for k, v in value.items()}
        if type(value) in (list, tuple):
            return type(value)(self.convert(item) for item in value)
        if type(value) is _ArrayRecord:
            elements = [self.convert(item) for item in value.elements()]
            return elements[0] if value.shape == () and len(elements) == 1 else elements
        raise PromptError(
            f"the pickled prompts hold a {type(value).__name__.lstrip('_')}; only dict, list, text, numbers "
            "and None are read. Save them again as a plain dict."
        )

"""A pickle of prompts, read without running anything that it asks for.

numpy stores a dict in an npz as the pickle of an object array. A pickle is a program, so only the few globals
that such an array needs are known here, and even these are not numpy's own: a forged dtype state can make
numpy read arbitrary memory. Stand-ins record what the pickle says, and plain Python values are built from the
records.
"""

import re
from collections.abc import Callable
from typing import Any

import numpy as np

from vesal.inference.data.errors import PromptError, UnsafePickleError, shown
from vesal.inference.io.pickle_reader import PickleReader
from vesal.inference.io.text_arrays import plain_list

_MULTIARRAY = ("numpy.core.multiarray", "numpy._core.multiarray")  # numpy 1 and numpy 2
_NUMERIC = ("numpy.core.numeric", "numpy._core.numeric")
_BUILTINS = ("builtins", "__builtin__")  # Python 3 and 2
_PLAIN_DTYPE = re.compile(r"[biufSU]\d{1,6}")
_PLAIN_TYPES = (str, int, float, bool, type(None))
PROMPTS_DICT = "a dict {'1': 'sentence', 'instance_label': 0}, or give them in a JSON file"


def load_plain(data: bytes, source: str = "The prompts", wanted: str = PROMPTS_DICT) -> Any:
    """Return what the pickle `data` holds, as dict, list, tuple, str, int, float, bool and None only.

    numpy scalars become Python numbers, numpy arrays become nested lists (a 0-d array becomes its element).
    Raises UnsafePickleError, naming the global, when the pickle asks for anything else, and PromptError when
    it is damaged. `source` begins the message, `wanted` says what should be saved.
    """
    try:
        return _Plain().convert(PickleReader(_find).read(data))
    except PromptError as error:
        raise type(error)(f"{source}: {error}") from error
    except Exception as error:  # a damaged pickle may raise almost anything
        detail = f"{type(error).__name__}: {error}"[:200]
        raise PromptError(
            f"{source}: the pickle cannot be read ({detail}). Save them again as an object array holding "
            f"{wanted}."
        ) from error


class _DtypeRecord:
    """What a pickled numpy dtype says: its code, such as 'O8' or 'f4', and its byte order."""

    def __init__(self, code: Any, *_: Any) -> None:
        self.code = code
        self.order = "|"

    def set_state(self, state: Any) -> None:
        """Take the state that numpy pickles."""
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
        self.is_fortran: Any = False
        self.content: Any = []

    def set_state(self, state: Any) -> None:
        """Take the state that numpy pickles."""
        _, self.shape, self.dtype, self.is_fortran, self.content = state

    def elements(self) -> list[Any]:
        """Return the elements in storage order."""
        if not isinstance(self.dtype, _DtypeRecord):
            raise PromptError("the pickled prompts hold an array without a type. Save them again.")
        if isinstance(self.content, list):
            return self.content
        return list(plain_list(np.frombuffer(self.content, self.dtype.numpy())))

    def nested(self, elements: list[Any]) -> Any:
        """Return elements in storage order as lists within lists by shape; of a 0-d array the element."""
        if not elements or len(self.shape) == 1:
            return elements
        # An array of positions: elements that are lists themselves must not become further axes.
        positions = np.arange(len(elements)).reshape(self.shape, order="F" if self.is_fortran else "C")
        return _picked(positions.tolist(), elements)


def _picked(positions: Any, elements: list[Any]) -> Any:
    """Elements in the place of their positions, which are nested at most as deep as numpy has axes."""
    if isinstance(positions, list):
        return [_picked(position, elements) for position in positions]
    return elements[positions]


def _scalar(dtype: _DtypeRecord, raw: bytes) -> Any:
    return plain_list(np.frombuffer(raw, dtype.numpy(), count=1))[0]


def _reconstruct(*_: Any) -> _ArrayRecord:
    return _ArrayRecord()


def _from_buffer(buffer: Any, dtype: _DtypeRecord, shape: Any, order: Any) -> _ArrayRecord:
    record = _ArrayRecord()
    record.set_state((1, shape, dtype, order == "F", buffer))
    return record


def _latin1(text: str, encoding: str) -> bytes:
    if encoding != "latin1":
        raise UnsafePickleError(
            f"the pickle encodes text as {shown(encoding)}; only latin1 is wanted. Refused."
        )
    return text.encode("latin1")


def _not_called(*_: Any) -> Any:
    raise UnsafePickleError("the pickle makes a bare object of a type; refused, and nothing of it was run.")


def _ordered(pairs: Any = ()) -> dict[Any, Any]:
    """An ordered dict, whose items follow, or come as pairs from Python 2."""
    found: dict[Any, Any] = {}
    for key, value in pairs:
        if type(key) not in _PLAIN_TYPES:
            raise PromptError(f"the pickle has a {type(key).__name__} as a key; text or a number is wanted.")
        found[key] = value
    return found


def _default(*_: Any) -> dict[Any, Any]:
    """A dict with a default, whose items follow; the default is never asked for."""
    return {}


_BUILDERS: dict[tuple[str, str], Callable[..., Any]] = {
    ("numpy", "dtype"): _DtypeRecord,
    ("numpy", "ndarray"): _not_called,  # named as the type to reconstruct, never called itself
    ("_codecs", "encode"): _latin1,  # how protocol 2 spells bytes
    ("collections", "OrderedDict"): _ordered,
    ("collections", "defaultdict"): _default,
    **{(module, name): _not_called for module in _BUILTINS for name in ("dict", "int", "list", "str")},
    **{(module, "_reconstruct"): _reconstruct for module in _MULTIARRAY},
    **{(module, "scalar"): _scalar for module in _MULTIARRAY},
    **{(module, "_frombuffer"): _from_buffer for module in _NUMERIC},
}


def _find(module: Any, name: Any) -> Callable[..., Any]:
    builder = _BUILDERS.get((str(module), str(name)))
    if builder is None:
        raise UnsafePickleError(
            f"the pickle asks for {shown(f'{module}.{name}')}, which no prompt needs; refused, and "
            "nothing of it was run. Save the prompts as a dict of text and numbers, or give a JSON file."
        )
    # A fresh function each time: the permitted ones themselves are never in the pickle's hands.
    return lambda *arguments: builder(*arguments)


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
        if type(value) is bytes:
            return value.decode("utf-8", "replace")
        if type(value) is dict:
            return {self.convert(k): self.convert(v) for k, v in value.items()}
        if type(value) in (list, tuple):
            return type(value)(self.convert(item) for item in value)
        if type(value) is _ArrayRecord:
            return value.nested([self.convert(item) for item in value.elements()])
        raise PromptError(
            f"the pickled prompts hold a {type(value).__name__.lstrip('_')}; only dict, list, text, numbers "
            "and None are read. Save them again as a plain dict."
        )

"""A reader of pickles that can only build data.

`pickle.Unpickler` with a restricted `find_class` runs nothing foreign, but still lets a few bytes allocate 64
GB (the memo), hash a tuple for ever (as a dict key) or overflow the stack. Prompts need some forty opcodes,
so these are interpreted here: constants, containers, the memo, and calls of builders that the caller permits.
"""

import pickletools
from collections.abc import Callable
from typing import Any

from vesal.inference.data.errors import PromptError, UnsafePickleError, shown
from vesal.inference.io.limits import MAX_OPCODES

Finder = Callable[[str, str], Callable[..., Any]]

# Opcodes whose argument is the value: pickletools has decoded it already.
_INTEGERS = ("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4")
_FLOATS = ("FLOAT", "BINFLOAT")
_TEXTS = (
    "UNICODE",
    "BINUNICODE",
    "SHORT_BINUNICODE",
    "BINUNICODE8",
    "STRING",
    "BINSTRING",
    "SHORT_BINSTRING",
)
_BYTES = ("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8")
_CONSTANTS = frozenset(_INTEGERS + _FLOATS + _TEXTS + _BYTES)
_FIXED: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
    "EMPTY_TUPLE": tuple,
}
_KEY_TYPES = (str, int, float, bool, type(None))


class PickleReader:
    """Interprets one pickle; `find(module, name)` returns the builder for a global or raises.

    Only results of builders that have `set_state(state)` can be changed by the pickle (opcode BUILD). Dict
    keys must be text, numbers or None. Raises UnsafePickleError for any opcode beyond that, and whatever
    Python raises on a damaged pickle.
    """

    def __init__(self, find: Finder) -> None:
        """Start with an empty stack and memo."""
        self._find = find
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}

    def read(self, data: bytes) -> Any:
        """Return the value that the pickle `data` describes."""
        for number, (opcode, argument, _) in enumerate(pickletools.genops(data)):
            if number == MAX_OPCODES:
                raise PromptError(
                    f"the pickle has more than {MAX_OPCODES} steps; a few per prompt are wanted."
                )
            if opcode.name == "STOP":
                return self._stack.pop()
            self._step(opcode.name, argument)
        raise EOFError("the pickle has no end")

    def _step(self, name: str, argument: Any) -> None:
        if name in _CONSTANTS:
            self._stack.append(argument)
        elif name in _FIXED:
            self._stack.append(_FIXED[name]())
        elif name not in ("PROTO", "FRAME"):
            action = getattr(self, f"_op_{name.lower()}", None)
            if action is None:
                wanted = f" for {shown(argument)}" if argument is not None else ""
                raise UnsafePickleError(f"the pickle uses {name}{wanted}, which no prompt needs; refused.")
            action(argument)

    def _since_mark(self) -> list[Any]:
        start = self._marks.pop()
        items = self._stack[start:]
        del self._stack[start:]
        return items

    def _op_mark(self, _: Any) -> None:
        self._marks.append(len(self._stack))

    def _op_pop(self, _: Any) -> None:
        self._stack.pop()

    def _op_pop_mark(self, _: Any) -> None:
        self._since_mark()

    def _op_dup(self, _: Any) -> None:
        self._stack.append(self._stack[-1])

    def _op_put(self, index: int) -> None:
        self._memo[index] = self._stack[-1]

    def _op_memoize(self, _: Any) -> None:
        self._memo[len(self._memo)] = self._stack[-1]

    def _op_get(self, index: int) -> None:
        self._stack.append(self._memo[index])

    _op_binput = _op_long_binput = _op_put
    _op_binget = _op_long_binget = _op_get

    def _op_tuple(self, _: Any) -> None:
        self._stack.append(tuple(self._since_mark()))

    def _op_list(self, _: Any) -> None:
        self._stack.append(self._since_mark())

    def _op_dict(self, _: Any) -> None:
        items = self._since_mark()
        self._stack.append({})
        self._set_items(items)

    def _op_tuple1(self, _: Any) -> None:
        self._top_as_tuple(1)

    def _op_tuple2(self, _: Any) -> None:
        self._top_as_tuple(2)

    def _op_tuple3(self, _: Any) -> None:
        self._top_as_tuple(3)

    def _top_as_tuple(self, length: int) -> None:
        if len(self._stack) < length:
            raise IndexError("the pickle takes more from its stack than it put there")
        self._stack[-length:] = [tuple(self._stack[-length:])]

    def _op_append(self, _: Any) -> None:
        self._extend([self._stack.pop()])

    def _op_appends(self, _: Any) -> None:
        self._extend(self._since_mark())

    def _extend(self, items: list[Any]) -> None:
        if type(self._stack[-1]) is not list:
            raise PromptError(f"the pickle appends to a {type(self._stack[-1]).__name__}. Save it again.")
        self._stack[-1].extend(items)

    def _op_setitem(self, _: Any) -> None:
        value, key = self._stack.pop(), self._stack.pop()
        self._set_items([key, value])

    def _op_setitems(self, _: Any) -> None:
        self._set_items(self._since_mark())

    def _set_items(self, items: list[Any]) -> None:
        if type(self._stack[-1]) is not dict:
            raise PromptError(f"the pickle sets keys of a {type(self._stack[-1]).__name__}. Save it again.")
        for key, value in zip(items[::2], items[1::2], strict=True):
            if type(key) not in _KEY_TYPES:
                raise PromptError(
                    f"the pickle has a {type(key).__name__} as a key; text or a number is wanted."
                )
            self._stack[-1][key] = value

    def _op_global(self, argument: str) -> None:
        self._stack.append(self._find(*argument.split(" ", 1)))

    # INST names a class and makes an instance of it at once; the name is judged, and nothing permitted needs
    # it.
    _op_inst = _op_global

    def _op_stack_global(self, _: Any) -> None:
        name, module = self._stack.pop(), self._stack.pop()
        if type(name) is not str or type(module) is not str:
            # Not even spelled out: nested tuples double their text with every level.
            raise UnsafePickleError(
                f"the pickle names what it wants by a {type(module).__name__} and a {type(name).__name__} "
                "instead of text; refused, and nothing of it was run."
            )
        self._stack.append(self._find(module, name))

    def _op_reduce(self, _: Any) -> None:
        arguments, builder = self._stack.pop(), self._stack.pop()
        self._stack.append(builder(*arguments))

    def _op_build(self, _: Any) -> None:
        state, record = self._stack.pop(), self._stack[-1]
        if not hasattr(record, "set_state"):
            raise UnsafePickleError(
                f"the pickle tries to change a {type(record).__name__}; refused, and nothing of it was run."
            )
        record.set_state(state)

"""JSON files of weights, checked by msgspec: name, type and range of every field."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from vesal.inference.data.errors import ProfileError, UnreadableFileError, shown
from vesal.inference.io.files import open_regular_file

T = TypeVar("T")
MAX_BYTES = 16 << 20
"""Of a manifest or a list of names; those here have 20 kB."""

_PLACE = re.compile(r" - at `\$(.*)`$")
"""How msgspec ends a message that concerns a part of the content."""
_STEP = re.compile(r"\.([^.\[]+)|\[(\d+)\]")


def one_of(words: Sequence[str]) -> msgspec.Meta:
    """The constraint of a string field that is one of ``words``."""
    return msgspec.Meta(pattern=rf"^({'|'.join(words)})\Z")


def read_json(path: Path, hint: str) -> Any:
    """The content of a JSON file.

    Args:
        path: the file.
        hint: what to do where it cannot be read, for the message.

    Raises:
        ProfileError: it cannot be read, or is not JSON.
    """
    try:
        with open_regular_file(path) as file:
            data = file.read(MAX_BYTES + 1)
    except (OSError, UnreadableFileError) as error:
        raise ProfileError(f"{path} cannot be read ({error}); {hint}") from None
    if len(data) > MAX_BYTES:
        raise ProfileError(f"{path} has over {MAX_BYTES} bytes, so it is no manifest; {hint}")
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ProfileError(f"{path} is not JSON: {error}; export or convert the weights again.") from None


def checked(content: Any, kind: type[T], path: Path, at: str = "$") -> T:
    """Parsed JSON as a ``msgspec.Struct``.

    Args:
        content: what stands at ``at``.
        kind: the struct; its types and constraints are what is checked.
        path: the file, for the message.
        at: where in the file, as msgspec writes it: `$` is the whole, `$.rules` one of its fields.

    Raises:
        ProfileError: a field is missing, unknown, of another type or out of range. The message names file and
            field, what is wanted there and what came.
    """
    try:
        return msgspec.convert(content, kind)
    except msgspec.ValidationError as error:
        place = _PLACE.search(str(error))
        within = place[1] if place else ""
        raise ProfileError(
            f"{path} does not describe weights: {_PLACE.sub('', str(error))} - at `{at}{within}`"
            f"{_came(content, within)}. Correct it, or export or convert the weights again."
        ) from None


def _came(content: Any, within: str) -> str:
    """For the message: what stands at a place; nothing where msgspec does not tell the key."""
    if "[...]" in within:
        return ""
    for name, index in _STEP.findall(within):
        content = content[name] if name else content[int(index)]
    return f", which is {shown(content)}"

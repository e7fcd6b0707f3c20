"""Boxes and points as a user wrote them down, on the command line or in NAME.prompt.json, unchecked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from vesal.inference.data.errors import UserPromptError

Key = int | str
"""Id of a prompt, or its name."""


@dataclass(frozen=True)
class Mark:
    """What was written of one prompt."""

    sentence: str = ""
    boxes: tuple[Any, ...] = ()
    points: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Spelling:
    """How boxes, or points, are written down in one place, for messages."""

    source: str
    wanted: str


@dataclass(frozen=True)
class Marks:
    """What was written of all prompts in one place."""

    source: str = ""
    """For messages."""
    by_key: Mapping[Key, Mark] = field(default_factory=dict)
    """By id or by name, in the order given."""
    boxes: Any = None
    """A list that does not say for which prompts it is, see `io.user_values`; None where there is none."""
    points: Any = None
    instance: bool | None = None
    """Whether objects are wanted; None where that is not said."""
    notes: tuple[str, ...] = ()
    problems: tuple[UserPromptError, ...] = ()
    """What could not be read of it."""
    spelled: Mapping[str, Spelling] = field(default_factory=dict, compare=False)
    """How boxes and points are written there, by kind."""


NO_MARKS = Marks()

"""Boxes and points that a user wrote down, by prompt: names become ids (``data.marks``)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from vesal.inference.data.errors import PromptIdError, UserPromptError, shown
from vesal.inference.data.marks import Key, Mark, Marks
from vesal.inference.data.user_prompts import BOXES
from vesal.inference.io.prompt_values import parse_id
from vesal.inference.io.user_values import Problems


def has_marks(marks: Marks, kind: str) -> bool:
    """Whether there are any boxes, or any points."""
    return listed(marks, kind) is not None or any(_of(mark, kind) for mark in marks.by_key.values())


def listed(marks: Marks, kind: str) -> Any:
    """The list of a kind that does not say for which prompts it is; None where there is none."""
    return marks.boxes if kind == BOXES else marks.points


def marked_values(marks: Marks, kind: str, sentences: Mapping[int, str], problems: Problems) -> Any:
    """Boxes or points as `user_values` reads them.

    Args:
        marks: of one place.
        kind: BOXES or POINTS.
        sentences: of the case's prompts by id.
        problems: gets an error for each name that no prompt has.
    """
    if listed(marks, kind) is not None:
        return listed(marks, kind)
    found: dict[int, list[Any]] = {}
    for key, mark in marks.by_key.items():
        id_ = key if isinstance(key, int) else id_of(key, sentences)
        if id_ is not None and _of(mark, kind):
            found.setdefault(id_, []).extend(_of(mark, kind))
        elif _of(mark, kind):
            problems.append(
                UserPromptError(
                    f"{marks.source}: {shown(key)} is the name of no prompt, or of several; the case has "
                    f"{shown(dict(sentences))}. Use a prompt's id."
                )
            )
    return found


def _of(mark: Mark, kind: str) -> tuple[Any, ...]:
    return mark.boxes if kind == BOXES else mark.points


def id_of(name: str, sentences: Mapping[int, str]) -> int | None:
    """The prompt whose sentence is a name, else the only one that holds it as whole words; None: none is."""
    plain = _plain(name)
    texts = {id_: _plain(text) for id_, text in sentences.items()}
    same = [id_ for id_, text in texts.items() if text == plain]
    holding = [id_ for id_, text in texts.items() if f" {plain} " in f" {text} "]
    found = same or holding
    return found[0] if plain and len(found) == 1 else None


def _plain(text: str) -> str:
    """Words alone, in small letters."""
    return " ".join(re.findall(r"\w+", text.casefold()))


def key_of(key: Any, source: str) -> Key:
    """An id or a name. Raises PromptIdError where it is neither."""
    try:
        return parse_id(key, source)
    except PromptIdError:
        is_name = isinstance(key, str) and any(c.isalpha() for c in key)
        if not is_name:
            raise
        return str(key).strip()

"""NAME.prompt.json: boxes and points beside a case in a form that is easy to write, with or without names.

    {"liver": {"box": [12, 40, 60, 30, 200, 220]}, "2": {"points": [[20, 100, 90, "+"], [22, 30, 40, "-"]]}}
    [{"id": 2, "name": "left kidney", "box": ...}, ...]
    {"boxes": {"1": [[...], ...]}, "points": {"1": [[...], ...]}}

Boxes are (d0, h0, w0, d1, h1, w1) with the last three exclusive, points (d, h, w) or (d, h, w, label); the
notations of `user_boxes` and `user_points` do as well.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from vesal.inference.data.errors import PromptError, UserPromptError, shown
from vesal.inference.data.marks import NO_MARKS, Key, Mark, Marks, Spelling
from vesal.inference.data.user_prompts import BOXES, POINTS
from vesal.inference.io import user_boxes, user_points
from vesal.inference.io.marks import key_of
from vesal.inference.io.prompt_files import read_json
from vesal.inference.io.prompt_values import (
    INSTANCE_KEY,
    SENTENCE_KEYS,
    is_key,
    parse_instance,
    parse_sentence,
)

BOX_KEYS, POINT_KEYS = ("boxes", "box", "bbox"), ("points", "point", "clicks")
ID_KEYS = ("id", "class")
KNOWN = frozenset(
    (*BOX_KEYS, *POINT_KEYS, *ID_KEYS, *SENTENCE_KEYS, *user_boxes.NOTATION.keys, *user_points.NOTATION.keys)
    + ("z_mid",)
)
SPELLED = {
    BOXES: 'whole numbers, {"1": {"box": [d0, h0, w0, d1, h1, w1]}}, the last three exclusive, or '
    f"a dict with {', '.join((*user_boxes.FIRST, *user_boxes.LAST))}",
    POINTS: 'whole numbers, {"1": {"points": [[d, h, w, "+"]]}}, with "+" or 1 inside and "-" or 0 outside, '
    "or the lists fg and bg",
}
"""How they are written in such a file, by kind."""
WANTED = (
    'a dict such as {"1": {"name": "liver", "box": [d0, h0, w0, d1, h1, w1], "points": [[d, h, w, "+"]]}} is '
    "wanted"
)


def read_marks_file(path: Path) -> Marks:
    """What NAME.prompt.json says; nothing where there is none.

    What cannot be read of one prompt is among `problems` and leaves the others.

    Raises:
        PromptFileError: it cannot be read, or is no JSON.
        UserPromptError: it is neither a dict nor a list.
    """
    if not os.path.lexists(path):
        return NO_MARKS
    return parse_marks(read_json(path), path.name)


def parse_marks(content: Any, source: str) -> Marks:
    """The same of what a JSON file holds."""
    if isinstance(content, dict) and len(content) == 1 and next(iter(content)) in ("prompts", "classes"):
        (content,) = content.values()
    if not isinstance(content, (dict, list)):
        raise UserPromptError(f"{source}: {shown(content)}; {WANTED}.")
    reader = _Reader(source)
    if isinstance(content, list):
        reader.take_list(content)
    elif _first(content, (*BOX_KEYS, *POINT_KEYS, *user_points.NOTATION.keys)) is not None:
        reader.take_kinds(content)
    else:
        reader.take_dict(content)
    return reader.marks()


class _Reader:
    """Collects what a file says of each prompt."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._by_key: dict[Key, Mark] = {}
        self._listed: dict[str, Any] = {}
        self._instance: bool | None = None
        self._notes: list[str] = []
        self._problems: list[UserPromptError] = []

    def marks(self) -> Marks:
        """What was found."""
        return Marks(
            self._source,
            self._by_key,
            self._listed.get(BOXES),
            self._listed.get(POINTS),
            self._instance,
            tuple(self._notes),
            tuple(self._problems),
            {kind: Spelling(self._source, wanted) for kind, wanted in SPELLED.items()},
        )

    def take_list(self, content: list[Any]) -> None:
        """An entry for each prompt, with its id or at its place."""
        for place, value in enumerate(content, 1):
            name = _first(value, SENTENCE_KEYS) if isinstance(value, dict) else None
            self._take(place if name is None else name, value)

    def take_dict(self, content: dict[str, Any]) -> None:
        """By id or name."""
        for key, value in content.items():
            if not self._is_setting(key, value):
                self._take(key, value)

    def take_kinds(self, content: dict[str, Any]) -> None:
        """By kind, then by id or name, or as lists."""
        for kind, keys, notation in (
            (BOXES, BOX_KEYS, user_boxes.NOTATION),
            (POINTS, POINT_KEYS, user_points.NOTATION),
        ):
            values = _first(content, keys)
            if isinstance(values, dict) and not any(key in values for key in notation.keys):
                for key, value in values.items():
                    self._take(key, {kind: value})
            elif values is not None:
                self._listed[kind] = values
        if any(key in content for key in user_points.NOTATION.keys):
            self._listed.setdefault(POINTS, {key: content.get(key) for key in user_points.NOTATION.keys})
        for key, value in content.items():
            is_kind = key in (*BOX_KEYS, *POINT_KEYS, *user_points.NOTATION.keys)
            if not is_kind and not self._is_setting(key, value) and isinstance(value, (str, dict)):
                self._take(key, value)

    def _is_setting(self, key: str, value: Any) -> bool:
        if not is_key(key, INSTANCE_KEY):
            return False
        try:
            self._instance, notes = parse_instance(value, self._source)
            self._notes += notes
        except PromptError as error:
            self._notes.append(f"{error} It is taken as 0.")
        return True

    def _take(self, key: Any, value: Any) -> None:
        """Add what a value says of the prompt of a key, or of the id in the value."""
        try:
            name = key_of(key, self._source)
            id_ = _first(value, ID_KEYS) if isinstance(value, dict) else None
            plain = name if id_ is None else key_of(id_, self._source)
            mark = self._mark(name, value)
        except (PromptError, UserPromptError) as error:
            self._problems.append(UserPromptError(f"{type(error).__name__}: {error}"))
            return
        before = self._by_key.get(plain, Mark())
        self._by_key[plain] = Mark(
            mark.sentence or before.sentence, (*before.boxes, *mark.boxes), (*before.points, *mark.points)
        )

    def _mark(self, key: Key, value: Any) -> Mark:
        """What a value says of one prompt: a dict, a sentence alone, or nothing."""
        named = key if isinstance(key, str) else ""
        if value is None or value in ([], {}):
            return Mark(named)
        if isinstance(value, str):
            return Mark(parse_sentence(value, key, self._source))
        if not isinstance(value, dict):
            raise UserPromptError(f"{self._source}, prompt {shown(key)}: {shown(value)}; {WANTED}.")
        unknown = [name for name in value if name not in KNOWN]
        if unknown:
            told = ", ".join(map(shown, unknown[:5]))
            raise UserPromptError(f"{self._source}, prompt {shown(key)}: {told} is not known; {WANTED}.")
        text = _first(value, SENTENCE_KEYS)
        sentence = parse_sentence(text, key, self._source) if text not in (None, "") else named
        points = _rows(_first(value, POINT_KEYS), user_points.NOTATION.keys)
        clicks = {k: value[k] for k in user_points.NOTATION.keys if k in value}
        boxes = _rows(_first(value, BOX_KEYS), user_boxes.NOTATION.keys)
        if any(k in value for k in user_boxes.FIRST):
            boxes = (*boxes, {k: v for k, v in value.items() if k in user_boxes.NOTATION.keys})
        return Mark(sentence, boxes, (*points, clicks) if clicks else points)


def _first(value: dict[str, Any], keys: tuple[str, ...]) -> Any:
    """What stands under the first of some keys that there is."""
    return next((value[key] for key in keys if value.get(key) is not None), None)


def _rows(value: Any, keys: tuple[str, ...]) -> tuple[Any, ...]:
    """The rows of one prompt, of which one alone will do."""
    if value is None:
        return ()
    if isinstance(value, list) and not any(isinstance(item, (int, float)) for item in value):
        return tuple(item for item in value if item is not None)
    return (value,)

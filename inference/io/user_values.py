"""What boxes and points of a user have in common: plain values to what each prompt has.

Two notations are read: a dict of prompt id -> list, or with a single prompt that list alone; and that of the
challenge's interactive track (CVPR 2025), a list with one dict for each class, in the order of the classes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from vesal.inference.data.errors import PromptIdError, UserPromptError, shown
from vesal.inference.data.user_prompts import Voxel, not_used
from vesal.inference.io.prompt_values import parse_id

MAX_DIGITS = 18
"""Of a prompt id and of a coordinate: longer ones are not believed."""

MAX_TOLD = 20
"""Boxes, or points, that are not used and told one by one."""

Problems = list[UserPromptError]
"""What cannot be used, where the rest is to be used all the same."""


@contextmanager
def left_out(problems: Problems | None) -> Iterator[None]:
    """An error of the block goes to the list; where there is none it is raised."""
    try:
        yield
    except UserPromptError as error:
        if problems is None:
            raise
        problems.append(error)


def told(problems: Sequence[UserPromptError], kind: str = "prompts", some: bool = True) -> list[str]:
    """Fallbacks of the report, one for each that cannot be used; of very many the first ones are told.

    ``some``: others of the kind are used.
    """
    whys = [f"{type(error).__name__}: {error}" for error in problems]
    lines = [f"one of the user's {kind} is not used: {why}" if some else not_used(kind, why) for why in whys]
    more = len(lines) - MAX_TOLD
    return [*lines[:MAX_TOLD], f"{more} more of the user's {kind} are not used"] if more > 0 else lines


@dataclass(frozen=True)
class Notation:
    """Names of one kind of values, for reading and for messages."""

    kind: str
    keys: tuple[str, ...]
    """Of the challenge's dict for one prompt."""
    wanted: str
    error: type[UserPromptError]
    depth: int = 0
    """Lists within one another that stand under such a key: with one more, it holds all classes."""
    track: tuple[str, ...] = ()
    """Those of ``keys`` by which a dict is the challenge's own, of which there is one a class."""
    one_a_class: bool = False
    """Whether, where no prompt has a name, the rows of a plain list are those of classes 1, 2, ..."""

    def written(self, wanted: str | None) -> Notation:
        """The same with what is wanted in another place's own form, for messages; None leaves it."""
        return self if wanted is None else replace(self, wanted=wanted)

    def by_prompt(
        self, values: Any, ids: Collection[int], source: str, problems: Problems | None = None
    ) -> dict[int, list[Any]]:
        """The rows of each prompt, ids ascending.

        A list with an entry for each prompt goes by the order of their ids. One of another length goes by
        classes 1, 2, ..., where the prompts are 1 to n, or where it reaches to the last one. With a single
        prompt all is its own, but for several of the challenge's dicts: it has one for each class.

        Args:
            values: dicts, lists, numbers and None in one of the two notations; None and [] are nothing.
            ids: of the case's prompts.
            source: where they were found, for messages.
            problems: see `left_out`.

        Raises:
            UserPromptError: of the kind, where they are of no notation, or for a prompt that there is not.
        """
        known = sorted(ids)
        values = self._by_class_of_columns(values)
        if values is None or (isinstance(values, (list, tuple)) and not values):
            return {}
        if isinstance(values, dict) and not self._is_entry(values):
            named = self._by_id(values, known, source, problems)
        elif len(known) == 1 and not self._is_of_classes(values, known[0]):
            named = {known[0]: values}
        else:
            named = self._in_order(values, known, source, problems)
        found = {}
        for id_, value in named.items():
            with left_out(problems):
                found[id_] = self._rows(value, f"{source}, prompt {id_}")
        return found

    def by_class(self, values: Any, source: str, problems: Problems | None = None) -> dict[int, Any]:
        """What each class has, where no sentence says which prompts there are.

        Classes with None or an empty list count too. Raises UserPromptError where a key is no id, see
        `left_out`.
        """
        values = self._by_class_of_columns(values)
        if values is None:
            return {}
        if isinstance(values, dict) and not self._is_entry(values):
            found: dict[int, Any] = {}
            for key, value in values.items():
                with left_out(problems):
                    id_ = self._id(key, source)
                    if id_ in found:
                        raise self._error(f"{source}: prompt id {id_} comes twice. Keep one.")
                    found[id_] = value
            return dict(sorted(found.items()))
        if not isinstance(values, (list, tuple)):
            return {1: values}
        entries = all(self._is_of_a_class(value) for value in values)
        rows = self.one_a_class and not any(isinstance(value, (int, float)) for value in values)
        return dict(enumerate(values, 1)) if entries or rows else {1: values}

    def refused(self, source: str, problem: str, malformed: bool = True) -> UserPromptError:
        """The error that says what came and what is wanted."""
        return self._error(f"{source}: {problem}; wanted are {self.wanted}.", malformed)

    def whole(self, value: Any, source: str, row: Any = None) -> int:
        """A whole number of any type of number, of a ``row`` that the message shows.

        Raises UserPromptError, also for NaN and infinity.
        """
        number = int(value) if isinstance(value, float) and value.is_integer() else value
        if type(number) is not int or abs(number) >= 10**MAX_DIGITS:
            of = "" if row is None else f", of {shown(row)}"
            is_number = isinstance(value, (int, float)) and type(value) is not bool
            raise self.refused(source, f"{shown(value)} is no whole number{of}", malformed=not is_number)
        return number

    def voxel(self, values: Any, source: str, row: Any = None) -> Voxel:
        """Three whole numbers (D,H,W), of a ``row`` that the message shows. Raises UserPromptError."""
        d, h, w = (self.whole(value, source, row) for value in values)
        return d, h, w

    def _error(self, message: str, malformed: bool = True) -> UserPromptError:
        error = self.error(message)
        error.malformed = malformed
        return error

    def _id(self, key: Any, source: str) -> int:
        try:
            return parse_id(key, source)
        except PromptIdError as error:
            raise self._error(str(error), malformed=not isinstance(key, int)) from error

    def _is_entry(self, value: Any) -> bool:
        return isinstance(value, dict) and any(key in value for key in self.keys)

    def _is_of_a_class(self, value: Any) -> bool:
        """Whether an item of a list is all that one class has: nothing, an entry, or a list of rows."""
        if isinstance(value, (list, tuple)):
            return not any(isinstance(item, (int, float)) for item in value)
        return value is None or value == {} or self._is_entry(value)

    def _is_of_classes(self, values: Any, last: int) -> bool:
        """Whether a list is of classes 1, 2, ... as far as ``last`` at least, by the challenge's dicts."""
        if not isinstance(values, (list, tuple)) or len(values) < max(2, last):
            return False
        of_track = [isinstance(value, dict) and any(key in value for key in self.track) for value in values]
        return any(of_track) and all(map(self._is_of_a_class, values))

    def _by_class_of_columns(self, values: Any) -> Any:
        """One dict whose keys hold the values of all classes as a list with a dict for each; else as it
        is.
        """
        if not self._is_entry(values):
            return values
        columns = {key: value for key, value in values.items() if _depth(value) == self.depth + 1}
        others = [value for key, value in values.items() if key in self.keys and key not in columns]
        if not columns or any(_depth(value) == self.depth for value in others if value):
            return values
        count = max(len(value) for value in columns.values())
        return [{key: column[n] for key, column in columns.items() if n < len(column)} for n in range(count)]

    def _by_id(
        self, values: dict[Any, Any], known: list[int], source: str, problems: Problems | None
    ) -> dict[int, Any]:
        spelled: dict[Any, int] = {id_: id_ for id_ in known} | {str(id_): id_ for id_ in known}
        found: dict[int, Any] = {}
        for key, value in values.items():
            with left_out(problems):
                id_ = spelled.get(key.strip() if isinstance(key, str) else key)
                if id_ is None:
                    problem = f"{shown(key)} is no prompt's id; the case has {known[:10]}"
                    raise self._error(f"{source}: {problem}.", malformed=False)
                if id_ in found:
                    raise self._error(f"{source}: prompt id {id_} comes twice. Keep one.")
                found[id_] = value
        return dict(sorted(found.items()))

    def _in_order(
        self, values: Any, known: list[int], source: str, problems: Problems | None
    ) -> dict[int, Any]:
        entries = values if isinstance(values, (list, tuple)) else ()
        # Of a list that has some of the challenge's dicts, what is none of them is told by itself.
        of_track = any(self._is_entry(value) for value in entries)
        if not entries or not (of_track or all(self._is_of_a_class(value) for value in entries)):
            raise self._error(
                f"{source}: {shown(values)} does not say to which prompts it belongs; a dict of prompt id -> "
                f"list of {self.kind} is wanted. The case has the prompts {known[:10]}."
            )
        if len(entries) == len(known):
            return dict(zip(known, entries, strict=True))
        classes = dict(enumerate(entries, 1))
        if known == list(range(1, len(known) + 1)) or len(entries) >= known[-1]:
            given = {id_: value for id_, value in classes.items() if id_ in known or value}
            return self._by_id(given, known, source, problems)
        raise self._error(
            f"{source}: {len(entries)} entries; one for each of the {len(known)} prompts is wanted, in "
            f"the order of their ids {known[:10]}, or a dict of prompt id -> list of {self.kind}."
        )

    def _rows(self, value: Any, source: str) -> list[Any]:
        """One box or point alone will do, and None is none. An empty dict is a row, and told by who reads
        it.
        """
        if isinstance(value, (list, tuple)):
            is_one = any(isinstance(item, (int, float)) for item in value)
            return [value] if is_one else [item for item in value if item is not None]
        if value is None or isinstance(value, dict):
            return [] if value is None else [value]
        raise self.refused(source, shown(value))


def _depth(value: Any, most: int = 4) -> int:
    """Lists within one another, along the deepest one; 0 of a number."""
    if not isinstance(value, (list, tuple)) or not most:
        return 0
    return 1 + max((_depth(item, most - 1) for item in value), default=0)

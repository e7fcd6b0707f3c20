"""What boxes and points of a user have in common: plain values to what each prompt has.

Two notations are read: a dict of prompt id -> list, or with a single prompt that list alone; and that of the
challenge's interactive track (CVPR 2025), a list with one dict for each prompt, ids ascending.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from vesal.inference.data.errors import UserPromptError, shown
from vesal.inference.data.user_prompts import Voxel

MAX_DIGITS = 18
"""Of a prompt id and of a coordinate: longer ones are not believed."""


@dataclass(frozen=True)
class Notation:
    """Names of one kind of values, for reading and for messages."""

    kind: str
    keys: tuple[str, ...]
    """Of the challenge's dict for one prompt."""
    wanted: str
    error: type[UserPromptError]

    def by_prompt(self, values: Any, ids: Collection[int], source: str) -> dict[int, list[Any]]:
        """The rows of each prompt, ids ascending.

        Args:
            values: dicts, lists, numbers and None in one of the two notations; None and [] are nothing.
            ids: of the case's prompts.
            source: where they were found, for messages.

        Raises:
            UserPromptError: of the kind, where they are of no notation, or for a prompt that there is not.
        """
        known = sorted(ids)
        if values is None or (isinstance(values, (list, tuple)) and not values):
            return {}
        if isinstance(values, dict) and not self._is_entry(values):
            named = self._by_id(values, known, source)
        elif len(known) == 1:
            named = {known[0]: values}
        else:
            named = self._in_order(values, known, source)
        return {id_: self._rows(value, f"{source}, prompt {id_}") for id_, value in named.items()}

    def refused(self, source: str, problem: str) -> UserPromptError:
        """The error that says what came and what is wanted."""
        return self.error(f"{source}: {problem}; wanted are {self.wanted}.")

    def whole(self, value: Any, source: str) -> int:
        """A whole number of any type of number. Raises UserPromptError, also for NaN and infinity."""
        number = int(value) if isinstance(value, float) and value.is_integer() else value
        if type(number) is not int or abs(number) >= 10**MAX_DIGITS:
            raise self.refused(source, f"{shown(value)} is no whole number")
        return number

    def voxel(self, values: Any, source: str) -> Voxel:
        """Three whole numbers (D,H,W). Raises UserPromptError."""
        d, h, w = (self.whole(value, source) for value in values)
        return d, h, w

    def _is_entry(self, value: Any) -> bool:
        return isinstance(value, dict) and any(key in value for key in self.keys)

    def _by_id(self, values: dict[Any, Any], known: list[int], source: str) -> dict[int, Any]:
        spelled: dict[Any, int] = {id_: id_ for id_ in known} | {str(id_): id_ for id_ in known}
        found: dict[int, Any] = {}
        for key, value in values.items():
            id_ = spelled.get(key.strip() if isinstance(key, str) else key)
            if id_ is None:
                raise self.error(f"{source}: {shown(key)} is no prompt's id; the case has {known[:10]}.")
            if id_ in found:
                raise self.error(f"{source}: prompt id {id_} comes twice. Keep one.")
            found[id_] = value
        return dict(sorted(found.items()))

    def _in_order(self, values: Any, known: list[int], source: str) -> dict[int, Any]:
        entries = values if isinstance(values, (list, tuple)) else ()
        if not entries or not all(value is None or self._is_entry(value) for value in entries):
            raise self.error(
                f"{source}: {shown(values)} does not say to which prompts it belongs; a dict of prompt id -> "
                f"list of {self.kind} is wanted. The case has the prompts {known[:10]}."
            )
        if len(entries) != len(known):
            raise self.error(
                f"{source}: {len(entries)} entries; one for each of the {len(known)} prompts is wanted, in "
                f"the order of their ids {known[:10]}, or a dict of prompt id -> list of {self.kind}."
            )
        return dict(zip(known, entries, strict=True))

    def _rows(self, value: Any, source: str) -> list[Any]:
        """One box or point alone will do, and None is none."""
        if isinstance(value, (list, tuple)):
            is_one = any(isinstance(item, (int, float)) for item in value)
            return [value] if is_one else [item for item in value if item is not None]
        if value is None or isinstance(value, dict):
            return [] if value is None else [value]
        raise self.refused(source, shown(value))

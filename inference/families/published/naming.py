"""From a sentence to the modality and class that the rules speak of (rules 36, 37, 40).

Only rules and filters use these names: the network reads the sentence itself (rule 15). A sentence that names
nothing known gets None and a reason; the published code crashes there (rule 38).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from msgspec import Struct, structs

from vesal.inference.data.errors import ProfileError
from vesal.inference.planning.checked import checked

GROUPS = ("semantic", "instance")
"""Classes are named apart for `instance_label` 0 and 1."""
SIDE = re.compile(r"\b(left|right)\b")


@dataclass(frozen=True)
class ClassName:
    """One class of the rules."""

    name: str
    id: int
    """Number within its modality and group, as the authors count."""
    terms: tuple[str, ...]
    """What it is called in sentences, lower case; its own name comes first."""
    target: str | None
    """The same thing in our vocabulary, lower case with side."""


@dataclass(frozen=True)
class Named:
    """What was read out of one sentence."""

    modality: str | None
    name: str | None
    """Class without modality, `Left kidney`."""
    id: int | None
    why: str

    @property
    def full_name(self) -> str | None:
        """As the rules have it: `CT_Left kidney`."""
        return f"{self.modality}_{self.name}" if self.modality and self.name else None


@dataclass(frozen=True)
class Names:
    """All names of a profile."""

    modalities: Mapping[str, tuple[str, ...]]
    """Modality to its words, in the order of asking; found anywhere in a sentence, as they are written."""
    classes: Mapping[str, Mapping[str, tuple[ClassName, ...]]]
    """Modality, then one of `GROUPS`, to classes."""

    def modality_of(self, sentence: str) -> str | None:
        """The first modality one of whose words is in the sentence, even inside another word (rule 36)."""
        hits = (m for m, words in self.modalities.items() if any(word in sentence for word in words))
        return next(hits, None)

    def name(self, sentence: str, instance: bool) -> Named:
        """Modality and class of a sentence; the class whose longest term is in it (rule 37)."""
        modality = self.modality_of(sentence)
        if modality is None:
            return Named(None, None, None, f"no modality in {sentence!r}")
        lowered = sentence.lower()
        side = SIDE.search(lowered)
        for term, known in self._terms.get((modality, instance), ()):
            if _stands_in(term, lowered, side[1] if side else None):
                return Named(modality, known.name, known.id, f"{term!r} means {modality}_{known.name}")
        kind = GROUPS[instance]
        return Named(modality, None, None, f"no {kind} class of {modality} in {sentence!r}")

    def of_target(self, target: str | None, modality: str, instance: bool) -> ClassName | None:
        """The class of something that our own vocabulary found, where the sentence's words are not theirs."""
        known = self.classes.get(modality, {}).get(GROUPS[instance], ())
        return next((c for c in known if target is not None and c.target == target), None)

    @cached_property
    def _terms(self) -> dict[tuple[str, bool], list[tuple[str, ClassName]]]:
        """Terms of each modality and group, longest first, equal lengths by the alphabet."""
        return {
            (modality, bool(number)): sorted(
                ((term, c) for c in groups.get(group, ()) for term in c.terms),
                key=lambda pair: (-len(pair[0]), pair[0]),
            )
            for modality, groups in self.classes.items()
            for number, group in enumerate(GROUPS)
        }


def majority(modalities: Iterable[str | None]) -> str | None:
    """The modality of most sentences, the first seen of equals: one code for all prompts (rule 15)."""
    counts = Counter(m for m in modalities if m is not None)
    return counts.most_common(1)[0][0] if counts else None


def _stands_in(term: str, sentence: str, side: str | None) -> bool:
    """Whether a term is in a sentence; the sentence's side may stand anywhere in it (`Kidney, left`)."""
    if side is not None:
        term = " ".join(word for word in term.split() if word != side)
    # Looked for plainly first: a pattern for each of hundreds of terms would have to be compiled every time.
    return bool(term) and term in sentence and bool(re.search(rf"\b{re.escape(term)}\b", sentence))


class ClassEntry(Struct, frozen=True, forbid_unknown_fields=True):
    """A class as a file of names has it; see `ClassName`."""

    name: str
    id: int
    terms: tuple[str, ...] = ()
    target: str | None = None


class GroupEntry(Struct, frozen=True, forbid_unknown_fields=True):
    """Classes of one modality; see `GROUPS`."""

    semantic: tuple[ClassEntry, ...] = ()
    instance: tuple[ClassEntry, ...] = ()


class NamesEntry(Struct, frozen=True, forbid_unknown_fields=True):
    """A whole file of names, as weights/medal-s/profile/names.json; see `Names`."""

    modalities: dict[str, tuple[str, ...]]
    classes: dict[str, GroupEntry]
    about: str = ""


def read_names(content: Any, path: Path = Path("names.json")) -> Names:
    """Names out of parsed JSON, laid out as `NamesEntry`.

    Args:
        content: of the file.
        path: the file, for messages.

    Raises:
        ProfileError: a part is missing or of another type, or a term stands for two classes.
    """
    entry = checked(content, NamesEntry, path)
    classes = {
        modality: {group: tuple(map(_class_name, known)) for group, known in structs.asdict(groups).items()}
        for modality, groups in entry.classes.items()
    }
    _refuse_shared_terms(classes, path)
    return Names(entry.modalities, classes)


def _refuse_shared_terms(classes: Mapping[str, Mapping[str, tuple[ClassName, ...]]], path: Path) -> None:
    for modality, groups in classes.items():
        for group, known in groups.items():
            counts = Counter(term for c in known for term in c.terms)
            shared = sorted(term for term, count in counts.items() if count > 1)
            if shared:
                raise ProfileError(
                    f"{path}, {modality}, {group}: the terms {shared[:5]} stand for two classes; "
                    "give each to one."
                )


def _class_name(entry: ClassEntry) -> ClassName:
    own = entry.name.lower()
    return ClassName(entry.name, entry.id, (own, *(t for t in entry.terms if t != own)), entry.target)

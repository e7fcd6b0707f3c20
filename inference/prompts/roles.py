"""What each chunk of a sentence is there for: asked, belonging to it, a place, related, denied, or only said.

The chunk behind `of` is what is asked for while nothing of weight was named (`a scan of the liver`), else it
belongs to what was. A denial takes away what it is before, or the thing that it is behind.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct, field

from vesal.inference.prompts.chunks import CLOSE, COMMA, MODALITY, NUMBER, OPEN, STOP, Chunk, Item
from vesal.inference.prompts.nouns import Nouns

ASKED, BELONGS, PLACE, RELATED, DENIED, SAID, ASIDE = (
    "asked", "belongs", "place", "related", "denied", "said", "aside",
)  # fmt: skip
DENIALS = ("denials", "exceptions")
"""Leads of a chunk that is not wanted."""
QUESTIONS = frozenset({"which", "what", "that"})
"""Words that ask at the start of a sentence (`which voxels are liver?`) and describe later."""
LOOKING = frozenset({"look", "focus", "zoom", "interested", "look at", "focus on", "zoom in"})
"""Verbs whose preposition is before what they ask for."""


class Roles(Struct):
    """The chunks of a sentence by their roles; numbers are places in `asked`."""

    asked: list[Chunk] = field(default_factory=list)
    around: dict[int, list[Chunk]] = field(default_factory=dict)
    """Asked chunk -> chunks that belong to it or say where it is."""
    related: dict[int, list[Chunk]] = field(default_factory=dict)
    """Asked chunk -> what it is above, beside, around ..."""
    asides: dict[int, list[Chunk]] = field(default_factory=dict)
    """Asked chunk -> what stands in brackets behind it."""
    denied: list[Chunk] = field(default_factory=list)
    denies_before: set[int] = field(default_factory=set)
    """Asked chunks that a denial stands behind (`the liver is not shown`)."""
    has_clause: bool = False
    """Whether something is described by what it does."""

    @property
    def last(self) -> int:
        """The asked chunk that what follows belongs to."""
        return max(len(self.asked) - 1, 0)


class RoleReader:
    """Gives roles to the chunks of one sentence."""

    def __init__(self, chunks: Sequence[Chunk], nouns: Nouns) -> None:
        self.chunks, self.nouns, self.roles = chunks, nouns, Roles()

    def read(self) -> Roles:
        """Roles of all chunks."""
        roles, role, saved, inside = self.roles, ASKED, ASKED, False
        pending = -1  # the asked chunk before a denial that has said nothing yet
        judges = False  # whether that denial may only judge the thing before it: `liver not needed`
        for n, chunk in enumerate(self.chunks):
            is_open = not roles.asked or self._is_open(roles.asked[-1])
            if chunk.lead == OPEN:
                saved, role, inside = role, ASIDE, True
            elif chunk.lead == CLOSE:
                role, inside = saved, False
            elif inside and chunk.lead in DENIALS:
                role = DENIED
            elif role != ASIDE:
                role = self._role(n, role, is_open)
            if chunk.lead == "clauses" and (roles.asked or chunk.word not in QUESTIONS):
                roles.has_clause = True
            if chunk.lead in DENIALS:
                pending, judges = len(roles.asked) - 1, self._judges(n)
                if inside and self._denies_aside(n):
                    pending = -1
                if self._is_quality(chunk):
                    role, pending = ASIDE if inside else ASKED, -1
                    chunk.items = self._without_imaging(chunk.items)
            if role == DENIED and self._denies(chunk, judges):
                pending = -1
            self._place(chunk, role)
        while pending >= 0:  # `liver and spleen are not shown`
            roles.denies_before.add(pending)
            pending = pending - 1 if roles.asked[pending].lead == "joins" else -1
        return roles

    def _denies_aside(self, n: int) -> bool:
        """Whether a denial is of what its brackets name, which is moved: `liver (spleen excluded)`."""
        first = max(i for i in range(n) if self.chunks[i].lead == OPEN)
        mine = [chunk for chunk in self.chunks[first:n] if chunk.items]
        judged = self._judges(n) and all(item.is_unknown for item in self.chunks[n].items)
        if not mine or (self.chunks[n].items and not judged):  # `(liver not included)`
            return False
        starts = {chunk.start for chunk in mine}
        asides = self.roles.asides.get(self.roles.last, [])
        self.roles.asides[self.roles.last] = [aside for aside in asides if aside.start not in starts]
        for chunk in mine:
            chunk.lead = "denials"
        self.roles.denied += mine
        return True

    def _judges(self, n: int) -> bool:
        """Whether a denial may be of the thing before it: `not`, or `no` behind `of` (`of no interest`)."""
        return self.chunks[n].word == "not" or (
            self.chunks[n - 1].lead == "of" and not self.chunks[n - 1].items
        )

    def _denies(self, chunk: Chunk, judges: bool) -> bool:
        """Whether a chunk is a thing that is denied; behind `not` an unknown word judges the thing before."""
        noun = self.nouns.name(chunk)
        only_judged = judges and not (noun.is_target or noun.refused or self.nouns.has_term(chunk))
        return self.nouns.has_side(chunk) or not (noun.is_empty or only_judged)

    def _is_open(self, chunk: Chunk) -> bool:
        """Whether what was asked for names nothing yet."""
        noun = self.nouns.name(chunk)
        return noun.is_empty or noun.weak

    def _role(self, n: int, role: str, is_open: bool) -> str:
        """The role that a chunk's leading word or mark gives it; ``role`` is that of the chunk before."""
        lead = self.chunks[n].lead
        held = role in (DENIED, RELATED)
        if lead == COMMA and role == DENIED and self.roles.asked and self.chunks[n - 1].lead in DENIALS:
            held = bool(self.chunks[n - 1].items)  # not in `liver absent, spleen present`
        if lead in DENIALS:
            return DENIED
        if lead in ("resets", STOP):
            quantified = (
                role == ASKED and bool(self.roles.asked) and self.nouns.quantified(self.roles.asked[-1])
            )
            return DENIED if quantified and self.chunks[n].word == "but" else ASKED
        if lead == "relations":
            return DENIED if role == DENIED else RELATED
        if lead == "locating":
            return role if held else ASKED if self._is_looked_at(n) else PLACE
        if lead in ("of", "accompanying"):
            if role != ASKED or is_open:
                return role
            return BELONGS if lead == "of" else SAID
        if lead == "clauses":
            before = self.chunks[n - 1]
            placed = (
                is_open and before.lead == "locating" and not before.items
            )  # `a scan in which the liver ...`
            asks = self.chunks[n].word in QUESTIONS and (placed or not self.roles.asked)
            return ASKED if asks else role if role == DENIED and is_open else SAID
        if lead == "predicates":
            return SAID if role == ASKED else role
        if lead == "requests":
            return self._requested(role, is_open)
        return role if held or lead != COMMA else ASKED

    def _requested(self, role: str, is_open: bool) -> str:
        """Behind a word for showing: what is asked for, if nothing was yet."""
        if role == DENIED and all(self.nouns.name(chunk).is_empty for chunk in self.roles.denied):
            return DENIED  # `do not show the liver`
        said = any(noun.is_target or noun.refused for noun in map(self.nouns.name, self.roles.asked))
        return ASKED if is_open or not said else SAID

    def _is_looked_at(self, n: int) -> bool:
        """Whether a preposition belongs to a verb (`look at the liver`)."""
        before = self.chunks[n - 1] if n else None
        verb = before is not None and before.lead == "requests" and not before.items
        return verb and before.word in LOOKING  # type: ignore[union-attr]

    def _is_quality(self, chunk: Chunk) -> bool:
        """Whether it denies how the volume was taken (`without contrast`), or `non` denies a quality."""
        first = next((item for item in chunk.items if not item.of("filler")), None)
        if first is None:
            return False
        quality = first.of("adjectives") or (first.is_unknown and len(chunk.items) > 1)
        return first.of("imaging") or first.of(MODALITY) or (chunk.word == "non" and quality)

    def _without_imaging(self, items: list[Item]) -> list[Item]:
        at = 0
        while at < len(items) and (items[at].of("filler") or items[at].of("imaging")):
            at += 1
        return items[at:]

    def _place(self, chunk: Chunk, role: str) -> None:
        """Put a chunk where its role says."""
        roles = self.roles
        if not chunk.items:
            return
        if role == ASKED:
            if roles.asked and chunk.lead in (COMMA, "joins") and self._adds(chunk):
                roles.asked[-1].items += chunk.items
                self.nouns.forget(roles.asked[-1])
            else:
                roles.asked.append(chunk)
        elif role == DENIED:
            roles.denied.append(chunk)
        else:
            places = {BELONGS: roles.around, PLACE: roles.around, RELATED: roles.related, ASIDE: roles.asides}
            if role in places:
                places[role].setdefault(roles.last, []).append(chunk)

    def _adds(self, chunk: Chunk) -> bool:
        """Whether what stands behind a comma only says more of what is before it: `liver, left lobe`.

        So does a number that is joined to another: `segments 2 and 3`.
        """
        if chunk.lead == "joins":
            last = self.roles.asked[-1].items[-1]
            return last.of(NUMBER) and all(item.of(NUMBER) for item in chunk.items)
        adds = False
        for item in chunk.items:
            quality = item.term is not None and self.nouns.is_quality(item)
            if quality or any(map(item.of, ("parts", "partials", NUMBER))):
                adds = True
            elif item.term is not None or item.is_unknown or item.of("things"):
                return False
        return adds

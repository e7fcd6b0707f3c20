"""What a sentence asks for, from its chunks: targets, a group, or the reason why nothing can be run for it.

A relation (`above the kidney`) is never what is asked for; without a thing that is related the sentence names
none.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from vesal.inference.data.prompt import Target
from vesal.inference.data.terms import SIDES
from vesal.inference.prompts.belongings import Belongings
from vesal.inference.prompts.chunks import Chunk, Item
from vesal.inference.prompts.nouns import LESION, Noun, Nouns
from vesal.inference.prompts.ranges import find_range
from vesal.inference.prompts.roles import DENIALS, RoleReader
from vesal.inference.prompts.sides import SideReader
from vesal.inference.prompts.tokens import Token
from vesal.inference.prompts.vocabulary import Concept, Vocabulary


class Found(Struct, frozen=True):
    """What a sentence asks for."""

    targets: tuple[Target, ...] = ()
    group: str | None = None
    why: str = ""
    """How it was found, or why not."""
    refused: bool = False
    """Whether a rule says that nothing is to be run: then its meaning is not guessed either."""
    kinds: frozenset[str] | None = None
    """Kinds that a guess may be of; None: any."""


class Reading:
    """One sentence taken apart."""

    def __init__(
        self, tokens: Sequence[Token], items: Sequence[Item], chunks: Sequence[Chunk], vocabulary: Vocabulary
    ) -> None:
        self.tokens, self.items, self.chunks, self.vocabulary = tokens, items, chunks, vocabulary
        self.nouns = Nouns(tokens, vocabulary)
        self.roles = RoleReader(chunks, self.nouns).read()
        self.sides = SideReader(items, self.roles.denied, self.nouns)

    def found(self) -> Found:
        """What the sentence asks for by its terms."""
        if not any(chunk.lead in DENIALS for chunk in self.chunks) and (whole := self._range()):
            return whole
        nouns = Belongings(self.nouns, self.roles, self.sides, self.chunks).named()
        denied = self.roles.denies_before
        wanted = [noun for n, noun in enumerate(nouns) if noun.is_target and n not in denied]
        if any(noun.concept is not None for noun in wanted):  # `the organs: liver, spleen`
            wanted = [noun for noun in wanted if not noun.by_class]
        refused = [noun for noun in nouns if noun.refused]
        strong = [noun for noun in wanted if not noun.weak]
        if len(nouns) == 1 and strong and self.roles.has_clause and strong[0].is_general:
            # `vessel that carries blood from the heart`: a description, not any vessel.
            kinds = self.vocabulary.words.head_kinds.get(strong[0].parts[0].text)
            return Found(why=f"'{strong[0].parts[0].text}' is described", kinds=kinds)
        if strong or (wanted and not refused):
            return self._several(strong or wanted, refused)
        return self._nothing(nouns, refused)

    def _range(self) -> Found | None:
        """From one numbered thing to another."""
        names, shown = find_range(self.tokens, self.items, self.vocabulary)
        if not names:
            return None
        spoken = self.sides.spoken(self.items)
        side = spoken.pop() if len(spoken) == 1 else None
        targets = tuple(_target(self.vocabulary.concepts[name], side) for name in names)
        return Found(targets, None, f"'{shown}' means {len(targets)} targets")

    def _nothing(self, nouns: Sequence[Noun], refused: Sequence[Noun]) -> Found:
        """Why no target can be run, and whether a guess at the meaning is allowed."""
        if other := self._other_side():
            return other
        roles, unknown = self.roles, any(noun.unknown for noun in nouns)
        if any(nouns[n].is_target for n in roles.denies_before if n < len(nouns)):
            return Found(why="the sentence denies what it names", refused=True)
        if refused:
            kinds = self.vocabulary.words.head_kinds.get(refused[-1].head)
            if kinds is not None and self._is_described(refused[-1]):
                return Found(why=refused[-1].refused, kinds=kinds or None)
            return Found(why=refused[-1].refused, refused=True)
        if any(not self.nouns.name(chunk).is_empty or self.nouns.has_side(chunk) for chunk in roles.denied):
            return Found(why="the sentence says what is not wanted, and names nothing that is", refused=True)
        if roles.has_clause or unknown:
            return Found()
        if any(chunk.lead in DENIALS for chunk in self.chunks):
            return Found(why="the sentence denies, and names nothing", refused=True)
        if roles.related:
            related = next(iter(roles.related.values()))[0]
            shown = f"{related.word} {self.nouns.shown_chunks(related)}"
            return Found(why=f"'{shown}' only says where something is, and not what", refused=True)
        return Found()

    def _other_side(self) -> Found | None:
        """What is denied on one side and asked for on the other: `not the left lung but the right one`."""
        spoken = self.sides.spoken([item for chunk in self.roles.asked for item in chunk.items])
        denied = [
            noun.concept for noun in map(self.nouns.name, self.roles.denied) if noun.concept is not None
        ]
        bare = all(self.nouns.name(chunk).is_empty for chunk in self.roles.asked)
        if len(spoken) != 1 or len(denied) != 1 or not denied[0].sided or not bare:
            return None
        target = _target(denied[0], spoken.pop())
        return Found((target,), None, f"{target.name} is asked for, and not the other one")

    def _is_described(self, noun: Noun) -> bool:
        """Whether a general noun is described: by what it does, or by more than one word and a place."""
        roles = self.roles
        if roles.has_clause or any(item.text.endswith("est") for item in self.items):
            return True
        named = self.vocabulary.group_names
        qualities = [
            i
            for i in noun.chunk.items
            if i.is_unknown or i.of("adjectives") or i.of("neutral") or i.text in named
        ]
        ways = [chunk for chunks in roles.related.values() for chunk in chunks if chunk.word == "from"]
        if any(sum(item.term is not None for item in chunk.items) > 1 for chunk in ways):
            return True  # `tube from the mouth to the stomach`
        return bool(qualities) and bool(roles.related or roles.around)

    def _several(self, wanted: Sequence[Noun], refused: Sequence[Noun]) -> Found:
        """The union of what is asked for, less what is excepted."""
        targets: list[Target] = []
        reasons: list[str] = []
        for noun in wanted:
            made, why = self._members(noun) if noun.group is not None else self._single(noun)
            targets += made
            reasons.append(why)
        why = "; ".join(dict.fromkeys(reasons)) + self._not_cut(wanted)
        if refused:
            why += "; left out: " + "; ".join(noun.refused for noun in refused)
        if not targets:
            return Found(why=f"{why}; nothing is left of it", refused=True)
        groups = [noun.group for noun in wanted if noun.group is not None]
        group = groups[0] if len(wanted) == 1 and groups else None
        return Found(tuple(dict.fromkeys(targets)), group, why)

    def _excepted(self) -> set[str]:
        """Concepts that a denial takes away, before them or behind."""
        names: set[str] = set()
        behind = [c for n, c in enumerate(self.roles.asked) if n in self.roles.denies_before]
        for chunk in (*self.roles.denied, *behind):
            names |= set(self.nouns.name(chunk).members)
            names |= {self.nouns.concept_of(item).name for item in chunk.items if item.term is not None}
        return names

    def _not_cut(self, wanted: Sequence[Noun]) -> str:
        """Says of what is excepted from a single target that it stays in: `heart without the left atrium`."""
        done = {name for noun in wanted for name in noun.members}
        done |= {noun.concept.name for noun in wanted if noun.concept is not None}
        left = sorted(self._excepted() - done)
        if not left or any(chunk.word in ("not", "no") for chunk in self.roles.denied):
            return ""
        return f"; {', '.join(left)} is not cut out of it"

    def _members(self, noun: Noun) -> tuple[list[Target], str]:
        """Targets of a group."""
        out = self._excepted() & set(noun.members)
        at = next(n for n, chunk in enumerate(self.roles.asked) if chunk is noun.chunk)
        placed = [
            c for c in self.roles.around.get(at, ()) if c.lead == "locating" and not self.nouns.has_term(c)
        ]
        spoken = self.sides.spoken([item for chunk in (noun.chunk, *placed) for item in chunk.items])
        side = spoken.pop() if len(spoken) == 1 else None
        names = [name for name in noun.members if name not in out]
        if side is not None:  # `left chambers of the heart`
            names = [name for name in names if not name.startswith(tuple(set(SIDES) - {side}))]
        made = [_target(self.vocabulary.concepts[name], side) for name in names]
        less = f" without {', '.join(sorted(out))}" if out else ""
        return made, f"{noun.group}{less}: each that can be run"

    def _single(self, noun: Noun) -> tuple[list[Target], str]:
        """Targets of one noun with its side."""
        assert noun.concept is not None
        if noun.several:
            made = []
            for item in noun.several:
                concept = self.nouns.concept_of(item)
                made.append(_target(concept, self.sides.settle(concept, [item])[0]))
            return made, f"a list: {', '.join(target.name for target in made)}"
        numbered = self._numbered(noun.concept)
        if numbered is not None:
            return numbered
        shown = " with ".join(f"'{self.nouns.shown([part])}'" for part in noun.parts)
        why = f"{shown} means {noun.concept.name}"
        others = {self.nouns.concept_of(item).name for item in noun.chunk.items if item.term is not None}
        others -= {noun.concept.name, LESION, *(self.nouns.concept_of(part).name for part in noun.parts)}
        if others:
            why += f"; taken as what describes it: {', '.join(sorted(others))}"
        side, said = self.sides.settle(noun.concept, noun.parts)
        return [_target(noun.concept, side)], why + said

    def _numbered(self, concept: Concept) -> tuple[list[Target], str] | None:
        """All of a numbered sequence but those that are excepted: `all ribs except rib 1`."""
        out = self._excepted()
        for sequence in self.vocabulary.groups.sequences:
            mine = [name for name in sequence if name.startswith(f"{concept.name} ")]
            left = [name for name in mine if name not in out]
            if 0 < len(left) < len(mine):
                side = self.sides.settle(concept, ())[0]
                less = ", ".join(name for name in mine if name in out)
                made = [_target(self.vocabulary.concepts[name], side) for name in left]
                return made, f"every {concept.name} without {less}"
        return None


def _target(concept: Concept, side: str | None) -> Target:
    return Target(concept.name, side if concept.sided else None, concept.kind)

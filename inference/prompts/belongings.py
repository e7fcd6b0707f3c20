"""What an asked chunk names together with what belongs to it: `cortex of the kidney`, `liver (segment 4)`."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from msgspec.structs import replace

from vesal.inference.prompts.chunks import ADJECTIVES, COMMA, NUMBER, SIDE, Chunk, Item
from vesal.inference.prompts.nouns import CODE, LESION, NO_TARGET, WHOLE_KINDS, Noun, Nouns
from vesal.inference.prompts.roles import Roles
from vesal.inference.prompts.sides import SideReader
from vesal.inference.prompts.term_search import Span

DRAWN = frozenset({"definition", "delineation", "demarcation", "identification", "segmentation", "detection"})
"""What is done with a line around something, where the something is asked for."""


class Belongings:
    """Names the asked chunks of one sentence."""

    def __init__(self, nouns: Nouns, roles: Roles, sides: SideReader, chunks: Sequence[Chunk]) -> None:
        self.nouns, self.roles, self.sides, self.chunks = nouns, roles, sides, chunks

    def named(self) -> list[Noun]:
        """What every asked chunk names."""
        found = [self._named(n, chunk) for n, chunk in enumerate(self.roles.asked)]
        return self._share_heads(found)

    def _named(self, n: int, chunk: Chunk) -> Noun:
        around = self.roles.around.get(n, [])
        noun = self.nouns.name(chunk, around)
        belongs = [other for other in around if other.lead == "of"]
        inner = [self.nouns.name(other) for other in belongs]
        if noun.refused:
            return self._whole(noun, inner)
        placed = self.roles.related.get(n)
        if noun.concept is not None and noun.is_any and placed:
            shown = f"{self.nouns.shown_chunks(chunk)} {placed[0].word} {self.nouns.shown_chunks(placed[0])}"
            return Noun(chunk, refused=f"'{shown}' asks for some of several, {NO_TARGET}", head="some")
        if noun.concept is not None:
            return self._of_concept(noun, n, belongs, inner)
        if noun.group is not None and noun.by_class and self.roles.has_clause:
            return Noun(chunk, unknown=(noun.group,))  # described: `organs that clean the blood`
        if noun.group is not None and not noun.named and self.roles.related.get(n):
            return Noun(chunk, refused="what is asked for is only placed by something else, and has no name")
        known = [other for other in inner if other.is_target or self.nouns.has_term(other.chunk)]
        if noun.unknown and known:
            shown = self.nouns.shown_chunks(chunk, *belongs)
            why = f"'{shown}' asks for a part of something, or for what is in it, {NO_TARGET}"
            return Noun(chunk, refused=why, head=noun.unknown[-1])
        return noun

    def _whole(self, noun: Noun, inner: Sequence[Noun]) -> Noun:
        """`cavity of the left ventricle` is the ventricle; other parts stay what they are."""
        kinds = self.nouns.vocabulary.words.whole_for.get(noun.head, frozenset())
        owner = inner[0] if inner else None
        return owner if owner is not None and owner.concept and owner.concept.kind in kinds else noun

    def _of_concept(self, noun: Noun, n: int, belongs: Sequence[Chunk], inner: Sequence[Noun]) -> Noun:
        assert noun.concept is not None
        for other in inner:
            if (
                other.refused and noun.parts[0].of("generic") and noun.concept.kind == "cell"
            ):  # `nucleus of the solitary tract`
                return Noun(noun.chunk, refused=other.refused, head=noun.parts[0].text)
            if other.concept is None or other.concept is noun.concept:
                continue
            # `manifestation of COVID-19`: the lesion by its name.
            if noun.concept.name == LESION and other.concept.kind == "lesion":
                return other
            cells = noun.concept.kind == other.concept.kind == "cell"
            borne = any(part in noun.parts for part in other.parts)
            if noun.parts[0].of("generic") and not cells and not borne:
                shown = self.nouns.shown_chunks(noun.chunk, *belongs)
                why = f"'{shown}' is another thing than {noun.concept.name}"
                return Noun(noun.chunk, refused=why, head=noun.parts[0].text)
        rules = (self._at_level, self._side_of, self._half, self._in_brackets, self._line)
        changed = (rule(noun, n) for rule in rules)
        return next((other for other in changed if other is not None), noun)

    def _at_level(self, noun: Noun, n: int) -> Noun | None:
        """What is placed by the code of a vertebra is one of several, or a part: `disc between L4 and L5`."""
        assert noun.concept is not None
        if noun.concept.name.startswith("vertebra") or noun.concept.kind in WHOLE_KINDS:
            return None
        placed = [*self.roles.related.get(n, []), *self.roles.around.get(n, [])]
        coded = [
            chunk for chunk in placed if any(item.term and CODE.match(item.text) for item in chunk.items)
        ]
        if not coded:
            return None
        shown = self.nouns.shown_chunks(noun.chunk, coded[0])
        why = f"'{shown}' asks for a part of {noun.concept.name} or one of several"
        return Noun(noun.chunk, refused=f"{why}, {NO_TARGET}", head="level")

    def _side_of(self, noun: Noun, n: int) -> Noun | None:
        """`right side of the liver` is a part, as there is only one liver."""
        before = self.roles.asked[n - 1] if n and noun.chunk.lead == "of" else None
        if before is None or noun.concept is None or noun.concept.sided or not self.nouns.has_side(before):
            return None
        if not any(item.text == "side" for item in before.items):
            return None
        shown = self.nouns.shown_chunks(before, noun.chunk)
        return Noun(
            noun.chunk, refused=f"'{shown}' asks for a part of {noun.concept.name}, {NO_TARGET}", head="side"
        )

    def _half(self, noun: Noun, n: int) -> Noun | None:
        """`left liver` is a part, as there is only one liver."""
        side = self.sides.half(noun)
        if side is None or noun.concept is None:
            return None
        shown = self.nouns.shown(sorted((side, *noun.parts), key=lambda item: item.start))
        return self._part(noun, f"'{shown}' asks for a part of {noun.concept.name}", side.text)

    def _line(self, noun: Noun, n: int) -> Noun | None:
        """The line around a thing is not the thing: `border of the spleen`, `liver margin`.

        The plural is its extent (`anatomical boundaries of the oral cavity`), as in the names of the
        challenge's classes, and with a verb the line is what is drawn (`boundary delineation of the liver`).
        """
        assert noun.concept is not None
        at = next(i for i, chunk in enumerate(self.chunks) if chunk is noun.chunk)
        before, after = self.chunks[at - 1] if at else None, self.chunks[at + 1 : at + 2]
        own = [item for item in noun.chunk.items if item.start > noun.parts[0].start]
        if any(map(self._is_line, own)) and not (after and after[0].lead == "requests"):
            drawn = any(item.text in DRAWN for item in own)
            return None if drawn else self._around(noun, self.nouns.shown_chunks(noun.chunk))
        if before is None or noun.chunk.lead != "of":
            return None
        word = before.word if before.lead == "requests" and not before.items else ""
        written = {token.raw.lower() for token in self.nouns.tokens[: max(noun.chunk.start, 0)]}
        if word in self.nouns.vocabulary.words.lists["lines"] and word in written:
            return self._around(noun, f"{word} of {self.nouns.shown_chunks(noun.chunk)}")
        if before.items and self._is_line(before.items[-1]):
            return self._around(noun, self.nouns.shown_chunks(before, noun.chunk))
        return None

    def _is_line(self, item: Item) -> bool:
        """Whether a word is for a line around something, in the singular."""
        raw = self.nouns.tokens[item.start].raw.lower()
        return item.of("lines") and not item.of("requests") and raw == item.text

    def _around(self, noun: Noun, shown: str) -> Noun:
        assert noun.concept is not None
        return self._part(noun, f"'{shown}' asks for the line around {noun.concept.name}", "line")

    def _part(self, noun: Noun, why: str, head: str) -> Noun:
        """What names a part, for a reason."""
        return Noun(noun.chunk, refused=f"{why}, {NO_TARGET}", head=head)

    def _in_brackets(self, noun: Noun, n: int) -> Noun | None:
        """A target less what brackets say of it: `liver (segment 4)`."""
        for aside in self.roles.asides.get(n, []):
            plain = all(item.of(NUMBER) or item.of("parts") for item in aside.items)
            for item in aside.items:
                number = plain and item.of(NUMBER) and not self.nouns.is_index(item)
                if item.term is None and (item.of("parts") or item.of("partials") or number):
                    assert noun.concept is not None
                    shown = self.nouns.shown_chunks(aside)
                    why = f"'{shown}' asks for a part of {noun.concept.name}, {NO_TARGET}"
                    return Noun(noun.chunk, refused=why, head=item.text)
        return None

    def _completed(self, before: Noun, after: Noun) -> list[Noun]:
        """What shares its last or first words with what it is joined to: `ascending and descending colon`."""
        whole, short = (after, before) if before.concept is None else (before, after)
        words = whole.parts[0].text.split() if len(whole.parts) == 1 else []
        said = [item for item in short.chunk.items if not (item.of("filler") or item.of(SIDE))]
        own = " ".join(item.text for item in said)
        for n in range(1, len(words)):
            text = f"{own} {' '.join(words[n:])}" if short is before else f"{' '.join(words[:n])} {own}"
            concept = self.nouns.vocabulary.concepts.get(self.nouns.vocabulary.meaning(text))
            if said and concept is not None and concept is not whole.concept:
                own_item = replace(said[-1], term=Span(-1, -1, (concept.name, None)))
                # With the other's item, so that its side counts for both: `right upper and lower lobe`.
                found = Noun(short.chunk, concept, [own_item, *whole.parts])
                return [found, after] if short is before else [before, found]
        return [before, after]

    def _share_heads(self, nouns: list[Noun]) -> list[Noun]:
        """`gastric and duodenal wall` are two walls: an adjective takes the noun of what it is joined to.

        So does the code of a vertebra: `disc L4/L5`.
        """
        for n, (before, after) in enumerate(pairwise(nouns)):
            if after.chunk.lead == "joins" and (before.concept is None) != (after.concept is None):
                nouns[n : n + 2] = self._completed(before, after)
        for before, after in pairwise(nouns):
            coded = len(after.parts) == 1 and CODE.match(after.parts[0].text)
            if before.head == "level" and coded and after.chunk.lead in ("joins", COMMA):
                after.concept, after.refused, after.head = None, before.refused, "level"
        for after, before in pairwise(reversed(nouns)):
            coded = len(before.parts) == 1 and CODE.match(before.parts[0].text)
            if after.head == "level" and coded and after.chunk.lead in ("joins", COMMA):
                before.concept, before.refused, before.head = None, after.refused, "level"
        for n in range(len(nouns) - 1, 0, -1):
            before, after = nouns[n - 1], nouns[n]
            joined = after.chunk.lead in ("joins", COMMA) and after.refused and after.head
            if not joined or before.concept is None or len(before.parts) != 1:
                continue
            word = before.parts[0].text
            if word != before.concept.name and word.endswith(ADJECTIVES):
                why = f"'{word} {after.head}' is no known target"
                nouns[n - 1] = Noun(before.chunk, refused=why, head=after.head)
        return nouns

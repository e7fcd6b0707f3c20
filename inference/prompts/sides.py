"""Left, right or both: which term of a sentence a word for a side belongs to."""

from __future__ import annotations

from collections.abc import Sequence

from vesal.inference.data.terms import SIDES
from vesal.inference.prompts.chunks import NUMBER, SIDE, Chunk, Item
from vesal.inference.prompts.nouns import WHOLE_KINDS, Noun, Nouns
from vesal.inference.prompts.tokens import DASHES
from vesal.inference.prompts.vocabulary import Concept


class SideReader:
    """Sides in one sentence."""

    def __init__(self, items: Sequence[Item], denied: Sequence[Chunk], nouns: Nouns) -> None:
        """``denied``: chunks that are not wanted."""
        self.items, self.denied, self.nouns = items, denied, nouns

    def settle(self, concept: Concept, parts: Sequence[Item]) -> tuple[str | None, str]:
        """One word for one side gives it; both, or none, means the thing on both sides. With the reason."""
        sides = self.of(concept, parts)
        if sides and not concept.sided:
            return None, f"; the side ({', '.join(sorted(sides))}) is not used, there is only one"
        if len(sides) == 1 and sides <= set(SIDES):
            return sides.pop(), ""
        mine = [
            c for c in self.denied if self.nouns.name(c).is_empty or self.nouns.name(c).concept is concept
        ]
        out = self.spoken([item for chunk in mine for item in chunk.items])
        if concept.sided and len(out) == 1:
            (left,) = set(SIDES) - out
            return left, f"; the {out.pop()} one is excepted"
        return None, "; both sides are asked for, taken as one target without a side" if sides else ""

    def spoken(self, items: Sequence[Item]) -> set[str]:
        """`left` and `right` among some words, and inside a name: `lobes of the left lung`."""
        table, tokens = self.nouns.vocabulary.sides, self.nouns.tokens
        found = {table[item.text] for item in items if item.of(SIDE)}
        for item in items:
            inside = (tokens[i].stem for i in range(item.start, item.end))
            found |= {table[word] for word in inside if word in table and word not in item.text.split()}
        return found & set(SIDES)

    def half(self, noun: Noun) -> Item | None:
        """The side that cuts a part off what there is only one of: `left liver`, `pancreas_right`.

        Of a lesion or a cell it says which one. A side in words of its own is a place: `stomach on the left`.
        """
        concept, mine = noun.concept, {part.start for part in noun.parts}
        if concept is None or concept.sided or concept.kind in WHOLE_KINDS:
            return None
        denied = {item.start for chunk in self.denied for item in chunk.items}
        for n, item in enumerate(self.items):
            if not item.of(SIDE) or self.nouns.vocabulary.sides[item.text] not in SIDES:
                continue
            owner = None if item.start in denied else self._owner(item)
            if owner is not None and owner.start in mine and self._is_beside(n, owner):
                return item
        return None

    def _is_beside(self, n: int, owner: Item) -> bool:
        """Whether nothing but adjectives stands between a side and its term, and no region behind it."""
        side, at = self.items[n], self.items.index(owner)
        between = self.items[min(n, at) + 1 : max(n, at)]
        if n > at:
            after = self.items[n + 1] if n + 1 < len(self.items) else None
            placed = after is not None and any(map(after.of, ("regions", "partials", "of", NUMBER)))
            return not between and not placed
        marks = {mark for item in (*between, owner) for mark in self.nouns.tokens[item.start].before}
        plain = all(item.of("adjectives") or item.text in ("sided", "side") for item in between)
        return plain and marks <= DASHES | {")"} and side.end <= owner.start

    def of(self, concept: Concept, parts: Sequence[Item]) -> set[str]:
        """Sides given to any occurrence of the parts: inside them, or nearest to them of all terms."""
        names = {part.term.value for part in parts if part.term} | {(concept.name, None)}
        table, tokens = self.nouns.vocabulary.sides, self.nouns.tokens
        sides = {table[tokens[i].stem] for part in parts if part.term for i in part.term.skipped}
        denied = {item.start for chunk in self.denied for item in chunk.items}
        for item in self.items:
            if item.of(SIDE) and item.start not in denied:
                owner = self._owner(item)
                if owner is not None and owner.term is not None and owner.term.value in names:
                    sides.add(table[item.text])
        return sides

    def _owner(self, side: Item) -> Item | None:
        """The term that a word for a side belongs to: the nearest, the following one if two are as near."""
        # A lone letter is a side only right beside its term: `L kidney`, or `L and R kidney`.
        near = [i for i in self.items if i.of(SIDE) and i is not side and abs(i.start - side.start) <= 2]
        paired = any(len(item.text) == 1 for item in near)
        reach = len(self.nouns.tokens) if len(side.text) > 1 else 3 if paired else 1
        best: tuple[int, Item] | None = None
        for item in self.items:
            if item.term is None or self.nouns.concept_of(item).kind == "region":
                continue
            distance = item.start - side.start if item.start > side.start else side.start - item.end + 1
            if distance <= reach and (best is None or distance <= best[0]):
                best = distance, item
        return best[1] if best else None

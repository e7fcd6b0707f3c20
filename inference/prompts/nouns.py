"""What one chunk of a sentence names: a target, a group, a part, another thing, or nothing.

The last known term is the head, unless a noun follows it: `kidney stone` is a stone, `liver segment` a part.
What comes before the head describes it (`enlarged liver`); before a general word it makes another thing of it
(`optic disc`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from msgspec import Struct, field

from vesal.inference.prompts.chunks import MODALITY, NUMBER, SIDE, Chunk, Item
from vesal.inference.prompts.tokens import Token
from vesal.inference.prompts.vocabulary import Concept, Vocabulary

LESION = "lesion"
NO_TARGET = "which is no target of its own"
CODE = re.compile(r"[ctls]\d{1,2}\Z")
"""Code of a vertebra."""
NOUN_WORDS = 3
"""Unknown words behind a term that may be the noun that it describes; more are talk."""
QUANTIFIERS = frozenset({"all", "every", "each", "both", "any", "various", "entire", "complete"})
COLLECTIVE = frozenset({"viscera", "skeleton", "musculature"})
"""Nouns for many things that have no plural."""
WHOLE_KINDS = frozenset({"lesion", "cell"})
"""Of these an adjective of place picks one and no part: `upper lobe nodule`."""


class Noun(Struct):
    """What a chunk names."""

    chunk: Chunk
    concept: Concept | None = None
    parts: list[Item] = field(default_factory=list)
    """Items of the concept: its term, and the organ that bears a lesion."""
    group: str | None = None
    members: tuple[str, ...] = ()
    """concepts of a group"""
    named: bool = False
    """Whether a group has a name of its own."""
    by_class: bool = False
    """Whether a group is of all things of a class, without `all` before it: `organs`."""
    refused: str = ""
    """Why it is no target; empty where it is one, or nothing is said."""
    head: str = ""
    """Noun that is no target: `stone`, `segment`."""
    unknown: tuple[str, ...] = ()
    """Words that nothing is known of, where no term is."""
    weak: bool = False
    """Whether its term only says what was imaged: `cardiac MR`."""
    several: tuple[Item, ...] = ()
    """Terms of a list without marks."""

    @property
    def is_target(self) -> bool:
        """Whether something can be run for it."""
        return self.concept is not None or self.group is not None

    @property
    def is_general(self) -> bool:
        """Whether its term is a word for many things: `vessel`."""
        return bool(self.parts) and self.parts[0].of("generic")

    @property
    def is_any(self) -> bool:
        """Whether it is any of the things of its name (`vessels`), where a bladder is the urinary one."""
        general = self.concept is not None and self.is_general and self.concept.kind not in WHOLE_KINDS
        return general and self.concept is not None and self.parts[0].text == self.concept.name

    @property
    def is_empty(self) -> bool:
        """Whether it names nothing at all (`CT scan of`)."""
        return not (self.is_target or self.refused or self.unknown)


class Nouns:
    """Names the chunks of one sentence."""

    def __init__(self, tokens: Sequence[Token], vocabulary: Vocabulary) -> None:
        self.tokens, self.vocabulary = tokens, vocabulary
        self._bare: dict[int, Noun] = {}

    def concept_of(self, item: Item) -> Concept:
        """The concept of an item with a term."""
        assert item.term is not None
        return self.vocabulary.concepts[item.term.value[0]]

    def name(self, chunk: Chunk, around: Sequence[Chunk] = ()) -> Noun:
        """What a chunk names; ``around``: chunks that belong to it, where the organ of a lesion may stand."""
        if around:
            return self._name(chunk, around)
        if chunk.start not in self._bare:
            self._bare[chunk.start] = self._name(chunk, ())
        return self._bare[chunk.start]

    def _name(self, chunk: Chunk, around: Sequence[Chunk]) -> Noun:
        content = [item for item in chunk.items if self._counts(item)]
        group = self._group(chunk, content, around)
        if group is not None:
            return group
        terms = [item for item in content if item.term is not None and self.concept_of(item).target]
        if not terms:
            return self._without_term(chunk, content)
        if self._is_level(terms):
            return Noun(
                chunk, refused=f"'{self.shown(content)}' asks for one of several, {NO_TARGET}", head="level"
            )
        main = self._main(terms)
        concept, parts = self.concept_of(main), [main]
        if concept.name == LESION:
            concept, parts = self._borne(main, content, around)
        elif self._is_list(terms, content):
            return Noun(chunk, concept, parts, several=tuple(terms))
        refused, head = self._refusal(chunk, content, main, concept, parts)
        if refused:
            return Noun(chunk, refused=refused, head=head)
        return Noun(chunk, concept, parts, weak=self._is_weak(chunk, terms))

    def _is_level(self, terms: Sequence[Item]) -> bool:
        """Whether the code of a vertebra says which of other things is asked for: `disc L4`."""
        others = {self.concept_of(term).name.split(" ")[0] for term in terms if not CODE.match(term.text)}
        return any(CODE.match(term.text) for term in terms) and bool(others - {"vertebra"})

    def _is_list(self, terms: Sequence[Item], content: Sequence[Item]) -> bool:
        """Whether three things or more stand side by side, each by its name."""
        names = {self.concept_of(term).name for term in terms if self.concept_of(term).kind != LESION}
        return len(names) == len(terms) == len(content) > 2

    def _counts(self, item: Item) -> bool:
        """Whether a word carries meaning of its own."""
        if item.term is not None or item.is_unknown or item.of(NUMBER) or item.of("group"):
            return True
        return not item.of("neutral") and any(map(item.of, ("parts", "things", "partials")))

    def _without_term(self, chunk: Chunk, content: Sequence[Item]) -> Noun:
        endings = self.vocabulary.words.thing_endings
        ill = [item for item in content if item.is_unknown and item.text.endswith(endings)]
        words = ill + [
            item for item in content if item.of("parts") or item.of("things") or item.of("partials")
        ]
        unknown = tuple(item.text for item in content if item.is_unknown)
        if words and not (content[-1].is_unknown and content[-1] not in ill):
            head = words[-1].text
            return Noun(
                chunk, refused=f"'{self.shown(content)}' is no known target", head=head, unknown=unknown
            )
        return Noun(chunk, unknown=unknown)

    def shown(self, items: Sequence[Item]) -> str:
        """Items as they were written."""
        return " ".join(token.raw for item in items for token in self.tokens[item.start : item.end])

    def shown_chunks(self, *chunks: Chunk) -> str:
        """Chunks that follow each other as they were written."""
        items = [item for chunk in chunks for item in chunk.items]
        return " ".join(token.raw for token in self.tokens[items[0].start : items[-1].end]) if items else ""

    def _main(self, terms: Sequence[Item]) -> Item:
        """The term that is asked for: a lesion before its organ, a part of a cell before others, the last."""
        order = {"lesion": 0, "cell": 1}

        named = {self.concept_of(item).kind for item in terms if not item.of("generic")}

        def rank(item: Item) -> tuple[float, int]:
            concept = self.concept_of(item)
            if item.of("generic") and concept.kind in named and concept.kind not in WHOLE_KINDS:
                return 9, -item.start  # `aortic vessel`
            place = 0 if concept.name != LESION else 0.5
            return order.get(concept.kind, 3) + place, -item.start

        return min(terms, key=rank)

    def _borne(
        self, main: Item, content: Sequence[Item], around: Sequence[Chunk]
    ) -> tuple[Concept, list[Item]]:
        """A generic word for a lesion together with the organ that bears it (`renal mass`)."""
        assert main.term is not None
        concept = self.concept_of(main)
        near = [item for item in content if item is not main]
        far = [item for chunk in around for item in chunk.items]
        classes = [i.term.value[1] for i in (main, *near) if i.term is not None and i.term.value[1]]
        for place in (*near, *far):
            if place.term is None:
                continue
            bears = self.concept_of(place).bears
            for kind in classes:
                if kind in bears:
                    return self.vocabulary.concepts[bears[kind]], [main, place]
        return concept, [main]

    def _refusal(
        self, chunk: Chunk, content: Sequence[Item], main: Item, concept: Concept, parts: Sequence[Item]
    ) -> tuple[str, str]:
        """Why the chunk names another thing than its term, and that thing; empty where it does not."""
        asked = self.shown([item for item in chunk.items if self._counts(item)])
        for n, item in enumerate(chunk.items):
            if item.term is not None and item.of("partials") and chunk.items[n + 1 : n + 2] == [main]:
                return f"'{asked}' asks for a part of {concept.name}, {NO_TARGET}", item.text
            if item.term is not None or concept.kind in self.vocabulary.words.whole_for.get(item.text, ()):
                continue
            if self._is_part(chunk, n) or self._is_cut(chunk, n, main, concept):
                return f"'{asked}' asks for a part of {concept.name}, {NO_TARGET}", item.text
            if item.of("things") and not item.of("neutral"):
                thing = self.shown([item])
                why = f"'{self.shown([main])}' only describes '{thing}' in '{asked}', which is no target"
                return why, item.text
        behind = [i for i in content if i.start > main.start and i.term is None and not i.of("group")]
        behind = [i for i in behind if not self._past_modality(chunk, main, i)]
        numbers = [i for i in behind if i.of(NUMBER) and not self.is_index(i)]
        if numbers and concept.kind not in WHOLE_KINDS:
            return f"'{asked}' asks for one of several, {NO_TARGET}", numbers[0].text
        unknown = [self.shown([i]) for i in behind if i.is_unknown and not i.text.endswith("ly")]
        if 0 < len(unknown) <= NOUN_WORDS:
            why = f"'{self.shown([main])}' only describes '{unknown[-1]}', which is not known"
            return why, unknown[-1]
        return self._another(content, main, concept, parts, asked)

    def _is_part(self, chunk: Chunk, n: int) -> bool:
        """Whether a word is for a part; one for a region only right behind a term (`pancreas head`)."""
        item, before = chunk.items[n], chunk.items[n - 1] if n else None
        if item.of("head_parts") and before is not None and before.term is not None:
            return True
        return item.of("parts") and not item.of("neutral")

    def _is_cut(self, chunk: Chunk, n: int, main: Item, concept: Concept) -> bool:
        """Whether an adjective of place leaves a part (`distal`), or a region one of what runs through it."""
        item, words = chunk.items[n], self.vocabulary.words
        if item.of("regions") and concept.name in words.spans and not item.text.startswith("intra"):
            return chunk.items[n + 1 : n + 2] == [main]
        return item.of("partials") and concept.kind not in WHOLE_KINDS and not self._of_region(chunk, n)

    def is_index(self, item: Item) -> bool:
        """Whether a number counts files rather than things: `liver_001`."""
        raw = self.tokens[item.start].raw
        return raw.startswith("0") or len(raw) > 2

    def _past_modality(self, chunk: Chunk, main: Item, item: Item) -> bool:
        return any(i.of(MODALITY) and main.start < i.start < item.start for i in chunk.items)

    def _of_region(self, chunk: Chunk, n: int) -> bool:
        """Whether an adjective of place belongs to a region (`upper abdominal`)."""
        following = chunk.items[n + 1] if n + 1 < len(chunk.items) else None
        return following is not None and (following.of("regions") or following.of(MODALITY))

    def _another(
        self, content: Sequence[Item], main: Item, concept: Concept, parts: Sequence[Item], asked: str
    ) -> tuple[str, str]:
        """A general word with an adjective that it has no name for: `optic disc`, `renal cortex`."""
        if not main.of("generic"):
            return "", ""
        plural = self.tokens[main.end - 1].raw.lower() != self.tokens[main.end - 1].stem
        free = concept.kind in ("cell", "bone") and plural
        for item in content:
            foreign = item.term is not None and item not in parts and self.concept_of(item) is not concept
            if item is main or item.of(NUMBER):
                continue
            if (item.is_unknown and not free) or (foreign and not (free and concept.name == "cell")):
                return f"'{asked}' is another thing than {concept.name}", main.text
        return "", ""

    def _is_weak(self, chunk: Chunk, terms: Sequence[Item]) -> bool:
        """Whether each term stands right before a modality, two words of no weight between at most."""
        for term in terms:
            at = chunk.items.index(term) + 1
            while (
                at < len(chunk.items)
                and at - chunk.items.index(term) < 3
                and not self._counts(chunk.items[at])
            ):
                if chunk.items[at].of(MODALITY):
                    break
                at += 1
            if at >= len(chunk.items) or not chunk.items[at].of(MODALITY):
                return False
        return True

    def _group(self, chunk: Chunk, content: Sequence[Item], around: Sequence[Chunk]) -> Noun | None:
        """A group, by its name, or by a class and its region (`organs of the abdomen`)."""
        groups = self.vocabulary.groups
        if not content:
            return None
        last = content[-1]
        many = self._is_many(chunk, last)
        named = self.vocabulary.group_names.get(last.text)
        if named is not None and named.plural and not many:
            return Noun(
                chunk, refused=f"'{self.shown([last])}' is one of several", head=last.text.split()[-1]
            )
        if named is not None and len(content) == 1:
            return Noun(chunk, group=self.shown([last]).lower(), members=named.members, named=True)
        if pair := self._pair(content):
            return Noun(chunk, group=self.shown(content).lower(), members=pair) if many else None
        name = groups.classes.get(last.text)
        if name is None or not many:
            return None
        words = [item for c in (chunk, *around) for item in c.items if item is not last]
        regions = {groups.region_words[i.text] for i in words if i.text in groups.region_words}
        others = [i for i in content[:-1] if i.text not in groups.region_words and not i.of("group")]
        by_term = any(i.term is not None for i in content[:-1])
        if others or (name == "structure" and by_term) or (last.term is not None and not regions):
            return None
        if name == "structure" and not regions and not self.quantified(chunk):
            return None
        if not regions and any(self._is_place(c) for c in around):
            return Noun(chunk, refused=f"'{self.shown_chunks(chunk, *around)}' is no known group", head=name)
        members = groups.of_class(name, regions, self.vocabulary.kinds)
        shown = " and ".join(sorted(regions))
        title = f"{name}s" + (f" of the {shown}" if shown else "")
        return Noun(chunk, group=title, members=members, by_class=not self.quantified(chunk))

    def _is_place(self, chunk: Chunk) -> bool:
        """Whether it says by a word of its own where something is: `muscles of the foot`."""
        return any(self._counts(item) for item in chunk.items)

    def _pair(self, content: Sequence[Item]) -> tuple[str, ...]:
        """Artery and vein of one name: `iliac vessels`."""
        first, last = content[0], content[-1]
        if len(content) != 2 or last.text not in ("vessel", "blood vessel"):
            return ()
        pair = tuple(self.vocabulary.meaning(f"{first.text} {word}") for word in ("artery", "vein"))
        return pair if all(name in self.vocabulary.concepts for name in pair) else ()

    def _is_many(self, chunk: Chunk, item: Item) -> bool:
        """Whether a noun stands in the plural, or has `all` before it."""
        tokens = self.tokens[item.start : item.end]
        plural = any(token.raw.lower() != token.stem for token in tokens)
        return plural or item.text in COLLECTIVE or self.quantified(chunk)

    def quantified(self, chunk: Chunk) -> bool:
        """Whether `all` or the like stands in it."""
        words = {item.text for item in chunk.items}
        return bool(words & QUANTIFIERS)

    def forget(self, chunk: Chunk) -> None:
        """Name a chunk anew, which has grown."""
        self._bare.pop(chunk.start, None)

    def is_quality(self, item: Item) -> bool:
        """Whether a term is an adjective for a lesion: `pathological`."""
        return self.concept_of(item).name == LESION and item.text.endswith(("al", "ic", "ous", "ant"))

    def has_term(self, chunk: Chunk) -> bool:
        """Whether a known target stands in it, whatever it is used for."""
        return any(item.term is not None and self.concept_of(item).target for item in chunk.items)

    def has_side(self, chunk: Chunk) -> bool:
        """Whether a word for a side stands in it."""
        return any(item.of(SIDE) for item in chunk.items)

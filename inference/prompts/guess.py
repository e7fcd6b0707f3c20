"""A guess at what a sentence without a known term means, by the text encoder; told with its similarity."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence
from typing import Protocol

from msgspec import Struct

from vesal.inference.data.prompt import Target
from vesal.inference.data.terms import SIDES
from vesal.inference.prompts.chunks import MODALITY, NUMBER, SIDE, Item
from vesal.inference.prompts.reading import Found
from vesal.inference.prompts.tokens import Token
from vesal.inference.prompts.vocabulary import Concept, Vocabulary, load_vocabulary

log = logging.getLogger("vesal")

LEAST_SIMILARITY = 0.65
"""Cosine from which an unseen sentence is answered: over the tuning half of evaluation.sentences 19 right, 2
wrong and 1 without an answer from here, as many right and 2 without an answer from 0.6, 17 right from 0.7."""
LEAST_FOR_NAMES, NAME_WORDS = 0.7, 3
"""The same for a name, of three words at most and without a verb: it is often like a known one in its letters
and not in its meaning (`jaw crusher` .69, `gastroesophageal reflux` .67)."""
LEAST_FOR_WORDS = 0.95
"""The same for a single word (`sarcomere` is near to sarcoma by .80, `laryngopharynx` to larynx by .92)."""
LEAST_LETTERS = 5
"""Of one word at least: the encoder has seen no meaning for two to four letters."""
CHARACTERS_SHOWN = 80
"""Length up to which a sentence is repeated in a message."""


class Nearest(Protocol):
    """The part of vesal.inference.prompts.sentence_encoder.SentenceEncoder that is used here."""

    def nearest(self, text: str, excluded: Collection[str] = ()) -> tuple[str, float]:
        """The concept nearest in meaning, none of those excluded, and its cosine.

        The name is empty for what is no target.
        """


Encoder = Callable[[], Nearest]


class FoundTarget(Struct, frozen=True):
    """What one sentence asks for, before the case is known."""

    targets: tuple[Target, ...]
    found_by: str
    """`term`, `typing error`, `encoder` or `none`."""
    similarity: float | None
    why: str
    group: str | None = None

    @property
    def target(self) -> str | None:
        """Name of what is asked for."""
        return self.group or ", ".join(target.name for target in self.targets) or None

    @property
    def concept(self) -> Concept | None:
        """Concept of a single target."""
        return load_vocabulary().concepts[self.targets[0].concept] if len(self.targets) == 1 else None

    @property
    def side(self) -> str | None:
        """Side of a single target."""
        return self.targets[0].side if len(self.targets) == 1 else None


def shown_text(text: str) -> str:
    """A sentence for a message."""
    return repr(text if len(text) <= CHARACTERS_SHOWN else text[: CHARACTERS_SHOWN - 3] + "...")


def by_meaning(
    text: str,
    tokens: Sequence[Token],
    items: Sequence[Item],
    found: Found,
    vocabulary: Vocabulary,
    encoder: Encoder | None,
) -> FoundTarget:
    """The concept nearest in meaning, words for side and modality left out; none below the threshold."""
    shown = shown_text(text)
    query, weighty = _query(tokens, items)
    reason = f"{found.why}; " if found.why else ""
    if not weighty:
        return FoundTarget((), "none", None, f"{reason}{shown} names nothing that could be segmented")
    described = len(weighty) > 2 and any(item.of("clauses") for item in items)
    if max(map(len, weighty)) < LEAST_LETTERS and not described:
        return FoundTarget((), "none", None, f"{reason}no known term in {shown}, and too short to guess at")
    if encoder is None:
        return FoundTarget(
            (), "none", None, f"{reason}no known term in {shown}, and there is no text encoder to ask"
        )
    try:
        excluded = _excluded(tokens, items, vocabulary)
        name, similarity = encoder().nearest(query, excluded) if excluded else encoder().nearest(query)
    except (OSError, ValueError, RuntimeError) as error:
        # Without the encoder the prompt stays empty, but the other prompts of the case do not suffer.
        log.warning("the text encoder failed on %s: %s", shown, error)
        return FoundTarget(
            (), "none", None, f"{reason}no known term in {shown}, and the text encoder failed: {error}"
        )
    if not name:
        why = f"{reason}no known term in {shown}; it is nearer to something else than to any target"
        return FoundTarget((), "none", similarity, f"{why} (cosine {similarity:.2f})")
    why = f"{reason}no known term in {shown}; the nearest, {name}, has only cosine {similarity:.2f}"
    least = _least(items, weighty)
    if similarity < least:
        return FoundTarget((), "none", similarity, f"{why}, wanted {least}")
    concept = vocabulary.concepts[name]
    if _is_placing(name, items, vocabulary):
        why = f"{reason}the nearest, {name}, is named in {shown} only to say where something else is"
        return FoundTarget((), "none", similarity, why)
    if found.kinds is not None and concept.kind not in found.kinds:
        return FoundTarget(
            (), "none", similarity, f"{reason}the nearest, {name}, is of another kind than what is described"
        )
    sides = {vocabulary.sides[item.text] for item in items if item.of(SIDE) and len(item.text) > 1}
    side = sides.pop() if len(sides) == 1 and sides <= set(SIDES) and concept.sided else None
    why = f"a guess: no known term, but {query!r} is near {name} (cosine {similarity:.2f})"
    log.warning("%s is guessed to mean %s (cosine %.2f)", shown, name, similarity)
    return FoundTarget((Target(name, side, concept.kind),), "encoder", similarity, why)


def _excluded(tokens: Sequence[Token], items: Sequence[Item], vocabulary: Vocabulary) -> frozenset[str]:
    """Concepts that a description contradicts: no ventricle `gets blood from the lungs`.

    Texts that differ in the way that blood goes are alike to the encoder. Where two ways are said, it is not
    known which of them counts. Nor is what is described the answer itself: `vessel that ...`.
    """
    named = {item.term.value[0] for item in items if item.term}
    found = {item.text for item in items if item.of("generic") and item.text in named}
    said = f" {' '.join(token.stem for token in tokens)} "
    for kind in {flow.of for flow in vocabulary.words.flows}:
        flows = [flow for flow in vocabulary.words.flows if flow.of == kind and not flow.unless & named]
        spoken = [flow for flow in flows if any(f" {vocabulary.stem(word)} " in said for word in flow.words)]
        if len(spoken) == 1:
            ends = spoken[0].excluded
            found |= {name for name in vocabulary.concepts if name.endswith(ends)}
    return frozenset(found)


def _is_placing(name: str, items: Sequence[Item], vocabulary: Vocabulary) -> bool:
    """Whether a concept, or one in its name, is named behind a word for a place.

    `the organ that lies under the liver` is no liver, and no liver tumor.
    """
    places = [item.start for item in items if any(map(item.of, ("relations", "locating", "relation_verbs")))]
    inside = {name, *(vocabulary.meaning(vocabulary.stem(word)) for word in name.split())}
    named = [item.start for item in items if item.term is not None and item.term.value[0] in inside]
    return bool(places and named) and max(named) > min(places)


LIGHT = (
    "filler",
    "locating",
    "of",
    "neutral",
    "joins",
    "accompanying",
    "regions",
    "resets",
    "imaging",
    "relations",
)
"""Classes of words that alone describe nothing."""


def _least(items: Sequence[Item], weighty: Sequence[str]) -> float:
    """Cosine from which a guess is made: the less is said, the more it must be alike."""
    heavy = [i for i in items if not any(map(i.of, ("filler", "locating", MODALITY, SIDE)))]
    if sum(item.end - item.start for item in heavy) < 2:
        return LEAST_FOR_WORDS
    described = any(item.of("clauses") or item.of("relations") for item in items)
    return LEAST_SIMILARITY if described or len(weighty) > NAME_WORDS else LEAST_FOR_NAMES


def _query(tokens: Sequence[Token], items: Sequence[Item]) -> tuple[str, list[str]]:
    """What is left of the sentence without sides, modalities and words of request, in its own spelling; and
    its words of weight.
    """
    begun = min(
        (i.start for i in items if i.of("clauses")), default=len(tokens)
    )  # `the chamber that gets ...`
    left = [
        i
        for i in items
        if not (i.of(MODALITY) or i.of(SIDE)) and (not i.of("requests") or i.of("neutral") or i.start > begun)
    ]
    if left and left[0].text in ("segment", "seg"):  # the verb
        left = left[1:]
    weighty = [item.text for item in left if not any(map(item.of, LIGHT)) and not item.of(NUMBER)]
    words = (tokens[i].raw.lower() for item in left for i in range(item.start, item.end))
    return " ".join(words), weighty

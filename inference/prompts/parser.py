"""Sentences to prompts: target, side and modality. No sentence makes it fail."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from vesal.inference.data.case import Case
from vesal.inference.data.prompt import ModalityChoice, Prompt, Target
from vesal.inference.data.terms import SIDES
from vesal.inference.prompts.modality import GUESSED, choose_modality, sentence_modality
from vesal.inference.prompts.term_search import Span, split_words
from vesal.inference.prompts.vocabulary import Concept, Term, Vocabulary, load_vocabulary

log = logging.getLogger("vesal")

LEAST_SIMILARITY = 0.55
"""Cosine from which an unseen sentence is answered. Over the tests' unseen_sentences.json the right answers
less the wrong ones and the nonsense answered are most from 0.55 to 0.6; of these the lower one
answers more."""
CHARACTERS_SHOWN = 80
"""Length up to which a sentence is repeated in a message."""


class Nearest(Protocol):
    """The part of vesal.inference.prompts.sentence_encoder.TextEncoder that is used here."""

    def nearest(self, text: str) -> tuple[str, float]:
        """The concept nearest in meaning and its cosine."""


Encoder = Callable[[], Nearest]


@dataclass(frozen=True)
class FoundTarget:
    """What one sentence asks for, before the case is known."""

    concept: Concept | None
    side: str | None
    found_by: str
    similarity: float | None
    why: str

    @property
    def target(self) -> str | None:
        """Canonical target with its side."""
        if self.concept is None:
            return None
        return f"{self.side} {self.concept.name}" if self.side else self.concept.name

    @property
    def targets(self) -> tuple[Target, ...]:
        """The same as a prompt holds it."""
        return (Target(self.concept.name, self.side, self.concept.kind),) if self.concept else ()


def parse_case(
    case: Case, encoder: Encoder | None = None, modality: str | None = None
) -> tuple[tuple[Prompt, ...], ModalityChoice]:
    """Prompts of a case and its modality, see `parse_prompts`."""
    return parse_prompts(
        case.sentences,
        name=case.name,
        image=case.image,
        encoder=encoder,
        dataset=case.dataset,
        modality=modality,
        given=case.modality,
        hounsfield=case.stored is not None and case.stored.hounsfield,
    )


def parse_prompts(
    sentences: dict[int, str],
    *,
    name: str,
    image: np.ndarray,
    encoder: Encoder | None = None,
    dataset: str | None = None,
    modality: str | None = None,
    given: str | None = None,
    hounsfield: bool = False,
) -> tuple[tuple[Prompt, ...], ModalityChoice]:
    """Prompts of a case, in the order given, and the modality of the case.

    name: stem of the case's file. image: (D,H,W) uint8, looked at only if neither a sentence nor a name
    carries a modality. encoder: gives the text encoder; called only for a sentence without a known term.
    dataset: key of the challenge's file that the sentences come from, often bare names. modality: of the
    volume, where the caller knows it; counts for every sentence. given, hounsfield: see `choose_modality`. No
    sentences: no prompts.
    """
    vocabulary = load_vocabulary()
    if modality is None:
        modalities = {id_: sentence_modality(text, vocabulary) for id_, text in sentences.items()}
        choice = choose_modality(
            modalities.values(), name, image, vocabulary, dataset, given=given, hounsfield=hounsfield
        )
    else:
        modalities = dict.fromkeys(sentences, modality)
        choice = ModalityChoice(modality, "caller", "the caller gave it")
    prompts = []
    for id_, text in sentences.items():
        found = find_target(text, vocabulary, encoder)
        prompts.append(
            Prompt(
                id=id_,
                text=text,
                modality=modalities[id_] or choice.modality,
                targets=found.targets,
                found_by=found.found_by,
                similarity=found.similarity,
                why=found.why,
                guessed=modalities[id_] is None and choice.source == GUESSED,
            )
        )
    return tuple(prompts), choice


def find_target(text: str, vocabulary: Vocabulary, encoder: Encoder | None = None) -> FoundTarget:
    """What one sentence asks for, by its terms, else by its meaning."""
    raw = split_words(text)
    reading = _Reading(raw, tuple(map(vocabulary.stem, raw)), vocabulary)
    return reading.by_terms() or reading.by_meaning(text, encoder)


class _Reading:
    """One sentence taken apart."""

    def __init__(self, raw: tuple[str, ...], words: tuple[str, ...], vocabulary: Vocabulary) -> None:
        self.raw, self.words, self.vocabulary = raw, words, vocabulary
        self.modalities = vocabulary.find_modalities(raw, words)
        self.terms = vocabulary.find_terms(words, self._is_free)

    def _is_free(self, span: Span[Term]) -> bool:
        """Whether a term is neither part of a modality (`T1 weighted`) nor an adjective of another thing."""
        within = any(span.meets(other) and span.length <= other.length for other in self.modalities)
        return not within and self._word(span.end) not in self.vocabulary.other_things

    def _word(self, i: int) -> str:
        return self.words[i] if 0 <= i < len(self.words) else ""

    def by_terms(self) -> FoundTarget | None:
        """The best known term; a generic word for a lesion is joined with what bears it (`renal mass`)."""
        spans = [span for span in self.terms if not self._only_related(span)]
        spans.sort(key=self._rank)
        main = next((span for span in spans if self._concept(span).target), None)
        if main is None:
            return None
        concept, parts = self._concept(main), [main]
        for place in spans if concept.name == "lesion" else ():
            name = self._concept(place).bears.get(main.value[1] or "")
            if name:
                concept, parts = self.vocabulary.concepts[name], [main, place]
                break
        shown = " with ".join(f"'{' '.join(self.raw[part.start : part.end])}'" for part in parts)
        others = {self._concept(span).name for span in spans if not self._is_place(span)}
        others -= {concept.name, "lesion", *(self._concept(part).name for part in parts)}
        why = f"{shown} means {concept.name}"
        if others:
            why += f"; one prompt asks for one thing, so left out: {', '.join(sorted(others))}"
        return self._found(concept, self._sides(parts, concept), "term", None, why)

    def _concept(self, span: Span[Term]) -> Concept:
        return self.vocabulary.concepts[span.value[0]]

    def _rank(self, span: Span[Term]) -> tuple[int, int, int, int, int]:
        """Least first: lesion before organ, organelle before tissue, thing before place, long term first."""
        name, kind = span.value[0], self._concept(span).kind
        order = {"lesion": 2 if name == "lesion" else 0, "cell": 1, "region": 9}.get(kind, 3)
        specific = 0 if span.value[1] is None else 1
        return order, self._is_place(span), -span.length, specific, span.start

    def _is_place(self, span: Span[Term]) -> int:
        """1 after a locating preposition (`in the brain`), 2 before a modality (`cardiac MR`), else 0."""
        after = span.end
        while self._word(after) in self.vocabulary.filler and after - span.end < 2:
            after += 1
        if any(other.start <= after < other.end for other in self.modalities):
            return 2
        for before in range(span.start - 1, max(-1, span.start - 5), -1):
            word = self.words[before]
            if word in self.vocabulary.locating:
                return 1
            if word in self.vocabulary.requests or any(t.start <= before < t.end for t in self.terms):
                return 0
        return 0

    def _only_related(self, span: Span[Term]) -> bool:
        """Whether the thing only helps to describe another (`the artery leaving the heart`)."""
        before = span.start - 1
        while self._word(before) in self.vocabulary.filler or self._word(before) in self.vocabulary.sides:
            before -= 1
        return self._word(before) in self.vocabulary.relations

    def _sides(self, parts: list[Span[Term]], concept: Concept) -> set[str]:
        """Sides given to any occurrence of the parts: inside them, or nearest to them of all terms."""
        names = {part.value for part in parts} | {(concept.name, None)}
        sides = {self.vocabulary.sides[self.words[i]] for part in parts for i in part.skipped}
        taken = {i for span in self.terms for i in range(span.start, span.end)}
        for i, word in enumerate(self.words):
            if word in self.vocabulary.sides and i not in taken:
                owner = self._owner(i)
                if owner is not None and owner.value in names:
                    sides.add(self.vocabulary.sides[word])
        return sides

    def _owner(self, i: int) -> Span[Term] | None:
        """The term a side word belongs to: the nearest, the following one if two are as near."""
        # A lone letter is a side only right beside its term: `L kidney`.
        reach = 1 if len(self.words[i]) == 1 else len(self.words)
        best: tuple[int, Span[Term]] | None = None
        for span in self.terms:
            if self._concept(span).kind == "region":
                continue
            distance = span.start - i if span.start > i else i - span.end + 1
            if distance <= reach and (best is None or distance <= best[0]):
                best = distance, span
        return best[1] if best else None

    def _found(
        self, concept: Concept, sides: set[str], found_by: str, similarity: float | None, why: str
    ) -> FoundTarget:
        """Settle the side: one word for one side gives it; both, or none, means the thing on both sides."""
        side = next(iter(sides)) if len(sides) == 1 and sides <= set(SIDES) and concept.sided else None
        if sides and not concept.sided:
            why += f"; the side ({', '.join(sorted(sides))}) is not used, there is only one"
        elif sides and side is None:
            why += "; both sides are asked for, taken as one target without a side"
        return FoundTarget(concept, side, found_by, similarity, why)

    def by_meaning(self, text: str, encoder: Encoder | None) -> FoundTarget:
        """The concept nearest in meaning, words for side and modality left out; none below the threshold."""
        shown = repr(text if len(text) <= CHARACTERS_SHOWN else text[: CHARACTERS_SHOWN - 3] + "...")
        query = self._query()
        if not query:
            return FoundTarget(None, None, "none", None, f"{shown} names nothing that could be segmented")
        if encoder is None:
            return FoundTarget(
                None, None, "none", None, f"no known term in {shown}, and there is no text encoder to ask"
            )
        try:
            name, similarity = encoder().nearest(query)
        except (OSError, ValueError, RuntimeError) as error:
            # Without the encoder the prompt stays empty, but the other prompts of the case do not suffer.
            log.warning("the text encoder failed on %s: %s", shown, error)
            return FoundTarget(
                None, None, "none", None, f"no known term in {shown}, and the text encoder failed: {error}"
            )
        if similarity < LEAST_SIMILARITY:
            why = f"no known term in {shown}; the nearest, {name}, has only cosine {similarity:.2f}"
            return FoundTarget(None, None, "none", similarity, f"{why}, wanted {LEAST_SIMILARITY}")
        sides = {
            self.vocabulary.sides[word]
            for word in self.words
            if word in self.vocabulary.sides and len(word) > 1
        }
        why = f"no known term, but {query!r} is near {name} (cosine {similarity:.2f})"
        return self._found(self.vocabulary.concepts[name], sides, "encoder", similarity, why)

    def _query(self) -> str:
        """What is left of the sentence without sides, modalities and words of request, in its own
        spelling."""
        used = {i for span in self.modalities for i in range(span.start, span.end)}
        words = self.vocabulary
        left = [i for i, word in enumerate(self.words) if i not in used and word not in words.sides]
        left = [i for i in left if self.words[i] not in words.requests]
        if all(self.words[i] in words.filler or self.words[i] in words.locating for i in left):
            return ""
        return " ".join(self.raw[i].lower() for i in left)

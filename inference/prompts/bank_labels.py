"""Which label of a bank stands for a target of the vocabulary, by its names, synonyms and sides.

Labels are compared by their words, whatever their order: `tumor of the left kidney` is `left kidney tumor`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property

from vesal.inference.data.prompt import Target
from vesal.inference.data.terms import SIDES
from vesal.inference.prompts.chunks import ADJECTIVES
from vesal.inference.prompts.term_search import split_words
from vesal.inference.prompts.vocabulary import Vocabulary

LIGHT = frozenset({"of", "the", "a", "an", "in", "side", "sided"})
"""Words of a label that change nothing."""
BOTH = "both"
Key = tuple[str, ...]
"""Stems of a label in the order of the alphabet, sides as `left`, `right` and `both`."""


class BankLabels:
    """Labels of a bank by what they name."""

    def __init__(self, labels: Sequence[str], vocabulary: Vocabulary) -> None:
        """``labels``: (N,), lower case; nothing is compared before the first target."""
        self._labels, self._vocabulary = labels, vocabulary

    @cached_property
    def _by_key(self) -> dict[Key, list[str]]:
        found: dict[Key, list[str]] = {}
        for label in self._labels:
            found.setdefault(key_of(label, self._vocabulary), []).append(label)
        return found

    def of(self, target: Target, sentence: str = "") -> str | None:
        """The label of a target; None where the bank has none.

        Of several the longest that the ``sentence`` says word by word, else one with its word for a lesion
        (who asks for a tumor is not answered by a cyst), else the name before synonyms.
        """
        texts = dict.fromkeys(target_texts(target, self._vocabulary))
        found = dict.fromkeys(label for text in texts for label in self._stored(text))
        said = set(key_of(sentence, self._vocabulary))
        return max(found, key=lambda label: self._said(label, said), default=None)

    def _said(self, label: str, said: set[str]) -> tuple[int, int]:
        """Words of a label if all are said, none of an adjective alone; its words for a lesion that are."""
        words = [word for word in key_of(label, self._vocabulary) if word not in (*SIDES, BOTH)]
        whole = said.issuperset(words) and not (len(words) == 1 and words[0].endswith(ADJECTIVES))
        lesions = sum(word in said and word in self._vocabulary.lesion_words for word in words)
        return len(words) if whole else 0, lesions

    def _stored(self, text: str) -> list[str]:
        """Labels of the same words as a text, the one in the same order first."""
        return sorted(self._by_key.get(key_of(text, self._vocabulary), ()), key=lambda label: label != text)


def key_of(text: str, vocabulary: Vocabulary) -> Key:
    """What labels are compared by."""
    stems = (vocabulary.stem(word) for word in split_words(text))
    return tuple(sorted(vocabulary.sides.get(stem, stem) for stem in stems if stem not in LIGHT))


def target_texts(target: Target, vocabulary: Vocabulary) -> Iterator[str]:
    """What a target may be called, its name first: with its side, and a lesion by the organ that bears it."""
    sides = [target.side] if target.side else ["", BOTH]
    for name in _names(target.concept, vocabulary):
        yield from (f"{side} {name}".strip() for side in sides)


def _names(concept: str, vocabulary: Vocabulary) -> Iterator[str]:
    known = vocabulary.concepts[concept]
    yield from (known.name, *known.terms)
    for bearer in vocabulary.concepts.values():
        kinds = {kind for kind, lesion in bearer.bears.items() if lesion == concept}
        for word, kind in vocabulary.lesion_words.items() if kinds else ():
            if kind in kinds:
                yield from (f"{name} {word}" for name in (bearer.name, *bearer.terms))


def vocabulary_labels(labels: Sequence[str], vocabulary: Vocabulary) -> list[int]:
    """Rows of the labels (N,) by which some target of the vocabulary may be asked for, in their order."""
    wanted: set[Key] = set()
    for concept in vocabulary.concepts.values():
        if concept.target:
            for side in (None, *SIDES) if concept.sided else (None,):
                texts = target_texts(Target(concept.name, side), vocabulary)
                wanted.update(key_of(text, vocabulary) for text in texts)
    return [row for row, label in enumerate(labels) if key_of(label, vocabulary) in wanted]

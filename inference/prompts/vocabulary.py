"""The words Vesal knows: targets, modalities and what surrounds them, read from `vocabulary.json`.

One concept is one thing, under its canonical name (lower case, no side); a target is a concept with its side
where it has one (`left kidney`). `left ventricle` is a name, not a side. All rules about single names are
data in the file.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from vesal.inference.data.errors import VesalError
from vesal.inference.data.terms import SIDES
from vesal.inference.prompts.term_search import Span, Stems, TermTree, split_words

MODALITY_PRECEDENCE = ("Microscopy", "PET", "US", "MR", "CT")
"""Of several modalities that a sentence names, the first one counts."""
Term = tuple[str, str | None]
"""(concept, None), or (`lesion`, class) for a generic word for a lesion."""
FILE = Path(__file__).with_name("vocabulary.json")


class VocabularyError(VesalError, ValueError):
    """The vocabulary file contradicts itself."""


@dataclass(frozen=True)
class Concept:
    """One target that a prompt can name."""

    name: str
    """Canonical name, lower case, without a side."""
    kind: str
    """organ, bone, muscle, vessel, structure, heart chamber, lesion, cell; region: never a target itself."""
    sided: bool
    """Whether there is one on each side of the body."""
    terms: tuple[str, ...]
    """Other names and adjectives."""
    means: tuple[str, ...] = ()
    """Paraphrases for the text encoder; never compared word by word."""
    bears: Mapping[str, str] = field(default_factory=dict)
    """Class of a generic word (`tumor`, `lesion`, `cyst`) to the concept it means together with this one."""
    target: bool = True
    """Whether it can be segmented; a region only locates a lesion."""


@dataclass(frozen=True)
class Vocabulary:
    """All concepts and words, ready for search."""

    concepts: dict[str, Concept]
    terms: dict[str, str]
    """Canonical names and synonyms of targets, as written in the file, to the concept."""
    means: dict[str, str]
    """Paraphrases to the concept."""
    lesion_words: dict[str, str]
    """Generic words (`tumor`, `focus`) to their class, `tumor` or `lesion`."""
    file_prefixes: dict[str, str]
    """First part of a file name to the modality."""
    sides: dict[str, str]
    """Words for a side to `left`, `right` or `both`."""
    locating: frozenset[str]
    """Prepositions: what follows them is the place, not the thing."""
    relations: frozenset[str]
    """Words that only relate the thing to what follows: `leaving the heart` does not ask for the heart."""
    other_things: frozenset[str]
    """Nouns that turn the term before them into a mere adjective: `splenic artery` is not the spleen."""
    requests: frozenset[str]
    filler: frozenset[str]
    stem: Stems
    _terms: TermTree[Term]
    _modalities: TermTree[tuple[str, bool]]
    _exact: dict[str, str]

    def targets(self) -> Iterator[str]:
        """Every canonical target, with and without its side."""
        for concept in self.concepts.values():
            if concept.target:
                yield concept.name
                if concept.sided:
                    yield from (f"{side} {concept.name}" for side in SIDES)

    def find_terms(self, words: tuple[str, ...], allowed: Callable[[Span[Term]], bool]) -> list[Span[Term]]:
        """The longest allowed terms in a sentence of stems, in its order; a side may stand inside a term."""
        return self._terms.find(words, self.sides, allowed)

    def find_modalities(self, raw: tuple[str, ...], words: tuple[str, ...]) -> list[Span[tuple[str, bool]]]:
        """Modality terms as (modality, weak); `raw` keeps the capitals, which tell `US` from `us`."""
        spans = self._modalities.find(words)
        exact = [
            Span(i, i + 1, (self._exact[word], False)) for i, word in enumerate(raw) if word in self._exact
        ]
        return spans + [span for span in exact if not any(span.meets(other) for other in spans)]


@cache
def load_vocabulary(path: Path = FILE) -> Vocabulary:
    """Read and check the vocabulary; a second call gives the same object. Raises VocabularyError."""
    data = json.loads(path.read_text(encoding="utf-8"))
    concepts = {entry["name"]: _concept(entry) for entry in data["concepts"]}
    if len(concepts) < len(data["concepts"]):
        raise VocabularyError(f"{path.name} names a concept twice: merge the entries")
    for concept in concepts.values():
        _check(concept, concepts)
    stem = Stems(data["spellings"], data["plurals"])
    lesion_words = {word: kind for kind, words in data["lesion_words"].items() for word in words}
    tree, terms = _term_tree(concepts, lesion_words, stem)
    modalities, exact = _modality_tree(data["modalities"], stem)
    sides = {word: side for side, words in data["sides"].items() for word in words}
    sets = {
        key: frozenset(data[key]) for key in ("locating", "relations", "other_things", "requests", "filler")
    }
    return Vocabulary(
        concepts=concepts,
        terms=terms,
        means={text: concept.name for concept in concepts.values() for text in concept.means},
        lesion_words=lesion_words,
        file_prefixes={prefix.lower(): modality for prefix, modality in data["file_prefixes"].items()},
        sides=sides,
        **sets,
        stem=stem,
        _terms=tree,
        _modalities=modalities,
        _exact=exact,
    )


def stems(text: str, stem: Stems) -> tuple[str, ...]:
    """A text as comparable words."""
    return tuple(map(stem, split_words(text)))


def _concept(entry: dict[str, Any]) -> Concept:
    try:
        lists = {key: tuple(entry.get(key, ())) for key in ("terms", "means")}
        return Concept(**{**entry, **lists})
    except TypeError as error:
        raise VocabularyError(
            f"the entry of {entry.get('name')!r} has other fields than wanted: {error}"
        ) from None


def _check(concept: Concept, concepts: dict[str, Concept]) -> None:
    """Raise VocabularyError where an entry contradicts another."""
    if concept.name != concept.name.lower():
        raise VocabularyError(f"the concept {concept.name!r} has capitals: canonical names are lower case")
    for other in concept.bears.values():
        if other not in concepts:
            raise VocabularyError(
                f"the concept {concept.name!r} points to {other!r}, which is no concept: add it"
            )


def _term_tree(
    concepts: dict[str, Concept], lesion_words: dict[str, str], stem: Stems
) -> tuple[TermTree[Term], dict[str, str]]:
    """Tree of all terms, and term to concept for those that can be targets."""
    tree: TermTree[Term] = TermTree()
    terms: dict[str, str] = {}
    for word, kind in lesion_words.items():
        tree.add(stems(word, stem), ("lesion", kind))
    for concept in concepts.values():
        for term in (concept.name, *concept.terms):
            value = tree.add(stems(term, stem), (concept.name, None))
            if value[0] != concept.name:
                raise VocabularyError(
                    f"{term!r} stands for {value[0]!r} and {concept.name!r}: keep it in one of them"
                )
            if concept.target:
                terms[term] = concept.name
    return tree, terms


def _modality_tree(
    data: dict[str, dict[str, list[str]]], stem: Stems
) -> tuple[TermTree[tuple[str, bool]], dict[str, str]]:
    """Tree of modality terms as (modality, weak), and the terms that count only in their capitals."""
    if tuple(data) != MODALITY_PRECEDENCE:
        raise VocabularyError(
            f"the modalities are {tuple(data)}, wanted {MODALITY_PRECEDENCE} in this order of precedence"
        )
    tree: TermTree[tuple[str, bool]] = TermTree()
    exact: dict[str, str] = {}
    for modality, entry in data.items():
        for key in ("terms", "weak"):
            for term in entry[key]:
                value = tree.add(stems(term, stem), (modality, key == "weak"))
                if value[0] != modality:
                    raise VocabularyError(
                        f"{term!r} stands for {value[0]} and {modality}: keep it in one of them"
                    )
        exact.update(dict.fromkeys(entry["exact"], modality))
    return tree, exact

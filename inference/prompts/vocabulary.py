"""The words Vesal knows: targets, modalities and what surrounds them, read from `vocabulary.json`.

One concept is one thing, under its canonical name (lower case, no side); a target is a concept with its side
where it has one (`left kidney`). `left ventricle` is a name, not a side. All rules about single names are
data in the file.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from vesal.inference.data.errors import VesalError
from vesal.inference.data.terms import SIDES
from vesal.inference.prompts.groups import Groups, Named, load_groups
from vesal.inference.prompts.term_search import Span, Stems, TermTree, split_words
from vesal.inference.prompts.typing_errors import KnownSpellings
from vesal.inference.prompts.words import Words, load_words

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
    abbreviations: dict[str, str]
    """Abbreviation in capitals to the words that it stands for."""
    label_words: dict[str, str]
    """Short form in names of labels to the words that it stands for."""
    words: Words
    groups: Groups
    classes: dict[str, frozenset[str]]
    """Stems of a word, or of several with blanks between, to its classes, see `words.CLASSES`."""
    group_names: dict[str, Named]
    """Stems of a named group to the group."""
    known: frozenset[str]
    """Every stem of the vocabulary."""
    stem: Stems
    _terms: TermTree[Term | None]
    _modalities: TermTree[tuple[str, bool]]
    _exact: dict[str, str]

    def targets(self) -> Iterator[str]:
        """Every canonical target, with and without its side."""
        for concept in self.concepts.values():
            if concept.target:
                yield concept.name
                if concept.sided:
                    yield from (f"{side} {concept.name}" for side in SIDES)

    @cached_property
    def spellings(self) -> KnownSpellings:
        """Words for targets, parts and other things, to compare unknown words with."""
        named = [*self.terms, *self.words.lists["parts"], *self.words.lists["things"], *self.lesion_words]
        known = {self.stem(word) for term in named for word in split_words(term)}
        right = {self.stem(word) for word in self.words.not_typing_errors}
        return KnownSpellings(known, right)

    @cached_property
    def written(self) -> dict[str, str]:
        """Stem of a word of terms to the word: `pancrea` to `pancreas`."""
        return {self.stem(word): word for term in reversed(self.terms) for word in split_words(term)}

    @cached_property
    def kinds(self) -> dict[str, str]:
        """Concepts that can be targets to their kinds."""
        return {concept.name: concept.kind for concept in self.concepts.values() if concept.target}

    def find_terms(
        self, words: tuple[str, ...], allowed: Callable[[Span[Term | None]], bool]
    ) -> list[Span[Term | None]]:
        """The longest allowed terms in a sentence of stems, in its order; a side may stand inside a term.

        A value of None is a word of `classes` or `group_names`.
        """
        return self._terms.find(words, self.sides, allowed)

    def is_term(self, word: str) -> bool:
        """Whether one stem names a concept."""
        return any(span.value is not None for span in self._terms.matches((word,), 0))

    def meaning(self, word: str) -> str:
        """The concept that a stem, or several with blanks between, names, else the words themselves."""
        words = tuple(word.split(" "))
        whole = (span for span in self._terms.matches(words, 0) if span.value and span.end == len(words))
        return next((span.value[0] for span in whole if span.value), word)

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
    sides = {word: side for side, listed in data["sides"].items() for word in listed}
    words, groups = load_words(), load_groups()
    classes = _classes(words, tree, stem)
    group_names = _group_names(groups, concepts, tree, stem)
    return Vocabulary(
        concepts=concepts,
        terms=terms,
        means={text: concept.name for concept in concepts.values() for text in concept.means},
        lesion_words=lesion_words,
        file_prefixes={prefix.lower(): modality for prefix, modality in data["file_prefixes"].items()},
        sides=sides,
        abbreviations=data["abbreviations"],
        label_words=data["label_words"],
        words=words,
        groups=groups,
        classes=classes,
        group_names=group_names,
        known=frozenset(stem.known.values()) | sides.keys(),
        stem=stem,
        _terms=tree,
        _modalities=modalities,
        _exact=exact,
    )


def stems(text: str, stem: Stems) -> tuple[str, ...]:
    """A text as comparable words."""
    if text.isalpha():  # most are, and thousands are read at every start
        return (stem.learn(text),)
    return tuple(map(stem.learn, split_words(text)))


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
) -> tuple[TermTree[Term | None], dict[str, str]]:
    """Tree of all terms, and term to concept for those that can be targets."""
    tree: TermTree[Term | None] = TermTree()
    terms: dict[str, str] = {}
    for word, kind in lesion_words.items():
        tree.add(stems(word, stem), ("lesion", kind))
    for concept in concepts.values():
        for term in (concept.name, *concept.terms):
            value = tree.add(stems(term, stem), (concept.name, None))
            if value is not None and value[0] != concept.name:
                raise VocabularyError(
                    f"{term!r} stands for {value[0]!r} and {concept.name!r}: keep it in one of them"
                )
            if concept.target:
                terms[term] = concept.name
    return tree, terms


def _classes(words: Words, tree: TermTree[Term | None], stem: Stems) -> dict[str, frozenset[str]]:
    """Classes of every word of the lists, by its stems; each becomes a term of the tree without a value."""
    found: dict[str, set[str]] = {}
    for name, listed in words.lists.items():
        for word in listed:
            parts = stems(word, stem)
            text = " ".join(parts)
            if text not in found:
                found[text] = set()
                tree.add(parts, None)
            found[text].add(name)
    alone = {name: frozenset({name}) for name in words.lists}
    return {
        word: alone[next(iter(names))] if len(names) == 1 else frozenset(names)
        for word, names in found.items()
    }


def _group_names(
    groups: Groups, concepts: Mapping[str, Concept], tree: TermTree[Term | None], stem: Stems
) -> dict[str, Named]:
    """Named groups by the stems of their names. Raises VocabularyError for a member that is no concept."""
    members = {m for named in groups.named for m in named.members} | {
        m
        for listed in (*groups.regions.values(), *groups.sequences, *groups.class_names.values())
        for m in listed
    }
    if unknown := sorted(members - concepts.keys()):
        raise VocabularyError(f"groups.json names {', '.join(unknown)}, which are no concepts: add them")
    found = {}
    for named in groups.named:
        for name in named.names:
            parts = stems(name, stem)
            found[" ".join(parts)] = named
            tree.add(parts, None)
    for word in (*groups.classes, *groups.region_words, *groups.range_words):
        tree.add(stems(word, stem), None)
    return found


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

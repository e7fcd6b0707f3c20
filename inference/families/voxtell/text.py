"""What VoxTell is asked for: a label of its bank, exactly, by the vocabulary, or by the nearest one.

As released a sentence is lower-cased and looked up in the bank as it stands; what is not there goes to a text
model of 4 billion parameters, which is not part of Vesal. In its place stand the targets that the vocabulary
reads from the sentence, then the nearest label, and the report says which was taken.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np

from vesal.inference.data.errors import ProfileError
from vesal.inference.data.prompt import Prompt, Query, Target
from vesal.inference.families.contract import Loader
from vesal.inference.planning.plan import Understood
from vesal.inference.planning.profile import Profile
from vesal.inference.planning.weights_folder import WEIGHTS
from vesal.inference.prompts.bank_labels import BankLabels
from vesal.inference.prompts.guess import shown_text
from vesal.inference.prompts.label_fit import facts_of
from vesal.inference.prompts.label_vectors import LabelSearch, Nearest, make_label_vectors, read_label_vectors
from vesal.inference.prompts.parser import find_target
from vesal.inference.prompts.sentence_encoder import SentenceEncoder
from vesal.inference.prompts.text_bank import TextBank, bank_width, check_width, read_text_bank
from vesal.inference.prompts.vocabulary import load_vocabulary
from vesal.inference.prompts.wholes import made_of

log = logging.getLogger("vesal")

MOST_OWN_LABELS = 512
"""Labels of the user's vectors up to which they are encoded when the first sentence is near to none that is
known: 3 ms each."""
KEPT_SENTENCES = 1024
"""Sentences whose answer is kept: a case asks for the same one several times while it is planned."""
GUESSED = "encoder"
"""``Prompt.found_by`` where the targets are a guess."""
MEMBERS_SHOWN = 12
"""Members of a group that are told by name at most."""


class TextFields(Protocol):
    """The family's fields of the manifest that are used here."""

    @property
    def label_vectors(self) -> str | None:
        """File of the sentence encoder's vectors of the bank's labels."""

    @property
    def min_similarity(self) -> float:
        """Cosine from which the nearest label is taken."""


@dataclass(frozen=True, eq=False)
class TextPrompts:
    """N queries as the network's input."""

    text: np.ndarray
    """(N, T) float32"""

    def part(self, rows: Sequence[int]) -> TextPrompts:
        """Some of the queries."""
        return TextPrompts(self.text[list(rows)])


def check_text(profile: Profile, width: int) -> None:
    """Check by headers alone that bank and vectors of the user have the ``width`` that the network takes.

    Raises:
        ProfileError: the bank has not, or is none.
        TextEmbeddingsError: the user's have not.
    """
    path = profile.bank_path()
    if (came := bank_width(path)) != width:
        raise ProfileError(
            f"{path} has {came} numbers a label; the network takes {width}. Convert the weights again with "
            "the bank that was published with them."
        )
    if profile.text_embeddings is not None:
        check_width(profile.text_embeddings, width, profile.name)


class VoxTellText:
    """Sentences and their text vectors. The bank is read with the first sentence."""

    def __init__(self, profile: Profile, fields: TextFields, runtime: Loader) -> None:
        """``runtime`` loads the engine's sentence encoder, if a sentence needs it."""
        self._profile, self._fields, self._runtime = profile, fields, runtime
        self._own = profile.text_embeddings or TextBank((), np.zeros((0, 1), np.float16))
        self._vocabulary = load_vocabulary()
        self._near: dict[tuple[str, bool], Nearest | str] = {}

    @cached_property
    def _bank(self) -> TextBank:
        return read_text_bank(self._profile.bank_path())

    @cached_property
    def _labels(self) -> BankLabels:
        return BankLabels(tuple(dict.fromkeys((*self._own.labels, *self._bank.labels))), self._vocabulary)

    @cached_property
    def _search(self) -> LabelSearch:
        """Raises ProfileError where the labels' vectors cannot be read."""
        assert self._fields.label_vectors is not None
        encoder = SentenceEncoder(WEIGHTS / "text", self._runtime)
        path = self._profile.file(self._fields.label_vectors)
        labels = list(self._bank.labels)
        vectors = read_label_vectors(path, len(labels), encoder)
        new = [label for label in self._own.labels if label not in self._bank.rows][:MOST_OWN_LABELS]
        if new:
            vectors = np.concatenate([vectors, make_label_vectors(new, encoder).astype(np.float32)])
        return LabelSearch([*labels, *new], vectors, encoder, self._vocabulary)

    def encode(self, queries: Sequence[Query]) -> TextPrompts:
        """N queries as text vectors (N, T) float32. Raises ProfileError for one that has none."""
        return TextPrompts(np.stack([self._vector(query.sentence or query.name) for query in queries]))

    def _vector(self, label: str) -> np.ndarray:
        for bank in (self._own, self._bank):
            if label in bank.rows:
                return bank.vector(label)
        raise ProfileError(f"The bank of {self._profile.name} has no label {label!r}.")

    def understands(self, prompt: Prompt) -> Understood:
        """The labels that a prompt is run for, and why; none where nothing is near enough."""
        if prompt.text and (found := self._as_it_stands(prompt)):
            return found
        guessed = prompt.found_by == GUESSED
        by_name = self._by_name(prompt)
        if (by_name.queries and not guessed) or not prompt.text:
            return by_name
        return self._nearest(prompt, by_name, known=bool(prompt.targets) and not guessed)

    def _as_it_stands(self, prompt: Prompt) -> Understood | None:
        """The sentence as a label, as released; then without blanks and a full stop around it."""
        for text in (prompt.text.lower(), " ".join(prompt.text.lower().split()).rstrip(" .")):
            for bank, whose in ((self._own, "the given text embeddings"), (self._bank, "the bank")):
                if text in bank.rows:
                    return Understood((self._query(prompt, text),), f"`{text}` is a label of {whose}")
        return None

    def _query(self, prompt: Prompt, label: str, target: Target | None = None) -> Query:
        """The query of a label: the same one however a sentence came to it, so that it is run once a case.

        ``target`` counts where the vocabulary does not read one from the label itself.
        """
        own = find_target(label, self._vocabulary).targets
        known = own[0] if len(own) == 1 else target
        if known is None:
            return Query(prompt.id, label, None, None, prompt.modality, "", sentence=label)
        return Query(prompt.id, label, known.concept, known.side, prompt.modality, known.kind)

    def _by_name(self, prompt: Prompt) -> Understood:
        """The targets of a prompt by their names; one that has no label is made of its sides or parts."""
        queries: list[Query] = []
        missing: list[str] = []
        for target in prompt.targets:
            if self._label(target, prompt):
                parts: Sequence[Target] = (target,)
            else:
                made = made_of(target, lambda part: self._label(part, prompt) is not None)
                parts = made.parts if made else ()
                missing += [part.name for part in made.missing] if made else [target.name]
            for part in parts:
                label = self._label(part, prompt)
                assert label is not None
                queries.append(self._query(prompt, label, part))
        queries = list({query.name: query for query in queries}.values())
        told = [prompt.why] if prompt.why else []
        if queries:
            told.append("read as " + ", ".join(f"`{query.name}`" for query in queries))
        if missing:
            more = ", ..." if len(missing) > MEMBERS_SHOWN else ""
            told.append(f"the bank has no label of {', '.join(missing[:MEMBERS_SHOWN])}{more}")
        return Understood(tuple(queries), "; ".join(told), tuple(missing))

    def _label(self, target: Target, prompt: Prompt) -> str | None:
        return self._labels.of(target, prompt.text)

    def _nearest(self, prompt: Prompt, by_name: Understood, known: bool) -> Understood:
        """The nearest label that nothing speaks against; ``by_name`` is a guess, or nothing.

        A guess at a target compares the sentence with paraphrases of it, by the same encoder.
        """
        found = self._near_labels(prompt.text, known)
        least = self._fields.min_similarity
        guess = (prompt.similarity or 0.0) if by_name.queries else 0.0
        if isinstance(found, Nearest) and found.best and found.best.similarity >= max(least, guess):
            label, similarity = found.best.label, found.best.similarity
            log.warning("%s is read as %r (similarity %.2f)", shown_text(prompt.text), label, similarity)
            return Understood(
                (self._query(prompt, label),), f"read as `{label}` (similarity {similarity:.2f})"
            )
        if by_name.queries and guess >= least:
            return by_name
        if isinstance(found, Nearest):
            near = ", ".join(map(str, found.near)) or "none"
            found = f"the nearest are {near}; a similarity of {least:.2f} is wanted, and nothing against it"
        return Understood((), f"{prompt.why}; the bank of {self._profile.name} has no label of it: {found}")

    def _near_labels(self, sentence: str, known: bool) -> Nearest | str:
        """What is near to a sentence, or why nothing was looked for; kept."""
        key = sentence, known
        if key not in self._near:
            if len(self._near) >= KEPT_SENTENCES:
                self._near.clear()
            self._near[key] = self._look(sentence, known)
        return self._near[key]

    def _look(self, sentence: str, known: bool) -> Nearest | str:
        if facts_of(sentence, self._vocabulary).denies:
            return "no near one is taken where a sentence says what is not wanted"
        if self._fields.label_vectors is None:
            return "these weights have no vectors of their labels, by which a near one could be found"
        try:
            return self._search.nearest(sentence, known, self._fields.min_similarity)
        except (OSError, ValueError, RuntimeError) as error:
            # Without the encoder the prompt stays empty, but the other prompts of the case do not suffer.
            log.warning("near labels of %s cannot be found: %s", shown_text(sentence), error)
            return f"near ones cannot be found ({error})"

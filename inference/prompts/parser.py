"""Sentences to prompts: target, side and modality. No sentence makes it fail."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
from msgspec.structs import replace

from vesal.inference.data.case import Case
from vesal.inference.data.prompt import ModalityChoice, Prompt
from vesal.inference.data.terms import SIDES
from vesal.inference.prompts.chunks import Item, cut_chunks, read_items
from vesal.inference.prompts.guess import LEAST_SIMILARITY as LEAST_SIMILARITY
from vesal.inference.prompts.guess import Encoder, FoundTarget, by_meaning, shown_text
from vesal.inference.prompts.inverted import in_order
from vesal.inference.prompts.modality import GUESSED, choose_modality, sentence_modality
from vesal.inference.prompts.reading import Found, Reading
from vesal.inference.prompts.tokens import Token, read_tokens
from vesal.inference.prompts.typing_errors import mistyped
from vesal.inference.prompts.vocabulary import Vocabulary, load_vocabulary

log = logging.getLogger("vesal")

UNNAMED = FoundTarget((), "none", None, "there is no sentence")
"""Of a prompt without one."""


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
        given_by=case.modality_source,
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
    given_by: str | None = None,
    hounsfield: bool = False,
) -> tuple[tuple[Prompt, ...], ModalityChoice]:
    """Prompts of a case, in the order given, and the modality of the case.

    name: stem of the case's file. image: (D,H,W) uint8, looked at only if neither a sentence nor a name
    carries a modality. encoder: gives the text encoder; called only for a sentence without a known term.
    dataset: key of the challenge's file that the sentences come from, often bare names. modality: of the
    volume, where the caller knows it; counts for every sentence. given, given_by, hounsfield: see
    `choose_modality`. An empty sentence is that of an unnamed prompt, which has no target. No sentences: no
    prompts.
    """
    vocabulary = load_vocabulary()
    if modality is None:
        modalities = {id_: sentence_modality(text, vocabulary) for id_, text in sentences.items()}
        choice = choose_modality(
            modalities.values(),
            name,
            image,
            vocabulary,
            dataset,
            given=given,
            given_by=given_by,
            hounsfield=hounsfield,
        )
    else:
        modalities = dict.fromkeys(sentences, modality)
        choice = ModalityChoice(modality, "caller", "the caller gave it")
    prompts = []
    for id_, text in sentences.items():
        found = find_target(text, vocabulary, encoder) if text else UNNAMED
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
                group=found.group,
            )
        )
    return tuple(prompts), choice


def find_target(text: str, vocabulary: Vocabulary, encoder: Encoder | None = None) -> FoundTarget:
    """What one sentence asks for: by its terms, by terms with a typing error, else by its meaning."""
    tokens = read_tokens(text, vocabulary.stem, vocabulary.known, vocabulary.abbreviations)
    tokens, sides = _with_sides(in_order(text, tokens, vocabulary), vocabulary)
    found, items = _read(tokens, vocabulary)
    if found.targets and not sides:
        return FoundTarget(found.targets, "term", None, found.why, found.group)
    corrected, errors = (tokens, {}) if found.targets else _corrected(tokens, items, vocabulary)
    errors = {**sides, **errors}
    if errors:
        again, _ = _read(corrected, vocabulary)
        told = ", ".join(f"'{wrong}' is taken for '{right}'" for wrong, right in errors.items())
        if again.targets:
            log.warning("%s: %s, a typing error", shown_text(text), told)
            return FoundTarget(
                again.targets, "typing error", None, f"{told}, a typing error; {again.why}", again.group
            )
        if again.refused:
            return FoundTarget((), "none", None, f"{told}, a typing error; {again.why}")
    if found.refused:
        return FoundTarget((), "none", None, f"{found.why} ({shown_text(text)})")
    return by_meaning(text, tokens, items, found, vocabulary, encoder)


def _read(tokens: tuple[Token, ...], vocabulary: Vocabulary) -> tuple[Found, list[Item]]:
    items = read_items(tokens, vocabulary)
    chunks = cut_chunks(items, tokens, vocabulary)
    return Reading(tokens, items, chunks, vocabulary).found(), items


def _with_sides(
    tokens: tuple[Token, ...], vocabulary: Vocabulary
) -> tuple[tuple[Token, ...], dict[str, str]]:
    """The sentence with its sides as they are meant, and which were mistyped."""
    meant = {
        token.raw: side
        for token in tokens
        if token.stem not in vocabulary.known and (side := mistyped(token.raw.lower(), SIDES))
    }
    found = (
        replace(t, raw=meant[t.raw], stem=vocabulary.stem(meant[t.raw])) if t.raw in meant else t
        for t in tokens
    )
    return (tuple(found), meant) if meant else (tokens, {})


def _corrected(
    tokens: tuple[Token, ...], items: Sequence[Item], vocabulary: Vocabulary
) -> tuple[tuple[Token, ...], dict[str, str]]:
    """The sentence with known words for unknown ones where all that are as near mean the same, and which."""
    errors: dict[str, str] = {}
    words = list(tokens)
    for item in items:
        stands = item.text in vocabulary.known or item.text.endswith(vocabulary.words.thing_endings)
        if not item.is_unknown or stands:
            continue
        near = vocabulary.spellings.near(item.text)
        if near and len({vocabulary.meaning(word) for word in near}) == 1:
            right = vocabulary.written.get(near[0], near[0])
            words[item.start] = replace(tokens[item.start], raw=right, stem=near[0])
            errors[tokens[item.start].raw] = right
    return tuple(words), errors

"""Parsed prompts, and the queries that are run for them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ModalityChoice:
    """A modality with where it came from."""

    modality: str
    """CT, MR, US, PET or Microscopy."""
    source: str
    """`prompts`, `file name`, `dataset`, `numbers`, `image statistics` or `caller`."""
    why: str
    """One sentence for the report."""


@dataclass(frozen=True)
class Prompt:
    """One sentence and what was read out of it."""

    id: int
    text: str
    modality: str
    """CT, MR, US, PET or Microscopy; the case's own where the sentence carries none."""
    target: str | None
    """Canonical, lower case, with side: `left kidney`; None if unknown."""
    concept: str | None
    """The target without its side: `kidney`."""
    side: str | None
    """`left`, `right` or None; also None for both sides at once."""
    kind: str
    """organ, bone, lesion ... as in vocabulary.json; empty if unknown."""
    found_by: str
    """`term`, `encoder` or `none`."""
    similarity: float | None
    """Cosine to the nearest known text, where the encoder was run."""
    why: str
    """One sentence for the report."""
    guessed: bool = False
    """Whether the modality is only guessed, from intensities."""


@dataclass(frozen=True)
class Query:
    """One class that the network is run for; a prompt for both sides may make two."""

    prompt_id: int
    name: str
    """For log and report: the target with side, or the sentence."""
    concept: str | None
    """None where the vocabulary knows no target in the sentence, and the network reads it itself."""
    side: str | None
    modality: str
    kind: str
    sentence: str = ""
    """The prompt's text, where the network reads it instead of the target's name."""
    any_orientation: bool = False
    """Whether it is found in any orientation of the case (``CoveredTarget.any_orientation``)."""

"""Parsed prompts, and the queries that are run for them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class ModalityChoice:
    """A modality with where it came from."""

    modality: str
    """CT, MR, US, PET or Microscopy."""
    source: str
    """`prompts`, `file`, `file name`, `dataset`, `numbers`, `image statistics` or `caller`."""
    why: str
    """One sentence for the report."""


@dataclass(frozen=True)
class Target:
    """One thing that weights may be asked for."""

    concept: str
    """Canonical name, lower case, without a side: `kidney`."""
    side: str | None = None
    """`left`, `right` or None; also None for both sides at once."""
    kind: str = ""
    """organ, bone, lesion ... as in vocabulary.json."""

    @property
    def name(self) -> str:
        """With its side: `left kidney`."""
        return f"{self.side} {self.concept}" if self.side else self.concept


@dataclass(frozen=True)
class Prompt:
    """One sentence and what was read out of it, or a class without one that the user marked.

    Its result is the union of its targets' results.
    """

    id: int
    text: str
    """Empty where there is no sentence, but a mask, boxes or points."""
    modality: str
    """CT, MR, US, PET or Microscopy; the case's own where the sentence carries none."""
    targets: tuple[Target, ...]
    """In the order asked for, none twice; several for a group or a list; none if unknown."""
    found_by: str
    """`term`, `typing error`, `encoder` or `none`."""
    similarity: float | None
    """Cosine to the nearest known text, where the encoder was run."""
    why: str
    """One sentence for the report."""
    guessed: bool = False
    """Whether the modality is only guessed, from intensities."""
    group: str | None = None
    """What the targets are the members of (`abdominal organs`); members that weights do not cover are left
    out. None where each target was asked for by its name."""

    @property
    def unnamed(self) -> bool:
        """Whether it has no sentence: what is wanted is what the user marked."""
        return not self.text

    @property
    def name(self) -> str:
        """Target, else sentence, else `class 3`."""
        return self.target or self.text or f"class {self.id}"

    @property
    def target(self) -> str | None:
        """Name for log and report: of the group, or of the targets; None if unknown."""
        return self.group or ", ".join(target.name for target in self.targets) or None

    @property
    def single(self) -> Target | None:
        """The target where there is just one."""
        return self.targets[0] if len(self.targets) == 1 else None

    @property
    def concept(self) -> str | None:
        """Concept of a single target."""
        return self.single.concept if self.single else None

    @property
    def side(self) -> str | None:
        """Side of a single target."""
        return self.single.side if self.single else None

    @property
    def kind(self) -> str:
        """What kind all targets are of; empty if unknown, or of several kinds."""
        kinds = {target.kind for target in self.targets}
        return kinds.pop() if len(kinds) == 1 else ""


@dataclass(frozen=True)
class Query:
    """One class that the network is run for; a prompt for both sides, or for a group, makes several."""

    prompt_id: int
    name: str
    """For log and report: the target with side, the sentence, or `class 3` of an unnamed one."""
    concept: str | None
    """None where the vocabulary knows no target in the sentence, and the network reads it itself; or where
    there is none, and only what the user marked says what is wanted."""
    side: str | None
    modality: str
    kind: str
    sentence: str = ""
    """The prompt's text, where the network reads it instead of the target's name."""
    any_orientation: bool = False
    """Whether it is found in any orientation of the case (``CoveredTarget.any_orientation``)."""
    thickest_slice_mm: float = math.inf
    """See ``CoveredTarget.thickest_slice_mm``."""
    mirrored: bool | None = None
    """See ``CoveredTarget.mirrored``."""
    own_class: int | None = None
    """Its value in the label map while the case runs, where that is not the prompt's id."""
    seen_with: Mapping[int, int] = field(default_factory=dict, hash=False)
    """Groups of targets that it may share its views with, by number, and its place in each
    (``planning.seen_together``)."""
    companion: bool = False
    """Whether no prompt asks for it: it is run as others are seen with it, and is not written."""

    @property
    def class_id(self) -> int:
        """Its value in the label map while the case runs (``planning.classes``)."""
        return self.prompt_id if self.own_class is None else self.own_class

    @property
    def may_be_mirrored(self) -> bool:
        """Whether a mirrored copy of a view shows it under the same name."""
        return self.side is None if self.mirrored is None else self.mirrored

"""Sentences that should ask for the same thing: those of prompt files, and made ones."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vesal.inference.data.errors import UsageError
from vesal.inference.io.prompt_files import INSTANCE_KEY
from vesal.inference.prompts.parser import parse_prompts
from vesal.training.measure.runs import TargetKey, key_of

TEMPLATES = Path(__file__).with_name("templates.json")
EXCEPTIONS = Path(__file__).with_name("exceptions.json")
EMPTY = np.zeros((1, 1, 1), np.uint8)


@dataclass(frozen=True)
class Phrasing:
    """A sentence and what was read out of it."""

    text: str
    got: TargetKey | None
    """None where nothing known is asked for."""


@dataclass(frozen=True)
class Class:
    """All phrasings of one class of one dataset."""

    dataset: str
    id: str
    phrasings: tuple[Phrasing, ...]
    wanted: TargetKey | None
    """What the first phrasing asks for, which in these files is the bare name; of made ones their target."""

    @property
    def name(self) -> str:
        """The bare name; some sets give one name to several ids."""
        return self.phrasings[0].text.lower()

    @property
    def astray(self) -> tuple[Phrasing, ...]:
        """Phrasings that ask for something else than wanted, or for nothing known."""
        return tuple(p for p in self.phrasings if p.got is None or p.got != self.wanted)


def read(text: str, name: str) -> TargetKey | None:
    """What one sentence asks for as the only one of a case ``name``; no text encoder is asked."""
    prompts, _ = parse_prompts({1: text}, name=name, image=EMPTY)
    return key_of(prompts[0])


def classes_of_file(path: Path) -> Iterator[Class]:
    """Classes of a file laid out as the challenge's own; raises UsageError where it is another kind of file.

    A sentence without a modality takes it from the dataset's name, as a case's from its file name.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        entries = [
            (dataset, id_, sentences)
            for dataset, entry in content.items()
            for id_, sentences in entry.items()
            if id_ != INSTANCE_KEY
        ]
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}; give a JSON file of prompts") from None
    except (ValueError, AttributeError) as error:
        raise UsageError(f"{path} does not map dataset -> id -> sentences ({error})") from None
    for dataset, id_, sentences in entries:
        phrasings = tuple(Phrasing(text, read(text, dataset)) for text in sentences)
        yield Class(dataset, id_, phrasings, phrasings[0].got)


def made_classes(targets: list[TargetKey]) -> Iterator[Class]:
    """Every target in every template and name of its modality (``templates.json``)."""
    content = json.loads(TEMPLATES.read_text(encoding="utf-8"))
    for concept, side, modality in targets:
        name = f"{side} {concept}" if side else concept
        sentences = [
            template.format(target=name, TARGET=name.upper(), modality=spelled)
            for spelled in content["modalities"][modality]
            for template in content["templates"]
        ]
        phrasings = tuple(Phrasing(text, read(text, modality)) for text in dict.fromkeys(sentences))
        yield Class(f"made, {modality}", name, phrasings, (concept, side, modality))


def read_exceptions(path: Path = EXCEPTIONS) -> dict[str, dict[str, str]]:
    """Dataset -> sentence -> why it may ask for something else than the others of its class."""
    return json.loads(path.read_text(encoding="utf-8"))

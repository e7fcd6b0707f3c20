"""What the command line asks for in a case: prompts and modality."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from vesal.inference.data.errors import ModalityError, UsageError
from vesal.inference.io.prompt_files import Prompts, PromptSource
from vesal.inference.prompts.modality import modality_of
from vesal.inference.runner.case_paths import CasePaths
from vesal.inference.runner.settings import Settings


def with_asked(pair: CasePaths, settings: Settings, sentences: Sequence[str] = ()) -> CasePaths:
    """A case with the prompts and the modality of the command line, or with its own ``sentences``.

    Raises UsageError where there is no such modality.
    """
    wanted = sentences or settings.sentences
    asked = Prompts(dict(enumerate(wanted, 1)), settings.instances) if wanted else None
    return replace(pair, asked=asked, modality=_modality(settings.modality))


def _modality(word: str | None) -> str | None:
    try:
        return None if word is None else modality_of(word)
    except ModalityError as error:
        raise UsageError(str(error)) from error


def prompts_of(pair: CasePaths, settings: Settings) -> PromptSource | None:
    """What was asked for on purpose, or the file of it; None: as the case itself says."""
    return pair.asked or (None if settings.has_table else settings.prompts)

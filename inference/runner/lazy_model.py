"""The weights of a run: checked before anything is written, opened when the first case needs them."""

import os
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from vesal.inference.data.errors import ProfileError, VesalError
from vesal.inference.runner.settings import Settings
from vesal.inference.runtime.choice import check_runtime

if TYPE_CHECKING:
    from vesal.inference.api import Model


class LazyModel:
    """The model, opened at first use; if that fails, it is not tried again.

    `model` is the one opened last.
    """

    def __init__(self, settings: Settings, open_model: Callable[[Settings], "Model"]) -> None:
        """Keep what is needed to open it."""
        self._settings = settings
        self._open = open_model
        self._failure: str | None = None
        self._in_use = False
        self.model: Model | None = None

    def __call__(self) -> "Model":
        """Return the model. Raises what opening it raised, and later a VesalError that repeats it."""
        if self._failure is not None:
            raise VesalError(f"The weights could not be opened before: {self._failure}")
        if self.model is None or self._in_use:
            try:
                self.model, self._in_use = self._open(self._settings), False
            except Exception as error:
                self._failure = f"{type(error).__name__}: {error}"
                raise
        return self.model

    def abandon(self) -> None:
        """Stop what this one computes for an abandoned case; the next case opens another one."""
        if self.model is not None and not self._in_use:
            self.model.cancel()
        self._in_use = True


def check_settings(settings: Settings) -> None:
    """Find the mistakes that would cost every case before anything is written.

    Raises:
        ProfileError: there are no such weights, or files are missing. Damaged ones cost each case its result,
        as
            hashing gigabytes has to wait until outputs are there.
        TextEmbeddingsError: the user's text vectors cannot be used, or not with these weights.
        RuntimeChoiceError: the runtime that is wanted does not start here, or none is installed.
    """
    from vesal.inference.engine import TEXT_WEIGHTS
    from vesal.inference.families.registry import check_profile
    from vesal.inference.planning.manifest import MANIFEST
    from vesal.inference.planning.profile import read_profile
    from vesal.inference.planning.weights_folder import weights_folder
    from vesal.inference.prompts.sentence_encoder import check_text_weights
    from vesal.inference.prompts.text_bank import text_embeddings

    folder = weights_folder(settings.weights)
    if os.sep not in settings.weights and not (folder / MANIFEST).exists():
        from vesal.inference.runner.listing import weights_there

        raise ProfileError(
            f"There are no weights {settings.weights!r}: {folder} has no {MANIFEST}. Known are: "
            f"{', '.join(weights_there()) or 'none'}. Give one of these, or the path of a folder with one."
        )
    own = None if settings.text_embeddings is None else text_embeddings(settings.text_embeddings)
    profile = replace(read_profile(folder, check_digests=False), text_embeddings=own)
    capabilities = check_profile(profile)
    if not capabilities.open_vocabulary:
        check_text_weights(TEXT_WEIGHTS)
    check_runtime(settings.runtime, settings.threads)


def takes_stored_numbers(weights: str) -> bool:
    """Whether weights take the numbers of a file as it stores them, without opening them; no if they cannot
    be read.
    """
    from vesal.inference.families.registry import check_profile
    from vesal.inference.planning.profile import read_profile
    from vesal.inference.planning.weights_folder import weights_folder

    try:
        return check_profile(read_profile(weights_folder(weights), check_digests=False)).stored_numbers
    except ProfileError:
        return False


def load_model(settings: Settings) -> "Model":
    """Load the model; imported here so that a wrong command line fails fast."""
    from vesal.inference.api import load

    return load(
        settings.weights,
        threads=settings.threads,
        runtime=settings.runtime,
        mask_stage=settings.hybrid,
        text_embeddings=settings.text_embeddings,
    )

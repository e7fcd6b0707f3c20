"""A case: volume, spacing, sentences, and the user's mask."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class UserMask:
    """A mask that the user gave beside the text, checked."""

    labels: np.ndarray
    """(D,H,W) unsigned, prompt ids, 0 elsewhere"""
    ids: tuple[int, ...]
    """Prompts that have voxels, ascending."""
    source: str
    """Where it was found, for the report."""


@dataclass(frozen=True)
class Case:
    """One input, checked; arrays are (D,H,W) and millimetres are ordered like the array.

    `name` is the file's stem, `image` uint8 0..255 and C-contiguous, `sentences` go by prompt id in the order
    given, `instance` asks for one label per object, `dataset` is the challenge's key when known, `notes`
    belong in the report, `mask` is the user's, where one was given.
    """

    name: str
    image: np.ndarray
    spacing_dhw_mm: tuple[float, float, float]
    sentences: dict[int, str]
    instance: bool
    dataset: str | None
    notes: tuple[str, ...]
    mask: UserMask | None = None

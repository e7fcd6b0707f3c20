"""A case: volume, spacing, sentences, and what the user gave beside them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vesal.inference.data.user_prompts import UserPrompts


@dataclass(frozen=True)
class StoredNumbers:
    """A volume that did not come as uint8, until it is known what is asked for."""

    numbers: np.ndarray
    """(D,H,W), as stored, of any real type."""
    notes: tuple[str, ...]
    """Of the case: how they became uint8."""
    hounsfield: bool
    """Whether they are Hounsfield units by themselves."""


@dataclass(frozen=True)
class Case:
    """One input, checked; arrays are (D,H,W) and millimetres are ordered like the array.

    `name` is the file's stem, `image` uint8 0..255 and C-contiguous, `sentences` go by prompt id in the order
    given, empty for unnamed prompts, `instance` asks for one label per object, `dataset` is the challenge's
    key when known, `notes` belong in the report, `user` holds the mask, boxes and points that the user gave.
    """

    name: str
    image: np.ndarray
    spacing_dhw_mm: tuple[float, float, float]
    sentences: dict[int, str]
    instance: bool
    dataset: str | None
    notes: tuple[str, ...]
    user: UserPrompts = UserPrompts()
    modality: str | None = None
    """As the prompts' key `modality` or the file says, in their word."""
    stored: StoredNumbers | None = None
    """Where `image` was not uint8; `prompts.case_meaning` uses it and lets it go."""
    axis_codes: tuple[str, str, str] | None = None
    """For each of D, H, W the direction in the patient in which its index grows, one of R L A P S I; None
    where the file does not say (the challenge's npz). Where it says so the image lies as
    ``orientation.CANONICAL``."""
    modality_source: str | None = None
    """What in the file says the modality, for the report; None where it is the prompts' key."""
    numbers: np.ndarray | None = None
    """(D,H,W) real numbers as stored, on the axes of `image`, for families that take these; None: they came
    as `image`, or nobody asked for them. What is not finite is their smallest."""
    interactive: bool = False
    """Whether it is a file of the challenge's interactive track, which has a longer time limit."""

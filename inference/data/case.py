"""A case: volume, spacing, sentences, and what the user gave beside them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vesal.inference.data.user_prompts import UserPrompts


@dataclass(frozen=True)
class Case:
    """One input, checked; arrays are (D,H,W) and millimetres are ordered like the array.

    `name` is the file's stem, `image` uint8 0..255 and C-contiguous, `sentences` go by prompt id in the order
    given, `instance` asks for one label per object, `dataset` is the challenge's key when known, `notes`
    belong in the report, `user` holds the mask, boxes and points that the user gave.
    """

    name: str
    image: np.ndarray
    spacing_dhw_mm: tuple[float, float, float]
    sentences: dict[int, str]
    instance: bool
    dataset: str | None
    notes: tuple[str, ...]
    user: UserPrompts = UserPrompts()

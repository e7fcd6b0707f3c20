"""How the image is sent to the page, and the windows in which it may be shown."""

from __future__ import annotations

from typing import Any

import numpy as np

from vesal.inference.data.case import Case
from vesal.inference.io.hounsfield import SOFT_TISSUE, Window, hounsfield_offset
from vesal.inference.prompts.case_meaning import ct_windows, window_for
from vesal.inference.prompts.modality import choose_modality, sentence_modality
from vesal.inference.prompts.parser import parse_prompts
from vesal.inference.prompts.vocabulary import load_vocabulary

HU_ENDS = (-1024, 3071)
"""Of a scanner of 12 bits; what lies beyond is shown as these."""
GREY = 255.0
CT = "CT"


def modality_of_case(case: Case) -> str:
    """CT, MR, US, PET or Microscopy, as sentences, name, or numbers say."""
    vocabulary = load_vocabulary()
    found = [sentence_modality(text, vocabulary) for text in case.sentences.values() if text]
    hounsfield = case.stored is not None and case.stored.hounsfield
    choice = choose_modality(
        found,
        case.name,
        case.image,
        vocabulary,
        case.dataset,
        given=case.modality,
        given_by=case.modality_source,
        hounsfield=hounsfield,
    )
    return choice.modality


def shown_image(case: Case, modality: str) -> tuple[np.ndarray, list[dict[str, Any]], str]:
    """The image for the page (D, H, W), its windows, and what its numbers are.

    Hounsfield units are sent as int16, anything else as the 0..255 that the engine sees; of CT that came so
    the presets lie on the grey scale of the window in which it was stored.
    """
    units = _hounsfield(case) if modality == CT else None
    if units is not None:
        return units, [_preset(w, *w.ends) for w in _presets()], "HU"
    full = {"name": "full range", "low": 0.0, "high": GREY}
    if modality != CT:
        return case.image, [full], "grey value 0 to 255"
    stored = window_for(parse_prompts(case.sentences, name=case.name, image=case.image, modality=CT)[0])
    low, high = stored.ends
    scaled = [_preset(w, *((hu - low) / (high - low) * GREY for hu in w.ends)) for w in _presets()]
    unit = f"grey value 0 to 255, taken as the {stored.name} window ({low:g} to {high:g} HU)"
    return case.image, [full, *scaled], unit


def _presets() -> list[Window]:
    return [SOFT_TISSUE, *ct_windows()]


def _preset(window: Window, low: float, high: float) -> dict[str, Any]:
    return {"name": window.name, "low": low, "high": high, "width": window.width, "level": window.level}


def _hounsfield(case: Case) -> np.ndarray | None:
    """(D, H, W) int16 in HU; None where the numbers are none."""
    if case.stored is None:
        return None
    offset = hounsfield_offset(case.stored.numbers, is_ct=True)
    if offset is None:
        return None
    out = np.empty(case.stored.numbers.shape, np.int16)
    for plane, numbers in zip(out, case.stored.numbers, strict=True):  # a few MB at a time
        plane[...] = np.clip(np.rint(numbers.astype(np.float32) - offset), *HU_ENDS)
    return out

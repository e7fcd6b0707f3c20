"""Coded terms of what a segment is, for DICOM (PS3.16): SNOMED CT where pydicom's dictionary has the name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

OF_KIND = {
    "organ": "Organ",
    "bone": "Bone",
    "muscle": "Muscle",
    "vessel": "BloodVessel",
    "heart chamber": "HeartChamber",
    "lesion": "Lesion",
    "cell": "Cell",
    "structure": "AnatomicalStructure",
}
"""Keyword of the type for a thing whose own name has no code, by the vocabulary's kind of it."""
ABNORMAL = ("lesion",)
"""Kinds of the category Morphologically Abnormal Structure (CID 7150); others are Anatomical Structure."""
SIDES = {"left": "Left", "right": "Right"}


@dataclass(frozen=True)
class SegmentCodes:
    """What DICOM wants to know of a segment; codes are those of `pydicom.sr.coding`."""

    category: Any
    type: Any
    modifier: Any
    """Of the type: its side, or None."""


def segment_codes(names: Sequence[str], kind: str, side: str | None) -> SegmentCodes:
    """Codes of a thing.

    Args:
        names: of it without a side, the first one that has a code counts.
        kind: of the vocabulary; may be empty.
        side: ``left``, ``right`` or None.
    """
    from pydicom.sr.codedict import codes

    keywords = _keywords()
    named = (keywords.get(_plain(name)) for name in names)
    keyword = next(filter(None, named), None) or keywords.get(OF_KIND.get(kind, "").lower())
    category = "MorphologicallyAbnormalStructure" if kind in ABNORMAL else "AnatomicalStructure"
    return SegmentCodes(
        getattr(codes.SCT, category),
        getattr(codes.SCT, keyword or "AnatomicalStructure"),
        getattr(codes.SCT, SIDES[side]) if side in SIDES else None,
    )


@cache
def _keywords() -> dict[str, str]:
    """Keywords of SNOMED CT in pydicom's dictionary, by their small letters."""
    from pydicom.sr.codedict import codes

    return {keyword.lower(): keyword for keyword in codes.SCT.dir()}


def _plain(name: str) -> str:
    return "".join(c for c in name.lower() if c.isalnum())

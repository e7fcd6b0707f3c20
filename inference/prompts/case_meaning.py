"""What the numbers of a case mean, once it is known what is asked for: window of CT, unit of the spacing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

from vesal.inference.data.case import Case
from vesal.inference.data.notes import Caution
from vesal.inference.data.prompt import ModalityChoice, Prompt
from vesal.inference.io.hounsfield import SOFT_TISSUE, Window
from vesal.inference.io.intensity import prepare
from vesal.inference.io.volume_numbers import finite_numbers
from vesal.inference.prompts.modality import GUESSED

WINDOWS_FILE = Path(__file__).with_name("ct_windows.json")
BODY_MM = (10.0, 3000.0)
"""Longest side of a volume of a body, or of a part of it."""
VOXEL_MM = (0.05, 20.0)
"""Side of a voxel of such a volume."""
SMALL_MM, FINE_MM = 30.0, 0.5
"""A volume whose longest side is shorter is small for what is asked for in CT, MR or PET (of the data and the
example cases, the smallest measures 40 mm); with a finest voxel side up to this, it may be in centimetres."""
UNITS = {"metres": 1000.0, "micrometres": 0.001}


def settle(case: Case, prompts: Sequence[Prompt], choice: ModalityChoice, keep_numbers: bool = False) -> Case:
    """The case as it is meant: `image` shown for its modality and targets, spacing in mm.

    Notes say what changed. What was stored is let go, but with ``keep_numbers`` for ``Case.numbers``. A case
    of uint8 with plausible spacing is the same.
    """
    if keep_numbers and case.stored is not None:
        case = replace(case, numbers=finite_numbers(case.stored.numbers))
    small = _small_note(case, prompts, choice)
    meant = _in_mm(_shown(case, prompts, choice), choice)
    return replace(meant, notes=(*meant.notes, small)) if small else meant


def window_for(prompts: Sequence[Prompt]) -> Window:
    """The window that the targets of all prompts are meant for; soft tissue's where there is no such one."""
    wanted = {_windows().get(_plain_name(prompt.concept)) for prompt in prompts if prompt.concept}
    return (wanted.pop() if len(wanted) == 1 else None) or SOFT_TISSUE


def ct_windows() -> tuple[Window, ...]:
    """The windows of CT beside soft tissue's: lung, brain, bone."""
    return tuple(dict.fromkeys(_windows().values()))


def _plain_name(concept: str | None) -> str:
    """`vertebra l1` and `rib 4` are a vertebra and a rib."""
    name, _, number = (concept or "").rpartition(" ")
    return name if any(c.isdigit() for c in number) else concept or ""


@cache
def _windows() -> dict[str, Window]:
    """Window by target, of those that are not for soft tissue."""
    content = json.loads(WINDOWS_FILE.read_text(encoding="utf-8"))
    entries = {name: entry for name, entry in content.items() if name != "about"}
    return {
        target: Window(name, entry["width"], entry["level"])
        for name, entry in entries.items()
        for target in entry["targets"]
    }


def _shown(case: Case, prompts: Sequence[Prompt], choice: ModalityChoice) -> Case:
    """The case with its image in the window that is wanted, or in none where it is no CT."""
    stored = case.stored
    if stored is None:
        return case
    is_ct = choice.modality == "CT"
    window = window_for(prompts) if is_ct else SOFT_TISSUE
    let_go = replace(case, stored=None)
    if stored.hounsfield == is_ct and window == SOFT_TISSUE:
        return let_go
    may_be_ct = is_ct or choice.source == GUESSED
    image, notes, _ = prepare(case.name, stored.numbers, may_be_ct=may_be_ct, is_ct=is_ct, window=window)
    kept = tuple(note for note in case.notes if note not in stored.notes)
    if stored.hounsfield and not may_be_ct:
        looks = f"imgs looks like Hounsfield units of CT, but is taken as {choice.modality}: {choice.why}"
        kept = (Caution(looks), *kept)
    return replace(let_go, image=image, notes=(*notes, *kept))


def _in_mm(case: Case, choice: ModalityChoice) -> Case:
    """The case with its spacing in mm, where it plainly is in another unit.

    Else what is odd about it is told. Microscopes have all sizes, and are left alone.
    """
    sides = [n * mm for n, mm in zip(case.image.shape, case.spacing_dhw_mm, strict=True)]
    if choice.modality == "Microscopy" or BODY_MM[0] <= max(sides) <= BODY_MM[1]:
        return case
    came = ", ".join(f"{mm:g}" for mm in case.spacing_dhw_mm[::-1])
    odd = f"spacing ({came}) mm makes a volume of {max(sides):g} mm, which no {choice.modality} has"
    for unit, factor in UNITS.items():
        d, h, w = (mm * factor for mm in case.spacing_dhw_mm)
        fits = BODY_MM[0] <= max(sides) * factor <= BODY_MM[1]
        if fits and all(VOXEL_MM[0] <= mm <= VOXEL_MM[1] for mm in (d, h, w)):
            note = Caution(f"{odd}: taken as {unit}, ({w:g}, {h:g}, {d:g}) mm along (x,y,z)")
            return replace(case, spacing_dhw_mm=(d, h, w), notes=(*case.notes, note))
    likely = "centimetres" if max(sides) < BODY_MM[0] else "micrometres"
    return replace(case, notes=(*case.notes, Caution(f"{odd}: used as it is; is it in {likely}?")))


def _small_note(case: Case, prompts: Sequence[Prompt], choice: ModalityChoice) -> str | None:
    """What is odd about a volume that is smaller than what is asked for, as where its spacing is in cm.

    Parts of organs are small, and so are volumes cut out around them: nothing is said of them.
    """
    largest = max(n * mm for n, mm in zip(case.image.shape, case.spacing_dhw_mm, strict=True))
    kinds = [target.kind for prompt in prompts for target in prompt.targets]
    if choice.modality not in ("CT", "MR", "PET") or (kinds and all(kind == "structure" for kind in kinds)):
        return None
    if not BODY_MM[0] <= largest < SMALL_MM or min(case.spacing_dhw_mm) > FINE_MM:
        return None
    came = ", ".join(f"{mm:g}" for mm in case.spacing_dhw_mm[::-1])
    likely = ", ".join(f"{mm * 10:g}" for mm in case.spacing_dhw_mm[::-1])
    return Caution(
        f"spacing ({came}) mm makes a volume of {largest:g} mm, which is small for what is asked for: "
        f"used as it is; is it in centimetres? Then ({likely}) mm is wanted"
    )

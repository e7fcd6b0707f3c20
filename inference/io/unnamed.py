"""Prompts of a case whose sentences are not the whole story: classes that a user marked without a name.

A file of the challenge's interactive track has no sentences: its classes are those of `boxes`, `clicks` and
`prev_pred`. NAME.prompt.json may name some and leave others without. Where a case has sentences from
elsewhere, an id without one is no prompt.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from vesal.inference.data.errors import CaseError, NoPromptsError, TooManyPromptsError
from vesal.inference.data.marks import NO_MARKS, Marks
from vesal.inference.data.user_prompts import BOXES, POINTS
from vesal.inference.geometry.views import Sides
from vesal.inference.io import user_boxes, user_points
from vesal.inference.io.limits import MAX_PROMPTS
from vesal.inference.io.marks import id_of, listed
from vesal.inference.io.marks_file import WANTED, read_marks_file
from vesal.inference.io.nifti import read_nifti
from vesal.inference.io.npz_archive import NpzArchive
from vesal.inference.io.prompt_files import Prompts
from vesal.inference.io.prompt_values import INSTANCE_KEY
from vesal.inference.io.user_mask import mask_ids, read_mask_array
from vesal.inference.io.user_prompts import (
    BOX_KEYS,
    KEY_IN_CASE,
    POINT_KEYS,
    marks_path,
    mask_key,
    plain_values,
    user_prompts_files,
)

NOTATIONS = {BOXES: (BOX_KEYS, user_boxes.NOTATION), POINTS: (POINT_KEYS, user_points.NOTATION)}
TRACK_KEYS = (*BOX_KEYS, "clicks", "clicks_order", KEY_IN_CASE)
"""Arrays by which a file without sentences is one of the interactive track."""
IDS_TOLD = 20


@dataclass(frozen=True)
class MarkedCase:
    """Where what a user marked in a case is looked for."""

    path: Path
    name: str
    shape: Sides | None
    """Of its volume, (D,H,W), as the file stores it; None where that cannot be known."""
    archive: NpzArchive | None = None
    """The case itself, where it is an npz."""
    marks: Marks = NO_MARKS
    """Of the command line."""


@runtime_checkable
class TakesMarks(Protocol):
    """What a reader may take beside: without it, boxes and points of the command line are not used."""

    marks: Marks
    """Boxes and points of the command line; set before anything is read."""
    interactive: bool
    """Whether the case is of the challenge's interactive track; known once prompts were counted or read."""


def with_marks(prompts: Prompts | None, case: MarkedCase) -> Prompts | None:
    """The prompts of a case with those that the user's marks add; None where there are none at all.

    Args:
        prompts: of sentences; None, or without any, where the case has none.
        case: where marks are.

    Raises:
        PromptError: NAME.prompt.json cannot be read, or says nothing of prompts, and there are no sentences;
            or too many classes.
    """
    named = prompts is not None and bool(prompts.sentences)
    try:
        written = read_marks_file(marks_path(case.path, case.name))
    except CaseError:
        if not named:
            raise
        written = NO_MARKS  # told where boxes and points are read
    sentences = dict(prompts.sentences) if prompts is not None else {}
    added = _declared(written, sentences, named)
    notes = tuple(f"prompt {id_} ({text}) comes from {written.source}" for id_, text in added.items() if text)
    sources: list[str] = []
    if not named and not any(added.values()):
        for source, ids in _marked(case, written):
            sources.append(source)
            added |= {id_: "" for id_ in ids if id_ not in added}
    if not sentences and not added:
        if written.source:
            raise NoPromptsError(_nothing_in(written))
        return None
    _check_count(added, case.name)
    unnamed = sorted(id_ for id_, text in added.items() if not text)
    if unnamed:
        notes = (*notes, _told(unnamed, sources or [written.source]))
    base = prompts or Prompts({}, False)
    instance = base.instance if named or written.instance is None else written.instance
    if written.instance not in (instance, None):
        notes = (*notes, f"{_setting(written)} is not used: that of the prompts counts, {int(instance)}")
    interactive = not named and not any(added.values()) and _is_of_track(case.archive)
    return replace(
        base,
        sentences={**sentences, **dict(sorted(added.items()))},
        instance=instance,
        notes=(*base.notes, *written.notes, *notes),
        interactive=interactive,
    )


def _setting(written: Marks) -> str:
    return f"{written.source}: {INSTANCE_KEY} {int(bool(written.instance))}"


def _nothing_in(written: Marks) -> str:
    """Why a file of marks alone is not enough."""
    if written.problems:
        return str(written.problems[0])
    held = f"{written.source}: nothing is in it"
    if written.instance is not None:
        held = f"{_setting(written)} is all that is in it"
    missing = "the case has no sentences and no marks. Give it sentences, boxes or points"
    return f"{held}, and {missing}: {WANTED}."


def _declared(written: Marks, sentences: dict[int, str], named: bool) -> dict[int, str]:
    """The prompts of a file of marks that are not among the sentences; in a case with sentences, those that
    have one themselves.
    """
    found: dict[int, str] = {}
    for key, mark in written.by_key.items():
        if isinstance(key, int) and key not in sentences and (mark.sentence or not named):
            found[key] = mark.sentence
    used = {*sentences, *(key for key in written.by_key if isinstance(key, int))}
    for key, mark in written.by_key.items():
        if isinstance(key, str) and id_of(key, {**sentences, **found}) is None:
            id_ = next(n for n in range(1, len(used) + 2) if n not in used)
            used.add(id_)
            found[id_] = mark.sentence
    return found


def _marked(case: MarkedCase, written: Marks) -> Iterator[tuple[str, Sequence[int]]]:
    """Every place where classes are marked, and which. What cannot be read is left to who reads it."""
    if case.marks.by_key:
        yield case.marks.source, [key for key in case.marks.by_key if isinstance(key, int)]
    beside = user_prompts_files(case.path, case.name)[0]
    for kind, (keys, notation) in NOTATIONS.items():
        values = listed(written, kind)
        if values is not None:
            yield from _classes(values, notation, f"{written.source}, '{kind}'")
        # Also where marks of the user's own stand in for these: the classes of a file are all in its output.
        yield from _classes_of_files(case, beside, keys, notation)
    yield from _masks(case, beside)


def _classes(values: Any, notation: Any, source: str) -> Iterator[tuple[str, Sequence[int]]]:
    classes = notation.by_class(values, source, [])
    if classes:
        yield source, list(classes)


def _classes_of_files(
    case: MarkedCase, beside: Path, keys: Sequence[str], notation: Any
) -> Iterator[tuple[str, Sequence[int]]]:
    """Of the first array there is, beside the case or in it."""
    try:
        if os.path.lexists(beside):
            with NpzArchive(beside) as archive:
                key = next((key for key in keys if key in archive), None)
                if key is not None:
                    source = f"{beside.name}, '{key}'"
                    yield from _classes(plain_values(archive, key, source, notation), notation, source)
                    return
        key = next((key for key in keys if case.archive is not None and key in case.archive), None)
        if key is not None and case.archive is not None:
            source = f"{case.path.name}, '{key}'"
            yield from _classes(plain_values(case.archive, key, source, notation), notation, source)
    except (CaseError, OSError):
        return


def _masks(case: MarkedCase, beside: Path) -> Iterator[tuple[str, Sequence[int]]]:
    """Classes that the user's mask has."""
    try:
        found = _mask_values(case, beside)
        ids = [] if found is None else mask_ids(found[1], found[0])
    except (CaseError, OSError, MemoryError):
        return
    if found is not None and ids:
        yield found[0], ids


def _mask_values(case: MarkedCase, beside: Path) -> tuple[str, np.ndarray] | None:
    if case.shape is None:
        return None
    if os.path.lexists(beside):
        with NpzArchive(beside) as archive:
            key = mask_key(archive)
            if key is not None:
                return beside.name, read_mask_array(archive, key, case.shape, any_number=True)
    for file in user_prompts_files(case.path, case.name)[1:]:
        if os.path.lexists(file):
            return file.name, read_nifti(file)
    if case.archive is None or KEY_IN_CASE not in case.archive:
        return None
    values = read_mask_array(case.archive, KEY_IN_CASE, case.shape, any_number=True)
    return f"{case.path.name}, '{KEY_IN_CASE}'", values


def _is_of_track(archive: NpzArchive | None) -> bool:
    return archive is not None and any(key in archive for key in TRACK_KEYS)


def _check_count(added: dict[int, str], name: str) -> None:
    if len(added) > MAX_PROMPTS:
        raise TooManyPromptsError(
            f"{name}: {len(added)} classes are marked; at most {MAX_PROMPTS} are run. Split them over cases."
        )


def _told(ids: Sequence[int], sources: Sequence[str]) -> str:
    shown_ids = ", ".join(map(str, ids[:IDS_TOLD])) + (", ..." if len(ids) > IDS_TOLD else "")
    return f"classes without a sentence: {shown_ids} ({'; '.join(dict.fromkeys(sources))})"

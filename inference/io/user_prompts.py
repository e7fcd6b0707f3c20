"""What a user gives beside the text: where mask, boxes and points are looked for, and what cannot be used.

They are given on the command line, in NAME.prompt.json beside the case (see `marks_file`), in
NAME.prompt.npz, in NAME.prompt.nii.gz or NAME.prompt.nii (a mask alone), or in the case itself where it is an
npz; of each kind the first one found counts. The arrays of an npz are those of the challenge's interactive
track, `prev_pred`, `boxes` and `clicks`; see `user_mask`, `user_boxes` and `user_points`.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vesal.inference.data.errors import CaseError
from vesal.inference.data.marks import NO_MARKS, Marks, Spelling
from vesal.inference.data.user_prompts import (
    BOXES,
    MASK,
    POINTS,
    Point,
    UserMask,
    UserPrompts,
    VoxelBox,
    not_used,
)
from vesal.inference.geometry.views import Sides
from vesal.inference.io import user_boxes, user_points
from vesal.inference.io.limits import MAX_PROMPT_BYTES
from vesal.inference.io.marks import has_marks, marked_values
from vesal.inference.io.marks_file import read_marks_file
from vesal.inference.io.nifti import SUFFIXES, read_nifti
from vesal.inference.io.npz_archive import NpzArchive
from vesal.inference.io.plain_pickle import load_plain
from vesal.inference.io.user_mask import make_mask, read_mask_array
from vesal.inference.io.user_values import Notation, Problems, told

if TYPE_CHECKING:
    from vesal.inference.io.file_axes import FileAxes

MARK = ".prompt"
"""Between the case's name and the suffix of a file beside it."""
KEY_IN_CASE = "prev_pred"
MASK_KEYS = ("mask", "prev_pred", "segs")
"""Arrays of NAME.prompt.npz that hold the mask, best first; else its only array does."""
BOX_KEYS = ("boxes",)
POINT_KEYS = ("clicks", "points")
"""Best first."""


@dataclass(frozen=True)
class FoundUserPrompts:
    """What a case has of user prompts, and what the report says of them."""

    user: UserPrompts = UserPrompts()
    notes: tuple[str, ...] = ()
    fallbacks: tuple[str, ...] = ()
    """What is there but cannot be used, and why."""


class _Reader:
    """Reads each kind by itself, so that a broken one does not take the others with it."""

    def __init__(
        self,
        case: Path,
        ids: Collection[int],
        shape: Sides,
        instance: bool,
        beside: NpzArchive | None,
        archive: NpzArchive | None,
        name: str,
        axes: FileAxes | None,
        marks: Sequence[Marks] = (),
    ) -> None:
        """`beside` is NAME.prompt.npz, `archive` the case itself; None where it is absent or no npz. `marks`
        are those of the command line and of NAME.prompt.json.
        """
        self.case, self.ids, self.shape, self.instance = case, ids, shape, instance
        self.name, self.axes = name, axes
        self.beside, self.archive = beside, archive
        self.marks = marks
        self.notes: list[str] = []
        self.fallbacks: list[str] = []

    def read(self) -> FoundUserPrompts:
        """All kinds."""
        self.fallbacks += told([error for marks in self.marks for error in marks.problems])
        user = UserPrompts(self._mask(), self._boxes(), self._points())
        return FoundUserPrompts(user, tuple(self.notes), tuple(self.fallbacks))

    def _mask(self) -> UserMask | None:
        with self._reported(MASK):
            found = self._mask_values()
            mask = found and make_mask(found[0], self.ids, self.instance, found[1])
            if mask:
                self._note(MASK, mask.ids, mask.source)
            return mask
        return None

    def _boxes(self) -> Mapping[int, tuple[VoxelBox, ...]]:
        with self._reported(BOXES):
            problems: Problems = []
            values, source, wanted = self._values(BOX_KEYS, user_boxes.NOTATION, problems)
            boxes, notes = user_boxes.parse_boxes(values, self.ids, self.shape, source, problems, wanted)
            self._note(BOXES, boxes, source)
            self.notes += notes
            self.fallbacks += told(problems, BOXES, bool(boxes))
            return boxes
        return {}

    def _points(self) -> Mapping[int, tuple[Point, ...]]:
        with self._reported(POINTS):
            problems: Problems = []
            values, source, wanted = self._values(POINT_KEYS, user_points.NOTATION, problems)
            notes: list[str] = []
            points = user_points.parse_points(values, self.ids, self.shape, source, problems, notes, wanted)
            self._note(POINTS, points, source)
            self.notes += notes
            self.fallbacks += told(problems, POINTS, bool(points))
            return points
        return {}

    @contextmanager
    def _reported(self, kind: str) -> Iterator[None]:
        """What cannot be used is a fallback."""
        try:
            yield
        except (CaseError, MemoryError) as error:
            self.fallbacks.append(not_used(kind, f"{type(error).__name__}: {error}"))

    def _note(self, kind: str, ids: Collection[int], source: str) -> None:
        if ids:
            what = "a mask is" if kind == MASK else f"{kind} are"
            self.notes.append(f"{what} given for the prompts {', '.join(map(str, ids))} ({source})")

    def _mask_values(self) -> tuple[np.ndarray, str] | None:
        """(D,H,W) numbers as they are stored, and where."""
        key = None if self.beside is None else mask_key(self.beside)
        if self.beside is not None and key is not None:
            return read_mask_array(self.beside, key, self.shape, self.ids), self.beside.path.name
        for file in user_prompts_files(self.case, self.name)[1:]:
            if os.path.lexists(file):
                return self._nifti_mask(file), file.name
        if self.archive is None or KEY_IN_CASE not in self.archive:
            return None
        values = read_mask_array(self.archive, KEY_IN_CASE, self.shape, self.ids)
        return values, f"{self.case.name}, '{KEY_IN_CASE}'"

    def _nifti_mask(self, file: Path) -> np.ndarray:
        """(D,H,W) on the case's grid: as stored, or by the affines where both files have one."""
        if self.axes is None or self.axes.codes is None:
            return read_nifti(file, self.shape)
        from vesal.inference.io.nifti_axes import read_nifti_mask  # only beside a case with geometry

        return read_nifti_mask(file, self.axes)

    def _values(
        self, keys: Sequence[str], notation: Notation, problems: Problems
    ) -> tuple[Any, str, str | None]:
        """Plain values of the first place where there are some, where, and how they are written there; None
        where there are none.
        """
        sentences = self.ids if isinstance(self.ids, Mapping) else {}
        values, source, wanted = self._found(keys, notation, sentences, problems)
        if self.ids and len(sentences) == len(self.ids) and not any(sentences.values()):
            values = notation.written(wanted).by_class(values, source, problems)
        return values, source, wanted

    def _found(
        self, keys: Sequence[str], notation: Notation, sentences: Mapping[int, str], problems: Problems
    ) -> tuple[Any, str, str | None]:
        """The same, as they stand there."""
        for marks in self.marks:
            if has_marks(marks, notation.kind):
                spelled = marks.spelled.get(notation.kind, Spelling(marks.source, notation.wanted))
                values = marked_values(marks, notation.kind, sentences, problems)
                return values, spelled.source, spelled.wanted
        for archive in filter(None, (self.beside, self.archive)):
            key = next((key for key in keys if key in archive), None)
            if key is not None:
                source = f"{archive.path.name}, '{key}'"
                return plain_values(archive, key, source, notation), source, None
        return None, "", None


def read_user_prompts(
    case: Path,
    ids: Collection[int],
    shape: Sides,
    instance: bool,
    archive: NpzArchive | None = None,
    name: str | None = None,
    axes: FileAxes | None = None,
    marks: Marks = NO_MARKS,
) -> FoundUserPrompts:
    """Find, read and check what a user gave beside the text of a case. What cannot be used raises nothing.

    Args:
        case: path NAME.npz of the case; files are looked for beside it.
        ids: of the case's prompts; as a dict with their sentences, which names in NAME.prompt.json are
            compared with. Where none of them has one, lists go by classes 1, 2, ...
        shape: of its volume, (D,H,W).
        instance: the case asks for objects; with a single prompt a mask's values are then objects of it.
        archive: the case, open, where it is an npz and may hold user prompts itself.
        name: of the case; by default the stem of its path.
        axes: of the case's file, where it has geometry: a mask in NIfTI is then brought to its grid.
        marks: of the command line.

    Returns:
        what can be used. Each box, point or kind that is there but broken is a fallback instead; the others
        stay.
    """
    name = case.stem if name is None else name
    beside = user_prompts_files(case, name)[0]
    try:
        with NpzArchive(beside) if os.path.lexists(beside) else nullcontext() as opened:
            written = read_marks_file(marks_path(case, name))
            return _Reader(case, ids, shape, instance, opened, archive, name, axes, (marks, written)).read()
    except CaseError as error:  # no archive: what it was to hold is not known
        why = f"{type(error).__name__}: {error}"
        return FoundUserPrompts(fallbacks=(f"what the user gave beside the text is not used: {why}",))


def marks_path(case: Path, name: str) -> Path:
    """Where boxes and points of case `name` may be written down."""
    return case.with_name(f"{name}{MARK}.json")


def user_prompts_files(case: Path, name: str) -> list[Path]:
    """Where the user prompts of case `name` may lie: NAME.prompt.npz, then those of a mask alone."""
    return [case.with_name(f"{name}{MARK}{suffix}") for suffix in (".npz", *SUFFIXES)]


def mask_key(archive: NpzArchive) -> str | None:
    """The array of NAME.prompt.npz that holds the mask; None where it holds other user prompts alone."""
    key = next((key for key in MASK_KEYS if key in archive), None)
    if key is not None or any(key in archive for key in (*BOX_KEYS, *POINT_KEYS)):
        return key
    if len(archive.keys) != 1:
        raise archive.missing(MASK_KEYS[0], f"Save the mask as '{MASK_KEYS[0]}'.")
    return archive.keys[0]


def plain_values(archive: NpzArchive, key: str, source: str, notation: Notation) -> Any:
    """Lists, dicts and numbers of an array of numbers or of objects."""
    dtype = archive.header(key).dtype
    if dtype.hasobject:
        return load_plain(archive.read_raw(key, MAX_PROMPT_BYTES)[1], source, notation.wanted)
    if dtype.kind not in "iuf":
        raise notation.refused(source, f"an array of dtype {dtype}")
    return archive.read_array(key, MAX_PROMPT_BYTES).tolist()

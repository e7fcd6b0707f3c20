"""What the readers of all formats with geometry share: axes, numbers, prompts beside the file.

A format says where its voxels lie (``_describe``) and hands them over as they are stored (``_voxels``); the
rest is here. See `formats.CaseReader`.
"""

from __future__ import annotations

import logging
import math
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Self

import numpy as np

from vesal.inference.data.case import Case, StoredNumbers
from vesal.inference.data.errors import CaseError, NoPromptsError, PromptError, VolumeSizeError
from vesal.inference.data.marks import NO_MARKS
from vesal.inference.geometry.views import Sides
from vesal.inference.io.file_axes import FileAxes, canonical_numbers
from vesal.inference.io.intensity import check_dtype, prepare
from vesal.inference.io.limits import MAX_VOXELS, check_volume
from vesal.inference.io.prompt_files import Prompts, PromptSource, find_prompts_file, settings_beside
from vesal.inference.io.read_options import NO_OPTIONS, ReadOptions
from vesal.inference.io.unnamed import MarkedCase, with_marks
from vesal.inference.io.user_prompts import FoundUserPrompts, read_user_prompts

log = logging.getLogger("vesal")


@dataclass(frozen=True, eq=False)
class StoredVolume:
    """What a file says of the volume in it, before a voxel is read."""

    axes: FileAxes
    dtype: np.dtype
    """Of the numbers as ``_voxels`` gives them."""
    notes: tuple[str, ...] = ()
    modality: str | None = None
    """Where the file says it, in a word that `prompts.modality` knows."""
    modality_source: str | None = None
    """Where that stands, for the report."""
    believed: bool = True
    """False where the file is too small for what its header promises: then it gets no zeros of that shape."""


class VolumeReader(ABC):
    """A case in a file with geometry. Nothing is opened before the first question."""

    suffixes: ClassVar[tuple[str, ...]]
    """Ends of the names of its files; what is in front of one is the case's name."""

    def __init__(self, path: Path, options: ReadOptions = NO_OPTIONS) -> None:
        """Nothing is read yet."""
        self.path, self.options = Path(path), options
        self.marks = NO_MARKS
        self.interactive = False
        self._described: StoredVolume | None = None
        self._failure: Exception | None = None

    def __enter__(self) -> Self:
        """Return the reader."""
        return self

    def __exit__(self, *_: object) -> None:
        """Forget what the file said."""
        self._described = None

    @abstractmethod
    def _describe(self) -> StoredVolume:
        """The volume without its voxels. Raises CaseError, or OSError of the system."""

    @abstractmethod
    def _voxels(self, volume: StoredVolume) -> np.ndarray:
        """(D,H,W) real numbers as stored, in memory that may be written to. Raises CaseError."""

    @property
    def name(self) -> str:
        """Of the case."""
        low = self.path.name.lower()
        ends = [s for s in self.suffixes if low.endswith(s) and low != s]
        return self.path.name[: -max(map(len, ends))] if ends else self.path.name

    @property
    def shape(self) -> tuple[int, ...] | None:
        """(D,H,W) on the engine's axes; never raises."""
        try:
            volume = self._volume()
        except (CaseError, OSError, MemoryError):
            return None
        shape = volume.axes.engine_shape
        return shape if volume.believed and math.prod(shape) <= MAX_VOXELS else None

    @property
    def header(self) -> FileAxes | None:
        """Where the file's voxels lie, for the writer of its label map; None where it cannot be known."""
        try:
            return self._volume().axes
        except (CaseError, OSError, MemoryError):
            return None

    def count_prompts(
        self, prompts_file: PromptSource | None = None, dataset: str | None = None
    ) -> int | None:
        """Number of prompts; None where they cannot be read, see `formats.CountsPrompts`."""
        try:
            return len(self._prompts(prompts_file, dataset).sentences)
        except (CaseError, OSError):
            return None

    def read(self, prompts_file: PromptSource | None = None, dataset: str | None = None) -> Case:
        """The case on the engine's axes. Every defect raises a `CaseError`."""
        volume = self._volume()
        axes, name = volume.axes, self.path.name
        check_dtype(name, volume.dtype)
        check_volume(name, axes.shape, volume.dtype)
        prompts = self._prompts(prompts_file, dataset)
        with self._too_large():
            stored = self._voxels(volume)
        _log_turn(axes)
        numbers = canonical_numbers(stored, axes.orientation)
        image, image_notes, hounsfield = prepare(name, numbers)
        is_prepared = image is numbers
        case = Case(
            self.name,
            np.ascontiguousarray(image),
            axes.orientation.axes(axes.spacing_dhw_mm),
            prompts.sentences,
            prompts.instance,
            prompts.dataset or dataset,
            (*volume.notes, *image_notes, *prompts.notes),
            modality=prompts.modality,
            stored=None if is_prepared else StoredNumbers(numbers, image_notes, hounsfield),
            axis_codes=axes.engine_codes,
        )
        if case.modality or not volume.modality:
            return case
        return replace(case, modality=volume.modality, modality_source=volume.modality_source)

    def read_user_prompts(self, ids: Collection[int], shape: Sides, instance: bool) -> FoundUserPrompts:
        """What the user gave beside the case, in voxels of the file, brought to the engine's axes."""
        axes = self._volume().axes
        found = read_user_prompts(
            self.path, ids, axes.shape, instance, name=self.name, axes=axes, marks=self.marks
        )
        turn = axes.orientation
        if turn.is_stored:
            return found
        user = found.user.transposed(turn.order).reversed(axes.engine_shape, turn.reversed)
        return replace(found, user=user)

    @contextmanager
    def _too_large(self) -> Iterator[None]:
        """What a library asks the memory for may be a lie of the header. Raises VolumeSizeError."""
        try:
            yield
        except MemoryError as error:
            raise VolumeSizeError(
                f"{self.path.name}: the memory cannot hold what its header promises ({error}). Crop or "
                "resample it, or copy it again."
            ) from error

    def _volume(self) -> StoredVolume:
        """What the file says, asked for once; where that failed, it fails again in the same way."""
        if self._failure is not None:
            raise self._failure
        if self._described is None:
            try:
                with self._too_large():
                    self._described = self._describe()
            except Exception as error:
                self._failure = error
                raise
        return self._described

    def _prompts(self, prompts_file: PromptSource | None, dataset: str | None) -> Prompts:
        """Of sentences, with those that the user marked (see `unnamed`). Raises PromptError."""
        marked = MarkedCase(self.path, self.name, self._volume().axes.shape, marks=self.marks)
        try:
            found = self._sentences(prompts_file, dataset)
            return with_marks(found, marked) or found
        except NoPromptsError:
            settings = settings_beside(self.path, self.name)
            alone = with_marks(settings, marked) if prompts_file is None else None
            if alone is None:
                raise
            return replace(alone, dataset=dataset)

    def _sentences(self, prompts_file: PromptSource | None, dataset: str | None) -> Prompts:
        """Of the file of prompts, or of the one beside the case. Raises PromptError."""
        beside = f"{self.name}.json"
        try:
            found = find_prompts_file(self.path, self.name, prompts_file, dataset, has_prompts=False)
        except PromptError as error:
            if prompts_file is not None:
                raise
            raise NoPromptsError(
                f"{self.path.name}: {beside} beside it holds no prompts ({error}). Hand over a file of them."
            ) from error
        if found is None:
            raise NoPromptsError(
                f"{self.path.name}: nothing says what to segment. Put {beside} beside it, with "
                '{"1": "sentence", ...}, or hand over prompts.'
            )
        return found


def _log_turn(axes: FileAxes) -> None:
    """Nearly every file is turned, so it is no warning of the report."""
    if axes.codes is not None and not axes.orientation.is_stored:
        stored, seen = "".join(axes.codes[::-1]), "".join((axes.engine_codes or ())[::-1])
        log.info("  stored as %s, segmented as %s (x,y,z); the labels lie as the file does", stored, seen)

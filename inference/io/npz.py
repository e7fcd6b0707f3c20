"""A case as the challenge stores it, in an npz; checked here, so that nothing above has to check again."""

import math
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import IO, Any, Self

import numpy as np

from vesal.inference.data.case import Case, StoredNumbers
from vesal.inference.data.errors import CaseError, MissingKeyError, PromptError, PromptFileError, SpacingError
from vesal.inference.data.marks import NO_MARKS
from vesal.inference.data.notes import Caution
from vesal.inference.geometry.views import Sides
from vesal.inference.io.files import open_regular_file
from vesal.inference.io.intensity import check_dtype, prepare
from vesal.inference.io.limits import (
    MAX_LENGTHS,
    MAX_PROMPT_BYTES,
    MAX_SPACING_BYTES,
    MAX_VOLUME_BYTES,
    MAX_VOXELS,
    check_volume,
)
from vesal.inference.io.local_headers import shape_in_local_headers
from vesal.inference.io.npz_archive import NpzArchive
from vesal.inference.io.plain_pickle import load_plain
from vesal.inference.io.prompt_files import (
    Prompts,
    PromptSource,
    find_prompts_file,
    parse_prompts,
    settings_alone,
    settings_beside,
)
from vesal.inference.io.prompt_text import parse_prompts_text
from vesal.inference.io.text_arrays import plain_list
from vesal.inference.io.unnamed import MarkedCase, with_marks
from vesal.inference.io.user_prompts import FoundUserPrompts, read_user_prompts
from vesal.inference.io.volume_axes import WANTED, spacing_xyz, volume_shape


class NpzReader:
    """A case of the challenge's format: `imgs` (D,H,W), `spacing` (x,y,z) in mm, `text_prompts`.

    See `formats.CaseReader`. Where the file cannot be opened, or is no archive, its shape is None and reading
    it raises the reason.
    """

    header = None

    def __init__(self, path: Path) -> None:
        """Nothing is opened yet."""
        self.path = Path(path)
        self.marks = NO_MARKS
        self.interactive = False
        self._file: IO[bytes] | None = None
        self._archive: NpzArchive | None = None
        self._failure: Exception | None = None

    def __enter__(self) -> Self:
        """Return the reader."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file."""
        if self._archive is not None:
            self._archive.close()
        if self._file is not None:
            self._file.close()

    @property
    def shape(self) -> tuple[int, ...] | None:
        """Shape in the npy header of `imgs`, whose dtype and number of axes are not judged; never raises."""
        try:
            shape = self._shape()
        except (OSError, ValueError):
            return None
        return shape if shape is not None and math.prod(shape) <= MAX_VOXELS else None

    def count_prompts(
        self, prompts_file: PromptSource | None = None, dataset: str | None = None
    ) -> int | None:
        """Number of prompts; None where they cannot be read, see `formats.CountsPrompts`."""
        try:
            return len(self._prompts(self._open(), prompts_file, dataset).sentences)
        except (CaseError, OSError):
            return None

    def read(self, prompts_file: PromptSource | None = None, dataset: str | None = None) -> Case:
        """Read the case; other arrays of the npz are not touched. Every defect raises a `CaseError`."""
        archive, name = self._open(), self.path.name
        header = archive.header("imgs")
        check_dtype(name, header.dtype)
        shape, shape_note = volume_shape(name, header.shape)
        if header.promised_bytes == header.data_bytes:  # else reading it says so
            check_volume(name, shape, header.dtype)
        spacing_dhw_mm, spacing_note = _read_spacing(archive)
        prompts = self._prompts(archive, prompts_file, dataset)
        is_prepared = header.dtype == np.uint8
        numbers = archive.read_array("imgs", MAX_VOLUME_BYTES, any_order=not is_prepared).reshape(shape)
        image, image_notes, hounsfield = prepare(name, numbers)
        return Case(
            self.path.stem,
            image,
            spacing_dhw_mm,
            prompts.sentences,
            prompts.instance,
            prompts.dataset or dataset,
            (*filter(None, (shape_note, spacing_note)), *image_notes, *prompts.notes),
            modality=prompts.modality,
            interactive=prompts.interactive,
            stored=None if image is numbers else StoredNumbers(numbers, image_notes, hounsfield),
        )

    def _prompts(
        self, archive: NpzArchive, prompts_file: PromptSource | None, dataset: str | None
    ) -> Prompts:
        """Prompts of sentences, with those that the user marked; see `unnamed`."""
        marked = MarkedCase(self.path, self.path.stem, self._volume_shape(), archive, self.marks)
        try:
            found = self._sentences(archive, prompts_file, dataset)
            prompts = with_marks(found, marked) or found
        except (PromptError, MissingKeyError) as error:
            silent = _without_sentences(archive) if prompts_file is None else None
            if silent is not None:
                silent = settings_beside(self.path, self.path.stem) or silent
            alone = with_marks(silent, marked) if silent is not None else None
            if alone is None:
                raise
            told = () if isinstance(error, MissingKeyError) else (f"there are no sentences: {error}",)
            prompts = replace(alone, notes=(*told, *alone.notes), dataset=dataset)
        self.interactive = prompts.interactive
        return prompts

    def _sentences(
        self, archive: NpzArchive, prompts_file: PromptSource | None, dataset: str | None
    ) -> Prompts:
        """Prompts by what was given on purpose: a file, one beside the case that holds prompts, the case."""
        try:
            has_prompts = "text_prompts" in archive
            found = find_prompts_file(
                self.path, self.path.stem, prompts_file, dataset, has_prompts=has_prompts
            )
        except PromptError as error:
            if prompts_file is not None or "text_prompts" not in archive:
                raise
            prompts = _prompts_of_npz(archive, dataset)
            note = f"{self.path.stem}.json beside the case is not used, as it holds no prompts: {error}"
            return replace(prompts, notes=(note, *prompts.notes))
        return found or _prompts_of_npz(archive, dataset)

    def read_user_prompts(self, ids: Collection[int], shape: Sides, instance: bool) -> FoundUserPrompts:
        """What the user gave beside the case or in it; see `user_prompts.read_user_prompts`."""
        return read_user_prompts(self.path, ids, shape, instance, self._open(), marks=self.marks)

    def _open(self) -> NpzArchive:
        """The archive, opened once; where that failed, it fails again in the same way."""
        if self._failure is not None:
            raise self._failure
        if self._archive is None:
            try:
                self._file = open_regular_file(self.path)
                self._archive = NpzArchive(self.path, self._file)
            except Exception as error:
                self._failure = error
                raise
        return self._archive

    def _volume_shape(self) -> Sides | None:
        """(D,H,W); None where it cannot be read."""
        try:
            return volume_shape(self.path.name, self._open().header("imgs").shape)[0]
        except CaseError:
            return None

    def _shape(self) -> tuple[int, ...] | None:
        try:
            return self._open().header("imgs").shape
        except CaseError:
            return None if self._file is None else shape_in_local_headers(self._file, "imgs")


def _read_spacing(archive: NpzArchive) -> tuple[tuple[float, float, float], str | None]:
    """Return the spacing in array order, and a note. This is the one place that knows the file's order."""
    absent = (1.0, 1.0, 1.0), Caution("no spacing given: taken as 1 mm along every axis")
    if "spacing" not in archive:
        return absent
    header = archive.header("spacing")
    source = f"{archive.path.name}: 'spacing' of dtype {header.dtype} and shape {header.shape}"
    if header.dtype.kind not in "iufUSO" or math.prod(header.shape) > MAX_LENGTHS:
        raise SpacingError(f"{source}; {WANTED}")
    values = _spacing_values(archive, header.dtype, source)
    if values in (None, [], [None], ""):
        return absent
    (x, y, z), note = spacing_xyz(values, source)
    return (z, y, x), note


def _spacing_values(archive: NpzArchive, dtype: np.dtype, source: str) -> object:
    """Lists, dicts, text and numbers of Python."""
    if dtype.hasobject:
        return load_plain(archive.read_raw("spacing", MAX_SPACING_BYTES)[1], source, WANTED)
    values = archive.read_array("spacing", MAX_SPACING_BYTES)
    with np.errstate(over="ignore", invalid="ignore"):  # infinity and NaN are refused by who gets them
        return plain_list(values if dtype.kind in "US" else values.astype(np.float64))


def _without_sentences(archive: NpzArchive) -> Prompts | None:
    """What a case without sentences says of its prompts; None where `text_prompts` holds something."""
    if "text_prompts" not in archive:
        return Prompts({}, False)
    try:
        return settings_alone(_text_prompts(archive), f"{archive.path.name}, 'text_prompts'")
    except PromptError:
        return None


def _prompts_of_npz(archive: NpzArchive, dataset: str | None) -> Prompts:
    """Read `text_prompts`: a dict in an object array of one element, JSON text, or a list of sentences."""
    content = _text_prompts(archive)
    return parse_prompts(content, f"{archive.path.name}, 'text_prompts'", archive.path.stem, dataset)


def _text_prompts(archive: NpzArchive) -> Any:
    """What `text_prompts` holds, as plain values. Raises MissingKeyError, PromptError."""
    wanted = "numpy.array({'1': 'sentence', 'instance_label': 0}, dtype=object), or JSON text, is wanted."
    source = f"{archive.path.name}, 'text_prompts'"
    if "text_prompts" not in archive:
        beside = archive.path.with_suffix(".json").name
        advice = f"Save the case with it, put {beside} beside the case, or hand over a file of prompts."
        raise archive.missing("text_prompts", advice)
    header = archive.header("text_prompts")
    if header.dtype == object:
        content = load_plain(archive.read_raw("text_prompts", MAX_PROMPT_BYTES)[1], source)
        is_wrapped = isinstance(content, list) and len(content) == 1  # an array of shape (1,), not ()
        content = content[0] if is_wrapped else content
    elif header.dtype.kind in "US":
        texts = archive.read_array("text_prompts", MAX_PROMPT_BYTES).ravel()
        try:
            content = plain_list(texts, strict=True)
        except UnicodeDecodeError as error:
            raise PromptFileError(f"{source}: the text cannot be decoded ({error}); {wanted}") from error
        content = content[0] if len(content) == 1 else content
    else:
        raise PromptFileError(f"{source}: an array of dtype {header.dtype}; {wanted}")
    if isinstance(content, str):
        content = parse_prompts_text(content, source)
    return content

"""A case as the challenge stores it, in an npz; checked here, so that nothing above has to check again."""

import math
from collections.abc import Collection
from pathlib import Path
from typing import IO, Self

import numpy as np

from vesal.inference.data.case import Case
from vesal.inference.data.errors import (
    CaseError,
    EmptyVolumeError,
    PromptFileError,
    SpacingError,
    VolumeShapeError,
)
from vesal.inference.geometry.views import Sides
from vesal.inference.io.intensity import check_dtype, to_uint8
from vesal.inference.io.local_headers import shape_in_local_headers
from vesal.inference.io.npz_archive import ArrayHeader, NpzArchive, open_regular_file
from vesal.inference.io.plain_pickle import load_plain
from vesal.inference.io.prompt_files import (
    Prompts,
    find_prompts_file,
    parse_prompts_dict,
    parse_prompts_json,
)
from vesal.inference.io.user_prompts import FoundUserPrompts, read_user_prompts

# The challenge gives a container 32 GB; a volume of 8 GiB is the most that leaves room to work.
MAX_VOLUME_BYTES = 8 * 1024**3
# A larger volume than can be read is not believed: the caller will write that many zeros.
MAX_VOXELS = MAX_VOLUME_BYTES
MAX_SMALL_BYTES = 16 * 1024**2  # spacing and prompts; the challenge's have a few kilobytes


class NpzReader:
    """A case of the challenge's format: `imgs` (D,H,W), `spacing` (x,y,z) in mm, `text_prompts`.

    See `formats.CaseReader`. Where the file cannot be opened, or is no archive, its shape is None and reading
    it raises the reason.
    """

    header = None

    def __init__(self, path: Path) -> None:
        """Nothing is opened yet."""
        self.path = Path(path)
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

    def read(self, prompts_file: Path | None = None, dataset: str | None = None) -> Case:
        """Read the case; other arrays of the npz are not touched. Every defect raises a `CaseError`."""
        archive, name = self._open(), self.path.name
        _check_volume_header(name, archive.header("imgs"))
        spacing_dhw_mm, spacing_notes = _read_spacing(archive)
        prompts = find_prompts_file(self.path, self.path.stem, prompts_file, dataset)
        prompts = prompts or _prompts_of_npz(archive)
        image, image_note = to_uint8(name, archive.read_array("imgs", MAX_VOLUME_BYTES))
        notes = (*((image_note,) if image_note else ()), *spacing_notes, *prompts.notes)
        known_dataset = prompts.dataset or dataset
        return Case(
            self.path.stem, image, spacing_dhw_mm, prompts.sentences, prompts.instance, known_dataset, notes
        )

    def read_user_prompts(self, ids: Collection[int], shape: Sides, instance: bool) -> FoundUserPrompts:
        """What the user gave beside the case or in it; see `user_prompts.read_user_prompts`."""
        return read_user_prompts(self.path, ids, shape, instance, self._open())

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

    def _shape(self) -> tuple[int, ...] | None:
        try:
            return self._open().header("imgs").shape
        except CaseError:
            return None if self._file is None else shape_in_local_headers(self._file, "imgs")


def _check_volume_header(name: str, header: ArrayHeader) -> None:
    check_dtype(name, header.dtype)
    if len(header.shape) != 3:
        raise VolumeShapeError(
            f"{name}: 'imgs' has {len(header.shape)} axes, shape {header.shape}; three, (D,H,W), are wanted. "
            "Save one grey volume per file, without channel or time axis."
        )
    if 0 in header.shape:
        raise EmptyVolumeError(
            f"{name}: 'imgs' has shape {header.shape}, so no voxel; every axis must be 1 or longer."
        )


def _read_spacing(archive: NpzArchive) -> tuple[tuple[float, float, float], tuple[str, ...]]:
    """Return the spacing in array order. This is the one place that knows the file's order, (x,y,z)."""
    if "spacing" not in archive:
        return (1.0, 1.0, 1.0), ("no spacing given: taken as 1 mm along every axis",)
    name, header = archive.path.name, archive.header("spacing")
    wanted = "three positive lengths in mm, (x,y,z), are wanted. Save spacing=numpy.array([x, y, z])."
    if header.dtype.kind not in "iuf":
        raise SpacingError(f"{name}: 'spacing' has dtype {header.dtype}; {wanted}")
    if header.shape != (3,):
        raise SpacingError(f"{name}: 'spacing' has shape {header.shape}; {wanted}")
    x, y, z = (float(length) for length in archive.read_array("spacing", MAX_SMALL_BYTES))
    if not all(np.isfinite(length) and length > 0 for length in (x, y, z)):
        raise SpacingError(f"{name}: 'spacing' is ({x:g}, {y:g}, {z:g}); {wanted}")
    return (z, y, x), ()


def _prompts_of_npz(archive: NpzArchive) -> Prompts:
    """Read `text_prompts`: a dict in an object array of one element, or the same as JSON text."""
    wanted = "numpy.array({'1': 'sentence', 'instance_label': 0}, dtype=object), or JSON text, is wanted."
    source = f"{archive.path.name}, 'text_prompts'"
    if "text_prompts" not in archive:
        beside = archive.path.with_suffix(".json").name
        advice = f"Save the case with it, put {beside} beside the case, or hand over a file of prompts."
        raise archive.missing("text_prompts", advice)
    header, raw = archive.read_raw("text_prompts", MAX_SMALL_BYTES)
    if int(np.prod(header.shape, dtype=object)) != 1:
        raise PromptFileError(f"{source}: an array of shape {header.shape}; {wanted}")
    if header.dtype == object:
        content = load_plain(raw, source)
        is_wrapped = isinstance(content, list) and len(content) == 1  # an array of shape (1,), not ()
        return parse_prompts_dict(content[0] if is_wrapped else content, source)
    if header.dtype.kind in "US":
        try:
            text = np.frombuffer(raw, header.dtype)[0]
            text = text.decode() if isinstance(text, bytes) else str(text)
        except ValueError as error:
            raise PromptFileError(f"{source}: the text cannot be decoded ({error}); {wanted}") from error
        return parse_prompts_dict(parse_prompts_json(text, source), source)
    raise PromptFileError(f"{source}: an array of dtype {header.dtype}; {wanted}")

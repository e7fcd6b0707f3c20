"""Formats of cases, by the suffix of a file's name: what reads a case, and what writes its label map.

A further format is a file with its reader and its writer, and a line in `FORMATS`. Those that are not the
challenge's are imported when there is a file of theirs, and their libraries when it is read.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Collection
from dataclasses import dataclass, fields
from pathlib import Path
from typing import IO, Any, Protocol, Self, runtime_checkable

import numpy as np

from vesal.inference.data.case import Case
from vesal.inference.io.npz import NpzReader
from vesal.inference.io.npz_labels import write_npz_labels
from vesal.inference.io.prompt_files import PromptSource, prompts_file_beside
from vesal.inference.io.read_options import NO_OPTIONS, ReadOptions
from vesal.inference.io.user_prompts import MARK, FoundUserPrompts, marks_path, user_prompts_files


class CaseReader(Protocol):
    """One case. Its file is opened once, at the first question, and closed at the end of the `with`."""

    def __enter__(self) -> Self:
        """Return the reader; nothing is opened yet."""
        ...

    def __exit__(self, *_: object) -> None:
        """Close the file."""
        ...

    @property
    def shape(self) -> tuple[int, ...] | None:
        """Of the volume, in array order; None where it cannot be known, or is too large to be believed.

        It is read first and does not raise: even a broken case gets zeros of its shape.
        """
        ...

    @property
    def header(self) -> object:
        """What the format's writer needs of the case beside labels; None where it needs or knows nothing."""
        ...

    def read(self, prompts_file: PromptSource | None = None, dataset: str | None = None) -> Case:
        """The whole case, checked, without user prompts; raises CaseError, or OSError of the system.

        Prompts come from `prompts_file` (or are these), else from NAME.json beside the case, else from the
        case itself; the one chosen replaces the others whole. `dataset` picks the entry of a file keyed by
        dataset.
        """
        ...

    def read_user_prompts(
        self, ids: Collection[int], shape: tuple[int, int, int], instance: bool
    ) -> FoundUserPrompts:
        """What the user gave beside or in the case; see `user_prompts.read_user_prompts`."""
        ...


@runtime_checkable
class CountsPrompts(Protocol):
    """What a reader may tell beside: without it a case is read in the time of one prompt."""

    def count_prompts(
        self, prompts_file: PromptSource | None = None, dataset: str | None = None
    ) -> int | None:
        """How many prompts `read` would find, without the volume; None where it would raise. Never raises."""
        ...


class LabelWriter(Protocol):
    """Writes a label map into an empty file that is open for reading and writing."""

    def __call__(self, file: IO[bytes], labels: np.ndarray, dtype: np.dtype, header: object) -> None:
        """Write.

        Args:
            file: seekable, at its beginning.
            labels: of any shape, usually (D,H,W); whole numbers from 0 on, or bool.
            dtype: the smallest unsigned type that holds them; labels are cast to it.
            header: of the case's reader, or None.
        """
        ...


@dataclass(frozen=True)
class CaseFormat:
    """One format."""

    suffixes: tuple[str, ...]
    """Ends of the names of its files, with the dot: `.npz`."""
    open: Callable[..., CaseReader]
    """Called with the path; where ``takes_options`` with the `ReadOptions` too."""
    write: LabelWriter
    takes_options: bool = False
    writes: str | None = None
    """Suffix of the label map, where it is another than the case's."""
    is_folder: bool = False
    """Whether its cases are folders."""
    claims: Callable[[Path], bool] | None = None
    """Whether a file or folder, of such a suffix if there are any, is one of its cases; None: the suffix says
    it. Never raises."""
    choices: tuple[str, ...] = ("volume",)
    """Fields of the `ReadOptions` that mean something to it, where it ``takes_options``."""


def _later(module: str, name: str) -> Callable[..., Any]:
    """A function of a module of this folder that is imported when it is called."""

    def call(*arguments: Any) -> Any:
        return getattr(importlib.import_module(f"{__package__}.{module}"), name)(*arguments)

    return call


def _geometry(
    suffixes: tuple[str, ...], reader: tuple[str, str], writer: tuple[str, str], **more: Any
) -> CaseFormat:
    """A format whose reader and writer are imported when they are needed."""
    return CaseFormat(suffixes, _later(*reader), _later(*writer), takes_options=True, **more)


NIFTI, NIFTI_GZ = ("nifti_labels", "write_nifti"), ("nifti_labels", "write_nifti_gz")
TIFF = ("tiff_case", "TiffReader")
DICOM, IS_SERIES = ("dicom_case", "DicomReader"), _later("dicom_files", "is_series")
FORMATS: tuple[CaseFormat, ...] = (
    CaseFormat((".npz",), NpzReader, write_npz_labels),
    _geometry((".nii.gz",), ("nifti_case", "NiftiReader"), NIFTI_GZ),
    _geometry((".nii",), ("nifti_case", "NiftiReader"), NIFTI),
    _geometry((".hdr",), ("nifti_pair", "NiftiPairReader"), NIFTI_GZ, writes=".nii.gz"),
    _geometry((".nrrd",), ("itk_case", "ItkReader"), ("itk_labels", "write_nrrd")),
    _geometry((".mha",), ("itk_case", "ItkReader"), ("itk_labels", "write_mha")),
    _geometry((".nhdr",), ("itk_case", "ItkReader"), ("itk_labels", "write_nrrd"), writes=".nrrd"),
    _geometry((".mhd",), ("itk_case", "ItkReader"), ("itk_labels", "write_mha"), writes=".mha"),
    _geometry(
        (".zip", ".dcm"), DICOM, NIFTI_GZ, writes=".nii.gz", claims=IS_SERIES, choices=("series", "volume")
    ),
    _geometry((".ome.tiff", ".ome.tif"), TIFF, ("tiff_labels", "write_ome_tiff")),
    _geometry((".tiff", ".tif"), TIFF, ("tiff_labels", "write_tiff")),
    _geometry(
        (".ome.zarr", ".zarr"),
        ("zarr_case", "ZarrReader"),
        NIFTI_GZ,
        writes=".nii.gz",
        is_folder=True,
        choices=("level", "volume"),
    ),
    _geometry(
        (),
        DICOM,
        NIFTI_GZ,
        writes=".nii.gz",
        claims=IS_SERIES,
        is_folder=True,
        choices=("series", "volume"),
    ),
)
"""The first one, the challenge's, also stands for names with an unknown suffix."""


def suffixes() -> tuple[str, ...]:
    """All suffixes of cases."""
    return tuple(suffix for format_ in FORMATS for suffix in format_.suffixes)


def suffix_of(path: Path) -> str | None:
    """The suffix by which a file's name says that it is a case, in any case of letters; None: it does not."""
    name = path.name.lower()
    fitting = (s for s in suffixes() if name.endswith(s) and name != s)
    return max(fitting, key=len, default=None)


def case_name(path: Path) -> str:
    """A case's name: its file's or folder's, without the suffix."""
    if suffix_of(path) is None and is_case_folder(path):
        return path.name
    return path.name[: -len(suffix)] if (suffix := suffix_of(path) or path.suffix) else path.name


def format_of(path: Path) -> CaseFormat:
    """The format of a case or of a label map, by its name."""
    suffix = suffix_of(Path(path))
    if suffix is None and os.path.isdir(path):
        return next((each for each in _folder_formats() if each.claims and each.claims(path)), FORMATS[0])
    return next((format_ for format_ in FORMATS if suffix in format_.suffixes), FORMATS[0])


def is_case_folder(path: Path) -> bool:
    """Whether a folder is a case by itself: a DICOM series, or one whose suffix says so."""
    if not os.path.isdir(path):
        return False
    suffix = suffix_of(path)
    return any(
        suffix in each.suffixes
        if each.suffixes
        else suffix is None and each.claims is not None and each.claims(path)
        for each in _folder_formats()
    )


def is_claimed(path: Path) -> bool:
    """Whether a file with the suffix of a format is one of its cases: not every `.zip` is a DICOM series."""
    claims = format_of(path).claims
    return claims is None or claims(path)


def label_suffix(path: Path) -> str:
    """The suffix of a case's label map, in small letters."""
    return format_of(path).writes or suffix_of(path) or path.suffix


def written_suffixes() -> tuple[str, ...]:
    """Suffixes of label maps."""
    return tuple(suffix for format_ in FORMATS if format_.writes is None for suffix in format_.suffixes)


def _folder_formats() -> list[CaseFormat]:
    return [format_ for format_ in FORMATS if format_.is_folder]


def open_case(path: Path, options: ReadOptions = NO_OPTIONS) -> CaseReader:
    """The reader for a case; for a `with`."""
    format_ = format_of(Path(path))
    return format_.open(Path(path), options) if format_.takes_options else format_.open(Path(path))


def unused_choices(path: Path, options: ReadOptions) -> tuple[str, ...]:
    """Notes on what was chosen and means nothing for the format of a case."""
    format_ = format_of(Path(path))
    used = format_.choices if format_.takes_options else ()
    return tuple(
        f"`{field.name}` {value} was chosen, which means nothing for {Path(path).name}: it is ignored"
        for field in fields(options)
        if (value := getattr(options, field.name)) is not None and field.name not in used
    )


def read_case(path: Path, prompts_file: PromptSource | None = None, dataset: str | None = None) -> Case:
    """Read one case, without user prompts; see `CaseReader.read`."""
    with open_case(path) as reader:
        return reader.read(prompts_file, dataset)


def read_shape(path: Path) -> tuple[int, ...] | None:
    """The shape of a case's volume; see `CaseReader.shape`."""
    with open_case(path) as reader:
        return reader.shape


def has_case(folder: Path, name: str) -> bool:
    """Whether there is a file of a case of this name."""
    # os.path, as a Path's own question raises where a name is too long for the system.
    ends = (end for suffix in suffixes() for end in (suffix, suffix.upper()))
    return any(os.path.exists(folder / (name + end)) for end in ends) or is_case_folder(folder / name)


def is_user_prompts_file(path: Path) -> bool:
    """Whether a file's name, NAME.prompt.npz, says that it belongs to the case beside it and is no case."""
    name = case_name(path)
    return name.endswith(MARK) and has_case(path.parent, name.removesuffix(MARK))


def side_files(path: Path) -> list[Path]:
    """The files beside a case that are read with it and are no cases: NAME.json, NAME.prompt.*."""
    name = case_name(path)
    beside = [prompts_file_beside(path, name), marks_path(path, name), *user_prompts_files(path, name)]
    return [file for file in beside if os.path.isfile(file)]

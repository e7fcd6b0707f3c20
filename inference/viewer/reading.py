"""The case of a page, and the label map that was made of it, out of their files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from vesal.inference.data.case import Case
from vesal.inference.data.errors import LabelMapError, MissingKeyError, NoPromptsError, UnreadableFileError
from vesal.inference.data.orientation import AxisCodes
from vesal.inference.io.dicom_seg_labels import is_dicom_seg, read_dicom_seg
from vesal.inference.io.file_axes import FileAxes
from vesal.inference.io.formats import CaseReader, case_name, open_case, suffix_of, suffixes, unused_choices
from vesal.inference.io.limits import MAX_VOXELS
from vesal.inference.io.nifti import SUFFIXES, read_nifti
from vesal.inference.io.nifti_axes import read_nifti_mask
from vesal.inference.io.npz_archive import NpzArchive
from vesal.inference.io.prompt_files import Prompts
from vesal.inference.io.read_options import NO_OPTIONS, ReadOptions
from vesal.inference.prompts.parser import find_target
from vesal.inference.prompts.vocabulary import load_vocabulary

LARGEST = 65535


@dataclass(frozen=True, eq=False)
class PageFiles:
    """What was read."""

    case: Case
    """With or without prompts."""
    labels: np.ndarray | None
    """(D,H,W) whole numbers on the case's axes; None where no result was named"""
    file_codes: AxisCodes | None
    """Axis codes of the case's file as it is stored, where it says them."""
    names: dict[int, str]
    """Of the labels' values, as far as the file beside the label map tells them."""


def read_page(
    path: Path, result: Path | None, prompts: Sequence[str] = (), options: ReadOptions = NO_OPTIONS
) -> PageFiles:
    """Read a case and its label map.

    ``prompts`` take the place of the case's own. Raises CaseError, LabelMapError.
    """
    if not path.exists():
        raise UnreadableFileError(f"{path} is not there; give the file or folder of a case.")
    with open_case(path, options) as reader:
        try:
            case = _read_with(reader, prompts) if prompts else reader.read()
        except (NoPromptsError, MissingKeyError):  # of an npz; one without a volume raises it once more
            case = replace(_read_with(reader, ["volume"]), sentences={})
        case = replace(case, notes=(*case.notes, *unused_choices(path, options)))
        header, names = reader.header, dict[int, str]()
        labels: np.ndarray | None = None
        codes = header.codes if isinstance(header, FileAxes) else None
        if result is not None and is_dicom_seg(result):
            labels, names = _read_segments(result, header)
        elif result is not None:
            labels, names = _read_labels(result, header, case), _names_beside(result)
        return PageFiles(case, labels, codes, names)


def label_name(text: str) -> str:
    """The target of a sentence where the vocabulary knows it, else the sentence."""
    targets = find_target(text, load_vocabulary()).targets if text else ()
    return ", ".join(target.name for target in targets) or text


def _read_with(reader: CaseReader, prompts: Sequence[str]) -> Case:
    return reader.read(Prompts(dict(enumerate(prompts, 1)), False))


def _read_segments(path: Path, header: object) -> tuple[np.ndarray, dict[int, str]]:
    """(D, H, W) on the case's axes, and names, of a DICOM-SEG. Raises CaseError."""
    if not isinstance(header, FileAxes):
        raise LabelMapError(f"{path.name}: a DICOM-SEG lies on a series; this case does not say how it lies.")
    found = read_dicom_seg(path, header)
    return np.ascontiguousarray(header.orientation.turn(found.labels)), found.names


def _read_labels(path: Path, header: object, case: Case) -> np.ndarray:
    """(D, H, W) on the case's axes."""
    if not path.exists():
        raise UnreadableFileError(f"{path} is not there; give the label map of the case, or leave it out.")
    shape, suffix = case.image.shape, suffix_of(path)
    axes = header if isinstance(header, FileAxes) else None
    if suffix in SUFFIXES and axes is not None:
        known = axes.codes is not None
        labels = axes.orientation.turn(read_nifti_mask(path, axes) if known else read_nifti(path, axes.shape))
    elif suffix in SUFFIXES:
        labels = read_nifti(path, (shape[0], shape[1], shape[2]))
    elif suffix == ".npz":
        with NpzArchive(path) as archive:
            key = "gts" if "gts" in archive and "segs" not in archive else "segs"
            labels = archive.read_array(key, MAX_VOXELS * 8)
    elif suffix is not None:
        with open_case(path) as reader:
            read = _read_with(reader, ["labels"])
        labels = read.image if read.stored is None else read.stored.numbers
    else:
        raise LabelMapError(f"{path.name}: no label map that is read; {', '.join(suffixes())} are.")
    return _checked(path.name, labels, shape)


def _names_beside(path: Path) -> dict[int, str]:
    """What NAME.json beside NAME.nii.gz, as `vesal` writes it, says of the values."""
    try:
        told = json.loads(path.with_name(f"{case_name(path)}.json").read_text(encoding="utf-8"))
        return {int(each["value"]): str(each["name"]) for each in told["labels"]}
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return {}


def _checked(name: str, labels: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Whole numbers from 0 to 65535 on the case's grid. Raises LabelMapError."""
    if labels.shape != shape:
        raise LabelMapError(f"{name}: shape (D,H,W) is {labels.shape}; the case's, {shape}, is wanted.")
    if labels.dtype.kind not in "bui" and not np.array_equal(labels, np.rint(labels)):
        raise LabelMapError(f"{name}: it holds fractions; a label map has whole numbers.")
    if labels.size and not 0 <= labels.min() <= labels.max() <= LARGEST:
        raise LabelMapError(
            f"{name}: values from {labels.min()} to {labels.max()}; 0 to {LARGEST} are wanted."
        )
    return labels

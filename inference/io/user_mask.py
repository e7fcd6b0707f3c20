"""A mask that the user gives beside the text: the spatial prompt of Medal S's hybrid mode.

It lies beside the case as NAME.prompt.npz, NAME.prompt.nii.gz or NAME.prompt.nii, or in it as `prev_pred`;
the first one found counts. A voxel's value is the id of the prompt that it belongs to, 0 is nothing.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from pathlib import Path

import numpy as np

from vesal.inference.data.case import UserMask
from vesal.inference.data.errors import MaskIdError, MaskShapeError, MaskTypeError
from vesal.inference.geometry.views import Sides
from vesal.inference.io.nifti import SUFFIXES, read_nifti
from vesal.inference.io.npz_archive import NpzArchive

WANTED = "whole numbers from 0 to 65535, the ids of prompts, are wanted. Save it as uint8."
MARK = ".prompt"
"""Between the case's name and the suffix of a mask beside it."""
KEY_IN_CASE = "prev_pred"
KEYS = ("mask", "prev_pred", "segs")
"""Arrays of NAME.prompt.npz that hold the mask, best first; else its only array does."""


def read_user_mask(
    case: Path, ids: Collection[int], shape: Sides, instance: bool, archive: NpzArchive | None = None
) -> UserMask | None:
    """Find, read and check the mask of a case.

    Args:
        case: path NAME.npz of the case; the mask is looked for beside it.
        ids: of the case's prompts.
        shape: of its volume, (D,H,W).
        instance: the case asks for objects; with a single prompt the mask's values are then objects of it.
        archive: the case, open, where it is an npz and may hold the mask itself.

    Returns:
        the mask, or None where there is none, or an empty one.

    Raises:
        CaseError: it is there but cannot be used. MaskShapeError: not the volume's shape. MaskTypeError: no
            whole numbers from 0 on. MaskIdError: values that are no prompt's id. Else what reading a file
            raises.
    """
    found = _find(Path(case), shape, archive)
    if found is None:
        return None
    values, source = found
    labels = _whole(values, source)
    labels = _by_prompt(labels, sorted(ids), instance, source)
    there = tuple(_values(labels))
    return UserMask(labels, there, source) if there else None


def _find(case: Path, shape: Sides, archive: NpzArchive | None) -> tuple[np.ndarray, str] | None:
    """(D,H,W) numbers as they are stored, and where; None where there is no mask."""
    beside = case.with_name(f"{case.stem}{MARK}.npz")
    if beside.exists():
        with NpzArchive(beside) as found:
            return _of_archive(found, KEYS, shape), beside.name
    for suffix in SUFFIXES:
        beside = case.with_name(f"{case.stem}{MARK}{suffix}")
        if beside.exists():
            return read_nifti(beside, shape), beside.name
    if archive is None or KEY_IN_CASE not in archive:
        return None
    return _of_archive(archive, (KEY_IN_CASE,), shape), f"{case.name}, '{KEY_IN_CASE}'"


def _of_archive(archive: NpzArchive, keys: tuple[str, ...], shape: Sides) -> np.ndarray:
    """One (D,H,W) array of an npz; its header is judged before its data is read."""
    name = archive.path.name
    only = archive.keys if len(archive.keys) == 1 else ()
    key = next((k for k in (*keys, *only) if k in archive), None)
    if key is None:
        raise archive.missing(keys[0], f"Save the mask as '{keys[0]}'.")
    header = archive.header(key)
    if header.shape != tuple(shape):
        raise MaskShapeError(
            f"{name}: '{key}' has shape {header.shape}; the volume's, {tuple(shape)}, is wanted: "
            "one (D,H,W) array whose values are prompt ids."
        )
    if header.dtype.kind not in "biuf":
        raise MaskTypeError(f"{name}: '{key}' has dtype {header.dtype}; {WANTED}")
    return archive.read_array(key, math.prod(shape) * header.dtype.itemsize)


def _whole(values: np.ndarray, source: str) -> np.ndarray:
    """(D,H,W) uint16 of any numbers; slice by slice, so that nothing as large as the volume is made twice."""
    labels = np.empty(values.shape, np.uint16)
    for plane, target in zip(values, labels, strict=True):
        with np.errstate(invalid="ignore", over="ignore"):  # the comparison finds NaN and infinity
            target[...] = np.clip(plane, 0, np.iinfo(np.uint16).max)
        if not np.array_equal(target, plane):
            wrong = plane[target != plane].flat[0]
            raise MaskTypeError(f"{source}: holds {wrong}; {WANTED}")
    return labels


def _values(labels: np.ndarray) -> list[int]:
    """The values above 0 of (D,H,W) uint16, ascending; slice by slice, as bincount makes 64-bit numbers."""
    counts = np.zeros(np.iinfo(np.uint16).max + 1, np.int64)
    for plane in labels:
        counts += np.bincount(plane.ravel(), minlength=len(counts))
    return [int(i) for i in np.flatnonzero(counts) if i]


def _by_prompt(labels: np.ndarray, ids: list[int], instance: bool, source: str) -> np.ndarray:
    """(D,H,W) uint16 with prompt ids: with one prompt, a mask of 0 and 1, or of objects, is all its own."""
    values = _values(labels)
    unknown = sorted(set(values) - set(ids))
    if unknown and len(ids) == 1 and (instance or values == [1]):
        return (labels > 0) * np.uint16(ids[0])
    if unknown:
        raise MaskIdError(
            f"{source}: holds the values {unknown[:10]}, which are no prompt's id; the case has {ids[:10]}. "
            "Give each voxel the id of the prompt that it belongs to."
        )
    return labels

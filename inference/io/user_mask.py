"""The mask that a user gives beside the text: the spatial prompt of Medal S's hybrid mode.

A voxel's value is the id of the prompt that it belongs to, 0 is nothing.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

import numpy as np

from vesal.inference.data.errors import MaskIdError, MaskShapeError, MaskTypeError
from vesal.inference.data.user_prompts import UserMask
from vesal.inference.io.npz_archive import NpzArchive

WANTED = "whole numbers from 0 to 65535, the ids of prompts, are wanted. Save it as uint8."


def read_mask_array(archive: NpzArchive, key: str, shape: Sequence[int]) -> np.ndarray:
    """One (D,H,W) array of an npz as it is stored; its header is judged before its data is read.

    Raises:
        MaskShapeError, MaskTypeError: it has not the volume's `shape` (D,H,W), or holds no numbers.
        CaseError: it cannot be read.
    """
    header = archive.header(key)
    check_mask_header(f"{archive.path.name}: '{key}'", header.shape, header.dtype, shape)
    return archive.read_array(key, math.prod(shape) * header.dtype.itemsize)


def check_mask_header(source: str, found: Sequence[int], dtype: np.dtype, shape: Sequence[int]) -> None:
    """Raise MaskShapeError or MaskTypeError unless a mask has the volume's `shape` (D,H,W), and numbers."""
    if tuple(found) != tuple(shape):
        raise MaskShapeError(
            f"{source} has shape {tuple(found)}; the volume's, {tuple(shape)}, is wanted: "
            "one (D,H,W) array whose values are prompt ids."
        )
    if dtype.kind not in "biuf":
        raise MaskTypeError(f"{source} has dtype {dtype}; {WANTED}")


def make_mask(values: np.ndarray, ids: Collection[int], instance: bool, source: str) -> UserMask | None:
    """A checked mask; None for an empty one.

    Args:
        values: (D,H,W) numbers of any type.
        ids: of the case's prompts. With one prompt, a mask of 0 and 1 is all its own.
        instance: the case asks for objects; with one prompt the values are then objects of it.
        source: where it was found, for messages and the report.

    Raises:
        MaskTypeError: no whole numbers from 0 to 65535.
        MaskIdError: values that are no prompt's id.
    """
    labels = _by_prompt(_whole(values, source), sorted(ids), instance, source)
    there = tuple(_values(labels))
    return UserMask(labels, there, source) if there else None


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

"""The mask that a user gives beside the text: the spatial prompt of Medal S's hybrid mode.

A voxel's value is the id of the prompt that it belongs to, 0 is nothing.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

import numpy as np

from vesal.inference.data.errors import MaskIdError, MaskShapeError, MaskTypeError
from vesal.inference.data.user_prompts import UserMask
from vesal.inference.io.limits import MAX_PROMPTS, check_mask_size
from vesal.inference.io.npz_archive import NpzArchive
from vesal.inference.runtime.threads import in_slabs

SLAB_VOXELS = 1 << 18
"""2 MB of 64-bit numbers, and four times as many as there are values to count."""
WANTED = "whole numbers from 0 to 65535, the ids of prompts, are wanted. Save it as uint8."


def read_mask_array(
    archive: NpzArchive,
    key: str,
    shape: Sequence[int],
    ids: Collection[int] = (),
    *,
    any_number: bool = False,
) -> np.ndarray:
    """One array of an npz as (D,H,W), as it is stored; its header is judged before its data is read.

    Axes of length 1 are left out. Where several prompts have `ids`, a mask for each of them, (N,D,H,W) with
    ids ascending, will do: a voxel of several masks belongs to the smallest. With `any_number` they are those
    of classes 1, 2, ..., however many there are.

    Raises:
        MaskShapeError, MaskTypeError: it has not the volume's `shape` (D,H,W), or holds no numbers.
        MaskSizeError: it does not fit into memory beside the volume.
        CaseError: it cannot be read.
    """
    header, source = archive.header(key), f"{archive.path.name}: '{key}'"
    if any_number and len(header.shape) == 4 and 1 < header.shape[0] <= MAX_PROMPTS:
        ids = range(1, header.shape[0] + 1)
    stacked = len(ids) > 1 and header.shape == (len(ids), *shape)
    one = tuple(n for n in header.shape if n != 1) == tuple(n for n in shape if n != 1)
    is_further = one and len(header.shape) > len(shape)
    check_mask_header(source, shape if stacked or is_further else header.shape, header.dtype, shape)
    count = len(ids) if stacked else 1
    check_mask_size(source, count * math.prod(shape) * header.dtype.itemsize, math.prod(shape))
    values = archive.read_array(key, count * math.prod(shape) * header.dtype.itemsize)
    return _joined(values, sorted(ids)) if stacked else values.reshape(shape)


def _joined(masks: np.ndarray, ids: Sequence[int]) -> np.ndarray:
    """(N,D,H,W) masks of N prompts to one (D,H,W) of ids, the smallest mask on top."""
    labels = np.zeros(masks.shape[1:], np.uint16)
    sizes = [int(np.count_nonzero(mask)) for mask in masks]
    for n in sorted(range(len(ids)), key=lambda n: (-sizes[n], n)):
        np.copyto(labels, np.uint16(ids[n]), where=masks[n] != 0)
    return labels


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
        ids: of the case's prompts. With one prompt, a mask of 0 and one other value is all its own.
        instance: the case asks for objects; with one prompt the values are then objects of it.
        source: where it was found, for messages and the report.

    Raises:
        MaskTypeError: no whole numbers from 0 to 65535.
        MaskIdError: values that are no prompt's id.
    """
    labels = _by_prompt(_whole(values, source), sorted(ids), instance, source)
    there = tuple(_values(labels))
    return UserMask(labels, there, source) if there else None


def mask_ids(values: np.ndarray, source: str) -> list[int]:
    """The values above 0 of a mask (D,H,W), ascending. Raises MaskTypeError."""
    return _values(_whole(values, source))


def _whole(values: np.ndarray, source: str) -> np.ndarray:
    """(D,H,W) uint16 of any numbers; by slabs, so that nothing as large as the volume is made twice."""
    labels = np.empty(values.shape, np.uint16)
    for part in _slabs(values):
        slab, target = values[part], labels[part]
        with np.errstate(invalid="ignore", over="ignore"):  # the comparison finds NaN and infinity
            target[...] = np.clip(slab, 0, np.iinfo(np.uint16).max)
        if not np.array_equal(target, slab):
            wrong = slab[target != slab].flat[0]
            raise MaskTypeError(f"{source}: holds {wrong}; {WANTED}")
    return labels


def _values(labels: np.ndarray) -> list[int]:
    """The values above 0 of (D,H,W) uint16, ascending; by slabs, as bincount makes 64-bit numbers."""
    counts = np.zeros(np.iinfo(np.uint16).max + 1, np.int64)
    for part in _slabs(labels):
        counts += np.bincount(labels[part].ravel(), minlength=len(counts))
    return [int(i) for i in np.flatnonzero(counts) if i]


def _slabs(values: np.ndarray) -> list[slice]:
    """Slabs of slices of (D,H,W): a long axis has as few as others."""
    return in_slabs(len(values), SLAB_VOXELS // max(1, values[:1].size))


def _by_prompt(labels: np.ndarray, ids: list[int], instance: bool, source: str) -> np.ndarray:
    """(D,H,W) uint16 with prompt ids: with one prompt, a mask of one value, or of objects, is all its own."""
    values = _values(labels)
    unknown = sorted(set(values) - set(ids))
    if unknown and len(ids) == 1 and (instance or len(values) == 1):
        return (labels > 0) * np.uint16(ids[0])
    if unknown:
        raise MaskIdError(
            f"{source}: holds the values {unknown[:10]}, which are no prompt's id; the case has {ids[:10]}. "
            "Give each voxel the id of the prompt that it belongs to."
        )
    return labels

"""What a user gives beside the text: a mask, boxes and points, on the volume's voxel grid."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

Voxel = tuple[int, int, int]
"""Index of a voxel, or a shape, (D,H,W)"""

KINDS = MASK, BOXES, POINTS = "mask", "boxes", "points"
"""Kinds of user prompts."""


def not_used(kind: str, why: str, ids: Collection[int] = ()) -> str:
    """The report's sentence on a kind of user prompts that the case runs without, or these prompts of it."""
    whose = f" for the prompts {', '.join(map(str, ids))}" if ids else ""
    return f"the user's {kind} {'is' if kind == MASK else 'are'} not used{whose}: {why}"


@dataclass(frozen=True)
class UserMask:
    """A mask that the user gave beside the text, checked."""

    labels: np.ndarray
    """(D,H,W) unsigned, prompt ids, 0 elsewhere"""
    ids: tuple[int, ...]
    """Prompts that have voxels, ascending."""
    source: str
    """Where it was found, for the report."""


@dataclass(frozen=True)
class VoxelBox:
    """A box of whole voxels: ``start`` inclusive, ``stop`` exclusive; it has one voxel or more."""

    start: Voxel
    stop: Voxel
    open_axes: tuple[int, ...] = field(default=(), compare=False)
    """Axes of (D,H,W) along which the target may reach beyond it, as the box was measured in one slice. Boxes
    of the same voxels are equal."""

    @property
    def voxels(self) -> int:
        """How many it holds."""
        return math.prod(b - a for a, b in zip(self.start, self.stop, strict=True))

    def reversed(self, shape: Sequence[int], axes: Collection[int]) -> VoxelBox:
        """The same voxels in a volume of ``shape`` (D,H,W) that is reversed along ``axes``."""
        ends = list(zip(self.start, self.stop, strict=True))
        for axis in axes:
            start, stop = ends[axis]
            ends[axis] = shape[axis] - stop, shape[axis] - start
        (d0, d1), (h0, h1), (w0, w1) = ends
        return replace(self, start=(d0, h0, w0), stop=(d1, h1, w1))

    def transposed(self, order: Sequence[int]) -> VoxelBox:
        """The same voxels in a volume whose axes are taken in another ``order``."""
        axes = tuple(sorted(list(order).index(axis) for axis in self.open_axes))
        return VoxelBox(_in_order(self.start, order), _in_order(self.stop, order), axes)


@dataclass(frozen=True)
class Point:
    """A voxel that is inside a target (``foreground``) or outside of it."""

    voxel: Voxel
    foreground: bool

    def reversed(self, shape: Sequence[int], axes: Collection[int]) -> Point:
        """The same voxel in a volume of ``shape`` (D,H,W) that is reversed along ``axes``."""
        d, h, w = (shape[i] - 1 - at if i in axes else at for i, at in enumerate(self.voxel))
        return replace(self, voxel=(d, h, w))

    def transposed(self, order: Sequence[int]) -> Point:
        """The same voxel in a volume whose axes are taken in another ``order``."""
        return replace(self, voxel=_in_order(self.voxel, order))


@dataclass(frozen=True)
class UserPrompts:
    """Everything that a user gave beside the text, checked; empty where there is nothing."""

    mask: UserMask | None = None
    boxes: Mapping[int, tuple[VoxelBox, ...]] = field(default_factory=dict)
    """By prompt id, ascending; prompts without a box are left out."""
    points: Mapping[int, tuple[Point, ...]] = field(default_factory=dict)
    """By prompt id, ascending; prompts without a point are left out."""

    def kinds(self) -> tuple[str, ...]:
        """The kinds of which there is something, in the order of ``KINDS``."""
        there = {MASK: self.mask is not None, BOXES: bool(self.boxes), POINTS: bool(self.points)}
        return tuple(kind for kind in KINDS if there[kind])

    def ids(self, kind: str) -> tuple[int, ...]:
        """The prompts that have something of a kind, ascending."""
        if kind == MASK:
            return () if self.mask is None else self.mask.ids
        return tuple(sorted(self.boxes if kind == BOXES else self.points))

    def marked(self) -> frozenset[int]:
        """The prompts that have something of any kind."""
        return frozenset(id_ for kind in KINDS for id_ in self.ids(kind))

    def of(self, ids: Collection[int]) -> UserPrompts:
        """What belongs to some prompts; the mask keeps its labels and has fewer ids."""
        mask = self.mask and replace(self.mask, ids=tuple(id_ for id_ in self.mask.ids if id_ in ids))
        return UserPrompts(
            mask if mask and mask.ids else None,
            {id_: boxes for id_, boxes in self.boxes.items() if id_ in ids},
            {id_: points for id_, points in self.points.items() if id_ in ids},
        )

    def without(self, kinds: Collection[str]) -> UserPrompts:
        """The same without some kinds."""
        return UserPrompts(
            None if MASK in kinds else self.mask,
            {} if BOXES in kinds else self.boxes,
            {} if POINTS in kinds else self.points,
        )

    def reversed(self, shape: Sequence[int], axes: Collection[int]) -> UserPrompts:
        """The same in a volume of ``shape`` (D,H,W) that is reversed along ``axes``."""
        mask = self.mask
        if mask is not None and axes:
            mask = replace(mask, labels=np.ascontiguousarray(np.flip(mask.labels, tuple(axes))))
        return UserPrompts(
            mask,
            {id_: tuple(box.reversed(shape, axes) for box in boxes) for id_, boxes in self.boxes.items()},
            {id_: tuple(p.reversed(shape, axes) for p in points) for id_, points in self.points.items()},
        )

    def transposed(self, order: Sequence[int]) -> UserPrompts:
        """The same in a volume whose axes are taken in another ``order``."""
        mask = self.mask
        if mask is not None:
            mask = replace(mask, labels=np.ascontiguousarray(mask.labels.transpose(order)))
        return UserPrompts(
            mask,
            {id_: tuple(box.transposed(order) for box in boxes) for id_, boxes in self.boxes.items()},
            {id_: tuple(p.transposed(order) for p in points) for id_, points in self.points.items()},
        )


def _in_order(voxel: Voxel, order: Sequence[int]) -> Voxel:
    d, h, w = (voxel[axis] for axis in order)
    return d, h, w

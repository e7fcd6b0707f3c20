"""What the user marked, as the network takes it: in the whole volume, and in each window of zoom-in.

The released code makes boxes and points of a label on zoom-out's grid: a box is the first and last voxel of
each axis, both inside. For zoom-in they are drawn there as a map, which the nearest voxel brings to the
volume. Of a window that is alone over a region smaller than itself the map is read without the voxels that
fill it up, though the image has them: box and points are off by these, as the weights were released.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Final

import numpy as np

from vesal.inference.families.segvol.draws import NOTHING
from vesal.inference.geometry.nearest import nearest, nearest_exact
from vesal.inference.geometry.views import Sides

FIRST_CORNER: Final = 2
SECOND_CORNER: Final = 3
TEXT: Final = 4
Voxel = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Asked:
    """One prompt on one window, as the network is asked."""

    text: np.ndarray | None = None
    """(C,) float32; None where there is no sentence"""
    box: np.ndarray | None = None
    """(6,) float32: first and last voxel (d, h, w), all -1 where a box is meant and nothing is there"""
    points: np.ndarray | None = None
    """(K, 3) float32 voxels"""
    labels: np.ndarray | None = None
    """(K,) float32: 1 foreground, 0 background, -1 nothing"""

    def tokens(self) -> tuple[np.ndarray, np.ndarray]:
        """Coordinates (T, 3) float32 and kinds (T,) int64 of the sparse tokens, as released: points,
        one that says nothing if there is no box, both corners, text.
        """
        places: list[np.ndarray] = []
        kinds: list[int] = []
        if self.points is not None and self.labels is not None:
            places += list(self.points)
            kinds += [int(label) for label in self.labels]
            if self.box is None:
                places.append(np.zeros(3))
                kinds.append(int(NOTHING))
        if self.box is not None:
            places += [self.box[:3], self.box[3:]]
            kinds += [FIRST_CORNER, SECOND_CORNER]
        if self.text is not None:
            places.append(np.zeros(3))
            kinds.append(TEXT)
        return np.array(places, np.float32).reshape(-1, 3), np.array(kinds, np.int64)

    def says(self, text: np.ndarray | None) -> Asked:
        """The same with a text, (n,) numbers, or without one."""
        return replace(self, text=text)


@dataclass(frozen=True)
class Marked:
    """What the user marked of one prompt, in voxels of zoom-out's grid."""

    box: tuple[Voxel, Voxel] | None = None
    """First and last voxel, both inside."""
    points: tuple[tuple[Voxel, bool], ...] = ()
    """Voxels, each with whether it is foreground."""

    @classmethod
    def of(cls, boxes: np.ndarray, points: np.ndarray, start: Sides, shape: Sides, grid: Sides) -> Marked:
        """Bring what the user marked to zoom-out's grid.

        Args:
            boxes: (K, 2, 3) native voxel edges; several count as the one around them.
            points: (K, 4) native voxels, and 1 for foreground.
            start: of the part of the volume that is looked at.
            shape: of that part; what is marked outside of it moves to its border.
            grid: of zoom-out.
        """
        box = None
        if len(boxes):
            first = np.rint(boxes[:, 0].min(0)).astype(int) - start
            last = np.rint(boxes[:, 1].max(0)).astype(int) - 1 - start
            sides = [_on_grid(*side) for side in zip(first, last, shape, grid, strict=True)]
            box = tuple(a for a, _ in sides), tuple(b for _, b in sides)
        found = []
        for *place, foreground in points.tolist():
            at = zip(place, start, shape, grid, strict=True)
            voxel = tuple(_voxel_on_grid(round(a) - s, n, m) for a, s, n, m in at)
            found.append((voxel, foreground > 0))
        return cls(box, tuple(dict.fromkeys(found)))

    def on_whole(self) -> Asked:
        """As zoom-out asks for it."""
        box = None if self.box is None else np.array([*self.box[0], *self.box[1]], np.float32)
        if not self.points:
            return Asked(box=box)
        places = np.array([voxel for voxel, _ in self.points], np.float32)
        return Asked(box=box, points=places, labels=np.array([f for _, f in self.points], np.float32))

    def box_in(self, cut: MapWindow) -> np.ndarray | None:
        """The box of the map in a window, (6,) float32; all -1 where it has nothing there; None if no box."""
        if self.box is None:
            return None
        sides = [cut.places(axis, a, b) for axis, (a, b) in enumerate(zip(*self.box, strict=True))]
        if not all(len(side) for side in sides):
            return no_box()
        return np.array([*(side[0] for side in sides), *(side[-1] for side in sides)], np.float32)

    def points_in(self, cut: MapWindow) -> np.ndarray:
        """Voxels (n, 3) of a window on which foreground points fall, in the order of the array."""
        found: set[tuple[int, ...]] = set()
        for voxel, foreground in self.points:
            if foreground:
                sides = [cut.places(axis, at, at).tolist() for axis, at in enumerate(voxel)]
                found.update(product(*sides))
        return np.array(sorted(found), np.int64).reshape(-1, 3)


@dataclass(frozen=True)
class MapWindow:
    """The part of the map of what the user marked that one window reads."""

    shape: Sides
    """of the part of the volume that is looked at"""
    grid: Sides
    """of zoom-out"""
    first: Voxel
    """first voxel that is read, in that part"""
    stop: Voxel
    """one past the last: where the region ends, or the window"""

    def places(self, axis: int, first: int, last: int) -> np.ndarray:
        """Voxels of the window along an axis (n,) that come from zoom-out's voxels ``first`` to ``last``."""
        source = nearest(self.shape[axis], self.grid[axis])[self.first[axis] : self.stop[axis]]
        return np.flatnonzero((source >= first) & (source <= last))


def no_box() -> np.ndarray:
    """What the released code asks with where a window has no foreground."""
    return np.full(6, NOTHING, np.float32)


def box_of(mask: np.ndarray) -> np.ndarray:
    """First and last voxel of a mask (d, h, w) bool, (6,) float32; all -1 where it is empty."""
    ends = [np.flatnonzero(mask.any(tuple(a for a in range(3) if a != axis))) for axis in range(3)]
    if not ends[0].size:
        return no_box()
    return np.array([*(end[0] for end in ends), *(end[-1] for end in ends)], np.float32)


def _on_grid(first: int, last: int, length: int, grid: int) -> tuple[int, int]:
    """First and last voxel of zoom-out that native voxels ``first`` to ``last`` have as a label; where it has
    none, as they fall between two, the one that their middle is in.
    """
    first, last = (int(min(max(at, 0), length - 1)) for at in (first, last))
    source = nearest_exact(grid, length)
    hit = np.flatnonzero((source >= first) & (source <= last))
    if hit.size:
        return int(hit[0]), int(hit[-1])
    middle = _voxel_on_grid((first + last) / 2, length, grid)
    return middle, middle


def _voxel_on_grid(place: float, length: int, grid: int) -> int:
    """The voxel of zoom-out in which a native place lies."""
    return int(min(max((place + 0.5) * grid / length, 0), grid - 1))


def same_tokens(asked: Sequence[Asked]) -> list[list[int]]:
    """Rows of prompts that have the same number of tokens: only those can be decoded together."""
    groups: dict[int, list[int]] = {}
    for row, each in enumerate(asked):
        groups.setdefault(len(each.tokens()[1]), []).append(row)
    return list(groups.values())

"""Which voxels of a volume a mask on the grid of a view can reach, and which boxes are worth being one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from vesal.inference.geometry.views import View
from vesal.inference.stages.grid_labels import Box

Sides = tuple[int, ...]


@dataclass(frozen=True)
class Projection:
    """A mask (d, h, w) projected along each of its last two axes: enough for the box of any of its planes."""

    rows: np.ndarray
    """(d, h) bool"""
    columns: np.ndarray
    """(d, w) bool"""

    @classmethod
    def of(cls, mask: np.ndarray, box: Box, grid: Sides) -> Projection:
        """Project a mask (d', h', w') bool that lies in a box of a grid (d, h, w), with nothing around it."""
        rows, columns = np.zeros(grid[:2], bool), np.zeros((grid[0], grid[2]), bool)
        rows[box[0], box[1]], columns[box[0], box[2]] = mask.any(axis=2), mask.any(axis=1)
        return cls(rows, columns)

    def __or__(self, other: Projection) -> Projection:
        """Both masks."""
        return Projection(self.rows | other.rows, self.columns | other.columns)

    def native_box(self, view: View, shape: Sides, planes: slice = slice(None)) -> Box | None:
        """Native voxels that linear interpolation can raise above the threshold: the box of the mask in some
        planes of the view, and one voxel more. None where the mask is empty.
        """
        depth = np.zeros(len(self.rows), bool)
        depth[planes] = self.rows[planes].any(axis=1)
        box = []
        hits_by_axis = (depth, self.rows[planes].any(axis=0), self.columns[planes].any(axis=0))
        for axis, hits in enumerate(hits_by_axis):
            hit = np.flatnonzero(hits)
            if not hit.size:
                return None
            low = view.start[axis] + (int(hit[0]) - 1) * view.step[axis]
            high = view.start[axis] + (int(hit[-1]) + 2) * view.step[axis]
            # Not beyond the view's border: nothing was predicted there.
            low = max(low, view.start[axis], 0.0)
            high = min(high, view.start[axis] + view.shape[axis] * view.step[axis], float(shape[axis]))
            first, last = int(np.floor(low + 1e-6)), int(np.ceil(high - 1e-6))
            if last <= first:
                return None
            box.append(slice(first, last))
        return box[0], box[1], box[2]


def covered(view: View, shape: Sides) -> Box:
    """The voxels of a volume of ``shape`` (D, H, W) that a view covers, also in part."""
    box = []
    for axis, n in enumerate(shape):
        start, stop = view.box.start[axis], view.box.stop[axis]
        first = int(np.floor(max(start, 0.0) + 1e-6))
        box.append(slice(first, max(first, int(np.ceil(min(stop, float(n)) - 1e-6)))))
    return box[0], box[1], box[2]


def merged(boxes: Mapping[int, Box]) -> list[tuple[list[int], Box]]:
    """Put boxes together where one around two of them is no larger than both.

    Returns:
        the keys of each group, and the box around its boxes.
    """
    groups: list[tuple[list[int], np.ndarray]] = []
    for key, sides in boxes.items():
        keys, box = [key], np.array([[s.start for s in sides], [s.stop for s in sides]])
        while groups:
            each = np.stack([other for _, other in groups])
            hulls = np.stack([np.minimum(each[:, 0], box[0]), np.maximum(each[:, 1], box[1])], 1)
            gain = _volume(each) + _volume(box[None]) - _volume(hulls)
            best = int(gain.argmax())
            if gain[best] < 0:
                break
            keys, box = groups.pop(best)[0] + keys, hulls[best]
        groups.append((keys, box))
    return [(keys, _as_box(box)) for keys, box in groups]


def overlap(a: Box, b: Box) -> Box | None:
    """What two boxes share; None where it is nothing."""
    d, h, w = (slice(max(s.start, t.start), min(s.stop, t.stop)) for s, t in zip(a, b, strict=True))
    return (d, h, w) if all(side.stop > side.start for side in (d, h, w)) else None


def within(part: Box, whole: Box) -> Box:
    """Where a box lies in another one that holds it."""
    d, h, w = (slice(s.start - t.start, s.stop - t.start) for s, t in zip(part, whole, strict=True))
    return d, h, w


def _volume(boxes: np.ndarray) -> np.ndarray:
    """(n,) voxels of (n, 2, 3) first and last edges."""
    return np.prod(boxes[:, 1] - boxes[:, 0], 1)


def _as_box(edges: np.ndarray) -> Box:
    d, h, w = (slice(int(a), int(b)) for a, b in edges.T.tolist())
    return d, h, w

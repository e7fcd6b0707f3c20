"""Rule ``fill_holes``: background that a class encloses becomes that class."""

from __future__ import annotations

from typing import Literal

import numpy as np

from vesal.postprocess.checks import require_ndim
from vesal.postprocess.rule import ClassPart, ClassRule, Count


class FillHoles(ClassRule, frozen=True):
    """Fill the holes of a class, in space or slice by slice."""

    axis: Literal[0, 1, 2] | None = None
    """Axis of (D, H, W) across which slices are filled one by one; null: in space."""
    max_voxels: Count | None = None
    """Larger holes stay; null: all are filled."""

    def apply(self, part: ClassPart) -> None:
        """See ``fill_holes``."""
        fill_holes(part.labels, part.class_id, self.axis, self.max_voxels)


def fill_holes(
    labels: np.ndarray, class_id: int, axis: int | None = None, max_voxels: int | None = None
) -> None:
    """Give a class its holes, in place.

    A hole is a connected component of what is not the class (6-connected in space, 4-connected in a slice)
    that does not reach the border of ``labels``. Of it only the background next to the class is taken: what
    another class holds inside stays that class's, and so does the background that the other class encloses.

    Args:
        labels: (D,H,W) unsigned integers: a map, or the part of it that holds the whole class.
        class_id: the class; one that is absent changes nothing.
        axis: slices across this axis are filled one by one; None: in space.
        max_voxels: holes with more voxels stay; None: all are filled.

    Raises:
        ArrayShapeError: `labels` is not (D,H,W).
    """
    require_ndim("labels", labels, 3, "(D,H,W)")
    mine = labels == class_id
    if not mine.any():
        return
    # One more voxel around: all that reaches the border becomes one component, that of the first voxel.
    padding = [(0, 0) if a == axis else (1, 1) for a in range(3)]
    components, count = _components(np.pad(~mine, padding, constant_values=True), axis)
    is_hole = np.ones(count + 1, bool)
    if max_voxels is not None:
        is_hole = np.bincount(components.ravel(), minlength=count + 1) <= max_voxels
    is_hole[0] = False
    is_hole[_at_border(components, axis)] = False
    holes = is_hole[components[tuple(slice(before, -before or None) for before, _ in padding)]]
    taken = holes & (labels == 0)
    if np.count_nonzero(taken) < np.count_nonzero(holes):
        near, _ = _components(taken | mine, axis)
        taken &= np.isin(near, np.unique(near[mine]))
    labels[taken] = class_id


def _components(mask: np.ndarray, axis: int | None) -> tuple[np.ndarray, int]:
    """Labels of (D,H,W) bool in space or within the slices across ``axis``, and how many there are."""
    import cc3d  # a profile is read without it

    if axis is None:
        found, count = cc3d.connected_components(np.ascontiguousarray(mask), connectivity=6, return_N=True)
        return found, count
    # An empty plane after every slice: one labelling of all slices, and none from one to the next.
    at = tuple(slice(None, None, 2) if a == axis else slice(None) for a in range(3))
    spread = np.zeros([2 * n if a == axis else n for a, n in enumerate(mask.shape)], bool)
    spread[at] = mask
    found, count = cc3d.connected_components(spread, connectivity=6, return_N=True)
    return found[at], count


def _at_border(components: np.ndarray, axis: int | None) -> np.ndarray:
    """Labels (k,) of the components at the border of padded (D, H, W)."""
    if axis is None:
        return components[:1, 0, 0]
    corner = tuple(slice(None) if a == axis else 0 for a in range(3))
    return np.unique(components[corner])

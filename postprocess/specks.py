"""Rule ``specks``: components that are small beside the largest; and the specks of a whole mask, which are in
Medal S's code and not in its paper.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from vesal.postprocess.checks import require_ndim
from vesal.postprocess.rule import ClassPart, ClassRule, Share


class Specks(ClassRule, frozen=True):
    """Remove the components of a class that are small beside its largest."""

    min_share: Share = 0.1
    """Components with less than this share of the largest one's voxels are removed."""

    only_removes: ClassVar[bool] = True

    def apply(self, part: ClassPart) -> None:
        """See ``remove_small``."""
        remove_small(part.labels, part.class_id, self.min_share)


def remove_small(labels: np.ndarray, class_id: int, min_share: float) -> None:
    """Make background of the 6-connected components of a class that are small beside its largest, in place.

    Args:
        labels: (D,H,W) unsigned integers: a map, or the part of it that holds the whole class.
        class_id: the class; one that is absent changes nothing.
        min_share: of the largest one's voxels; a component with fewer is removed.

    Raises:
        ArrayShapeError: `labels` is not (D,H,W).
    """
    require_ndim("labels", labels, 3, "(D,H,W)")
    import cc3d  # a profile is read without it

    mine = np.ascontiguousarray(labels == class_id)
    components, count = cc3d.connected_components(mine, connectivity=6, return_N=True)
    if count <= 1:
        return
    sizes = np.bincount(components.ravel(), minlength=count + 1)
    small = sizes < min_share * sizes[1:].max()
    small[0] = False
    labels[small[components]] = 0


def remove_specks(mask: np.ndarray, min_voxels: int = 10) -> np.ndarray:
    """Drop the 6-connected components of fewer than `min_voxels` voxels.

    Args:
        mask: (D,H,W) bool, or integers whose non-zero voxels are foreground: labels count together, so a
            small part of one class that touches another stays.
        min_voxels: fewest voxels of a component that stays; 1 or less keeps all.

    Returns:
        (D,H,W) bool; an empty mask stays empty.

    Raises:
        ArrayShapeError: `mask` is not (D,H,W).
    """
    require_ndim("mask", mask, 3, "(D,H,W)")
    result = mask != 0
    if min_voxels <= 1:
        return result
    spans = [np.flatnonzero(result.any(tuple({0, 1, 2} - {axis}))) for axis in range(3)]
    if not spans[0].size:
        return result
    import cc3d  # only where there is a foreground

    # Only its box is labelled: the coarse foreground fills a small part of a volume.
    inside = result[tuple(slice(at[0], at[-1] + 1) for at in spans)]
    components, count = cc3d.connected_components(np.ascontiguousarray(inside), connectivity=6, return_N=True)
    large = np.bincount(components.ravel(), minlength=count + 1) >= min_voxels
    inside &= large[components]
    return result

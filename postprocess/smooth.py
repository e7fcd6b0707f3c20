"""Rule ``smooth``: a majority in the neighbourhood decides between a class and background."""

from __future__ import annotations

import math
from typing import Annotated

import numpy as np
from msgspec import Meta

from vesal.postprocess.checks import require_ndim
from vesal.postprocess.rule import ClassPart, ClassRule, SpacingMm

MAX_RADIUS_MM = 5.0
"""A larger ball is no smoothing: it removes what is as wide as a vessel."""

MAX_REACH = 8
"""Voxels that a ball may reach along any axis: it then takes 2 s for a class of 200 x 250 x 250 voxels, and
the time grows with the square of the reach."""

ONE = 1 << 16
"""A background voxel in a sum that counts both."""

BORDER = 1 + 1e-6
"""On the radius: a voxel on the surface of the ball is in it, however its distance is rounded."""


class Smooth(ClassRule, frozen=True):
    """Smooth the border of a class by the majority in a ball."""

    radius_mm: Annotated[float, Meta(ge=0, le=MAX_RADIUS_MM)] = 0.0
    """Radius of the ball, at most 8 of the smallest spacing; 0 switches it off."""

    def margin(self, spacing_dhw_mm: SpacingMm) -> tuple[int, int, int]:
        """The radius in voxels."""
        return _reach(self.radius_mm, spacing_dhw_mm)

    def apply(self, part: ClassPart) -> None:
        """See ``smooth``."""
        smooth(part.labels, part.class_id, self.radius_mm, part.spacing_dhw_mm)


def smooth(labels: np.ndarray, class_id: int, radius_mm: float, spacing_dhw_mm: SpacingMm) -> None:
    """Majority vote between a class and background in a ball around each voxel, in place.

    A voxel of the class becomes background where more than half of the ball is background; a background
    voxel becomes the class where more than half is the class. Other classes keep their voxels, and like what
    lies outside of ``labels`` they vote for neither: where two classes touch no gap comes between them.

    Args:
        labels: (D,H,W) unsigned integers: a map, or the part of it that holds the whole class and the radius
            around it.
        class_id: the class; one that is absent changes nothing.
        radius_mm: of the ball, 0 or more; below the spacing nothing changes, and above `MAX_REACH` times the
            smallest spacing it counts as that.
        spacing_dhw_mm: of the voxels.

    Raises:
        ArrayShapeError: `labels` is not (D,H,W).
    """
    require_ndim("labels", labels, 3, "(D,H,W)")
    mine, background = labels == class_id, labels == 0
    if not mine.any() or not any(_reach(radius_mm, spacing_dhw_mm)):
        return
    rows = _rows_of_ball(radius_mm, spacing_dhw_mm)
    half = sum(2 * width + 1 for _, _, width in rows) // 2  # of an odd number: more than it is a majority
    # Both are counted at once: a ball holds fewer than ONE voxels.
    votes = _in_ball(mine + ONE * background.astype(np.int32), rows)
    labels[mine & (votes // ONE > half)] = 0
    labels[background & (votes % ONE > half)] = class_id


def _used_radius(radius_mm: float, spacing_dhw_mm: SpacingMm) -> float:
    return BORDER * min(radius_mm, MAX_REACH * min(spacing_dhw_mm))


def _reach(radius_mm: float, spacing_dhw_mm: SpacingMm) -> tuple[int, int, int]:
    """Voxels (D, H, W) that a ball reaches from its centre."""
    radius = _used_radius(radius_mm, spacing_dhw_mm)
    d, h, w = (math.floor(radius / spacing) for spacing in spacing_dhw_mm)
    return d, h, w


def _rows_of_ball(radius_mm: float, spacing_dhw_mm: SpacingMm) -> list[tuple[int, int, int]]:
    """A ball as rows along W: (d, h) from its centre, and the voxels to either side."""
    depth, height, width = _reach(radius_mm, spacing_dhw_mm)
    radius, rows = _used_radius(radius_mm, spacing_dhw_mm), []
    for d in range(-depth, depth + 1):
        for h in range(-height, height + 1):
            left = radius**2 - (d * spacing_dhw_mm[0]) ** 2 - (h * spacing_dhw_mm[1]) ** 2
            if left >= 0:
                rows.append((d, h, min(width, math.floor(math.sqrt(left) / spacing_dhw_mm[2]))))
    return rows


def _in_ball(values: np.ndarray, rows: list[tuple[int, int, int]]) -> np.ndarray:
    """(D,H,W) int32: the sum of values (D,H,W) int32 in the ball around each voxel."""
    depth, height, width = values.shape
    reach = [max(row[axis] for row in rows) for axis in range(3)]
    # Sums up to each voxel along W: what a row of the ball holds is one subtraction.
    sums = np.pad(values, [(r, r) for r in reach]).cumsum(2, dtype=np.int32)
    sums = np.pad(sums, [(0, 0), (0, 0), (1, 0)])
    found = np.zeros(values.shape, np.int32)
    for at, plane in enumerate(found):  # one by one: a plane stays in the processor's cache
        for d, h, side in rows:
            row = sums[at + reach[0] + d, reach[1] + h : reach[1] + h + height]
            plane += row[:, reach[2] + side + 1 : reach[2] + side + 1 + width]
            plane -= row[:, reach[2] - side : reach[2] - side + width]
    return found

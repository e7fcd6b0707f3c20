"""Rule ``slice_nms``: of classes that overlap in a slice the stronger stays (BiomedParse-V).

Slices lie along axis 0 of a (D,H,W) volume; `presence` is (N,D), one row a class.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from vesal.postprocess.checks import require_ndim, require_same_shape
from vesal.postprocess.rule import Share, SliceRule


class SliceNms(SliceRule, frozen=True):
    """Let the sides of one concept compete in each slice."""

    iou: Share = 0.5
    """Intersection over union, per slice, above which two sides count as the same thing."""

    competes: ClassVar[bool] = True

    def keep(self, planes: np.ndarray, presence: np.ndarray) -> np.ndarray:
        """(N, S) bool of (N, S, h, w) ``planes`` and (N, S) ``presence``, see ``slice_nms``."""
        return slice_nms(planes, presence, self.iou)


def slice_nms(
    probabilities: np.ndarray,
    presence: np.ndarray | None = None,
    iou_threshold: float = 0.5,
    mask_threshold: float = 0.5,
) -> np.ndarray:
    """Let heavily overlapping classes compete in each slice; the stronger one stays (BiomedParse-V).

    A class's strength in a slice is presence times the mean probability over its mask. From strongest to
    weakest, a class is dropped where its mask overlaps one already kept with an intersection over union above
    `iou_threshold`. Equal strengths keep the class that comes first.

    Args:
        probabilities: (N,D,H,W) float in 0..1.
        presence: (N,D) or None, which counts as 1 everywhere, as does NaN.
        iou_threshold: intersection over union above which two masks count as the same thing.
        mask_threshold: probability above which a voxel belongs to a mask.

    Returns:
        (N,D) bool, True where the class stays. An empty mask competes with nothing and stays.

    Raises:
        ArrayShapeError: the shapes do not fit.
    """
    require_ndim("probabilities", probabilities, 4, "(N,D,H,W)")
    classes, depth = probabilities.shape[:2]
    if presence is None:
        presence = np.ones((classes, depth), dtype=np.float32)
    require_same_shape("presence", presence, "probabilities (N,D)", (classes, depth))
    keep = np.ones((classes, depth), dtype=bool)
    if classes < 2:
        return keep
    weight = np.nan_to_num(presence, nan=1.0)
    # In most slices no voxel is claimed twice, and nothing competes.
    claims = np.sum(probabilities > mask_threshold, axis=0, dtype=np.uint16)
    for index in np.flatnonzero(claims.max(axis=(1, 2), initial=0) > 1):
        keep[:, index] = _compete(probabilities[:, index], weight[:, index], iou_threshold, mask_threshold)
    return keep


def _compete(
    planes: np.ndarray, weight: np.ndarray, iou_threshold: float, mask_threshold: float
) -> np.ndarray:
    """Return the (N,) bool of the classes that stay in one slice of (N,H,W) probabilities."""
    flat = planes.reshape(len(planes), -1).astype(np.float32, copy=False)
    masks = flat > mask_threshold
    sizes = masks.sum(axis=1, dtype=np.int64)
    strength = weight * (flat * masks).sum(axis=1, dtype=np.float64) / np.maximum(sizes, 1)
    # float64 keeps the counts exact; the product of two bool matrices would be a logical one
    shared = masks.astype(np.float64) @ masks.T.astype(np.float64)
    union = sizes[:, None] + sizes[None, :] - shared
    rivals = shared > iou_threshold * union
    keep = np.ones(len(planes), dtype=bool)
    order = np.argsort(-strength, kind="stable")
    for rank, this in enumerate(order):
        stronger = order[:rank]
        keep[this] = not np.any(rivals[this, stronger] & keep[stronger])
    return keep

"""Filters that work slice by slice: presence, and competition between classes (BiomedParse-V).

Slices lie along axis 0 of a (D,H,W) volume. `presence` is (N,D), one row a class: the probability that the
class is in that slice at all, from the model's presence head. NaN: nothing measured it; the slice is kept.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vesal.postprocess.checks import require_ndim, require_same_shape


def present_slices(presence: np.ndarray, threshold: float = 0.5) -> np.ndarray:
    """Return the (N,D) bool array that is False where a class is absent (presence <= threshold)."""
    require_ndim("presence", presence, 2, "(N,D)")
    return ~(presence <= threshold)


def empty_absent_slices(
    labels: np.ndarray, ids: Sequence[int], presence: np.ndarray, threshold: float = 0.5
) -> np.ndarray:
    """Remove each class from the slices in which it is not present (BiomedParse-V, eq. 2, on a label map).

    Args:
        labels: (D,H,W) integers, 0 is background.
        ids: the N classes in the order of the rows of `presence`. Classes not named stay as they are.
        presence: (N,D) in 0..1 or NaN.
        threshold: presence at or below it empties the slice.

    Returns:
        A new array like `labels`; no ids, no slices or an empty map give an unchanged copy.

    Raises:
        ArrayShapeError: `presence` is not (len(ids), D).
    """
    require_ndim("labels", labels, 3, "(D,H,W)")
    require_same_shape("presence", presence, "a row an id, a column a slice", (len(ids), labels.shape[0]))
    result = labels.copy()
    kept = present_slices(presence, threshold)
    for row, class_id in enumerate(ids):
        for index in np.flatnonzero(~kept[row]):
            plane = result[index]
            plane[plane == class_id] = 0
    return result


def apply_presence(probabilities: np.ndarray, presence: np.ndarray, threshold: float = 0.5) -> np.ndarray:
    """Return (N,D,H,W) probabilities with absent slices set to 0 (BiomedParse-V, eq. 2). N or D may be 0."""
    require_ndim("probabilities", probabilities, 4, "(N,D,H,W)")
    require_same_shape("presence", presence, "probabilities (N,D)", probabilities.shape[:2])
    return probabilities * present_slices(presence, threshold)[:, :, None, None]


def slice_nms(
    probabilities: np.ndarray,
    presence: np.ndarray | None = None,
    overlap: float = 0.5,
    mask_threshold: float = 0.5,
) -> np.ndarray:
    """Let heavily overlapping classes compete in each slice; the stronger one stays (BiomedParse-V).

    A class's strength in a slice is presence times the mean probability over its mask. From strongest to
    weakest, a class is dropped where its mask overlaps one already kept with an intersection over union above
    `overlap`. Equal strengths keep the class that comes first.

    Args:
        probabilities: (N,D,H,W) float in 0..1.
        presence: (N,D) or None, which counts as 1 everywhere, as does NaN.
        overlap: intersection over union above which two masks count as the same thing.
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
        keep[:, index] = _compete(probabilities[:, index], weight[:, index], overlap, mask_threshold)
    return keep


def _compete(planes: np.ndarray, weight: np.ndarray, overlap: float, mask_threshold: float) -> np.ndarray:
    """Return the (N,) bool of the classes that stay in one slice of (N,H,W) probabilities."""
    flat = planes.reshape(len(planes), -1).astype(np.float32, copy=False)
    masks = flat > mask_threshold
    sizes = masks.sum(axis=1, dtype=np.int64)
    strength = weight * (flat * masks).sum(axis=1, dtype=np.float64) / np.maximum(sizes, 1)
    # float64 keeps the counts exact; the product of two bool matrices would be a logical one
    shared = masks.astype(np.float64) @ masks.T.astype(np.float64)
    union = sizes[:, None] + sizes[None, :] - shared
    rivals = shared > overlap * union
    keep = np.ones(len(planes), dtype=bool)
    order = np.argsort(-strength, kind="stable")
    for rank, this in enumerate(order):
        stronger = order[:rank]
        keep[this] = not np.any(rivals[this, stronger] & keep[stronger])
    return keep

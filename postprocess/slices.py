"""Rule ``slices``: presence and overlap decide together which targets a slice shows (BiomedParse-V).

As its code was released: in each slice targets are taken by falling presence, down to a threshold; one whose
mask is empty, or overlaps that of one taken before too much, is dropped. The rules ``presence`` and
``slice_nms`` do it in two steps and with other choices: there only the sides of one concept compete, as
targets such as a tumor in a liver overlap rightly, and the mean probability of the mask counts beside
presence.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from vesal.postprocess.checks import require_ndim, require_same_shape
from vesal.postprocess.rule import Share, SliceRule


class Slices(SliceRule, frozen=True):
    """Presence decides where a target stands alone; where there are several, they compete as well."""

    threshold: Share = 0.5
    """Presence below which a target is not in the slice."""
    at_threshold: bool = True
    """Whether a presence of exactly the threshold is enough, where several targets compete."""
    at_threshold_alone: bool = False
    """The same of a target that is the only one."""
    iou: Share = 0.5
    """Intersection over union, per slice, above which the target of less presence is dropped."""
    mask_threshold: Share = 0.5
    """Probability above which a voxel belongs to a mask."""

    needs_presence: ClassVar[bool] = True
    competes_with_all: ClassVar[bool] = True

    def may_keep(self, presence: np.ndarray) -> np.ndarray:
        """(N, S) bool of presence (N, S): what is at the threshold, too."""
        return ~(presence < self.threshold)

    def keep(self, planes: np.ndarray, presence: np.ndarray) -> np.ndarray:
        """(N, S) bool of (N, S, h, w) ``planes`` and (N, S) ``presence``, see ``kept_slices``."""
        return kept_slices(planes, presence, self)


def kept_slices(probabilities: np.ndarray, presence: np.ndarray, rule: Slices) -> np.ndarray:
    """Which targets stay in which slice.

    Args:
        probabilities: (N,S,h,w) float in 0..1; of a single target they are not looked at.
        presence: (N,S) in 0..1; NaN (not predicted) counts as 1.
        rule: its thresholds.

    Returns:
        (N,S) bool. Of equal presence the target that comes first is taken first. Where N is above 1, a target
        with an empty mask is dropped.

    Raises:
        ArrayShapeError: the shapes do not fit.
    """
    require_ndim("probabilities", probabilities, 4, "(N,S,h,w)")
    require_same_shape("presence", presence, "probabilities (N,S)", probabilities.shape[:2])
    presence = np.nan_to_num(presence, nan=1.0)
    enough = rule.at_threshold if len(presence) > 1 else rule.at_threshold_alone
    keep = presence >= rule.threshold if enough else presence > rule.threshold
    if len(presence) < 2:
        return keep
    for index in np.flatnonzero(keep.any(0)):
        taken = np.flatnonzero(keep[:, index])
        order = taken[np.argsort(-presence[taken, index], kind="stable")]
        masks = probabilities[order, index] > rule.mask_threshold
        keep[order, index] = _without_overlap(masks.reshape(len(order), -1), rule.iou)
    return keep


def _without_overlap(masks: np.ndarray, iou: float) -> np.ndarray:
    """(k,) bool: which of (k, voxels) bool masks stay, the first one before all others."""
    sizes = np.count_nonzero(masks, axis=1)
    keep = sizes > 0
    for rank in range(1, len(masks)):
        for before in np.flatnonzero(keep[:rank] & keep[rank]):
            shared = np.count_nonzero(masks[rank] & masks[before])
            if shared > iou * (sizes[rank] + sizes[before] - shared):
                keep[rank] = False
                break
    return keep

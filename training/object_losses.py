"""Loss of the head that tells objects apart: of the corrected mask, and of the distance to the border."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from vesal.training.losses import segmentation_loss

DISTANCE_WEIGHT = 3.0
"""Of the distance beside the mask: cross-entropy with targets between 0 and 1 has a narrow range."""
OUTSIDE = 0.2
"""Weight of a voxel that no object holds: there the distance is hardly read."""
FACE = 3.0
"""Weight of a voxel beside another object: few voxels, on which hangs whether two come apart."""


def object_loss(
    logits: Tensor, presence: Tensor, distance: Tensor, objects: Tensor, inner: Tensor, faces: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Loss of one view, a scalar, with that of the distance and the soft Dice of the mask, both detached.

    The distance enters by cross-entropy, which is least where it is right and whose gradient does not vanish
    far from there (StarDist, Schmidt et al. 2018, section 2.1).

    Args:
        logits: (B, N, D, H, W) of the corrected mask.
        presence: (B, N, D) logits per slice.
        distance: (B, N, D, H, W) logits.
        objects: (B, N, D, H, W) float 0 or 1.
        inner: (B, N, D, H, W) float 0..1, the distance to be told.
        faces: (B, N, D, H, W) bool, voxels beside another object.
    """
    mask, dice = segmentation_loss(logits, presence, objects, presence_weight=0.0)
    weight = torch.where(objects > 0, torch.where(faces, FACE, 1.0), OUTSIDE)
    each = F.binary_cross_entropy_with_logits(distance.float(), inner, reduction="none")
    # Less what no answer can avoid, so that 0 is perfect.
    each = each - F.binary_cross_entropy(inner, inner, reduction="none")
    told = (weight * each).sum() / weight.sum()
    return mask + DISTANCE_WEIGHT * told, told.detach(), dice.nanmean()

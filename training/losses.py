"""Losses: binary cross-entropy everywhere, Dice only where the class is present, presence per slice."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

BCE_WEIGHT = 2.0
PRESENCE_WEIGHT = 0.2


def soft_dice(logits: Tensor, truth: Tensor) -> Tensor:
    """Soft Dice per class, (B, N, D, H, W) twice -> (B, N), 0..1."""
    p = logits.sigmoid()
    overlap = (p * truth).sum((2, 3, 4))
    total = (p + truth).sum((2, 3, 4))
    return (2 * overlap + 1) / (total + 1)


def segmentation_loss(logits: Tensor, presence: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """Loss of one view.

    Args:
        logits: (B, N, D, H, W).
        presence: (B, N, D) logits per slice.
        truth: (B, N, D, H, W) float 0 or 1.

    Returns:
        the loss, a scalar, and the soft Dice per class (B, N), detached, NaN where a class is absent.
    """
    logits = logits.float()
    present = truth.flatten(2).amax(-1) > 0
    bce = F.binary_cross_entropy_with_logits(logits, truth)
    dice = soft_dice(logits, truth)
    loss = BCE_WEIGHT * bce
    if present.any():
        loss = loss + (1 - dice[present]).mean()
    slices = truth.amax((3, 4))
    loss = loss + PRESENCE_WEIGHT * F.binary_cross_entropy_with_logits(presence.float(), slices)
    return loss, torch.where(present, dice.detach(), torch.full_like(dice, float("nan")))

"""Losses: binary cross-entropy everywhere, Dice only where the class is present, presence per slice."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

BCE_WEIGHT = 2.0
ABSENT_WEIGHT, ABSENT_SHARE = 0.3, 1e-3
"""Weight of false volume where a class is absent, and the share of the view from which it counts in full."""
LEAST_DICE = 1e-3
"""Floor under the logarithm, so that a class that is wholly missed pulls hard and not without end."""


def soft_dice(logits: Tensor, truth: Tensor) -> Tensor:
    """Soft Dice per class, (B, N, D, H, W) twice -> (B, N), 0..1."""
    p = logits.sigmoid()
    overlap = (p * truth).sum((2, 3, 4))
    total = (p + truth).sum((2, 3, 4))
    return (2 * overlap + 0.1) / (total + 0.1)


def segmentation_loss(
    logits: Tensor, presence: Tensor, truth: Tensor, dice_weight: float = 1.0, presence_weight: float = 0.2
) -> tuple[Tensor, Tensor]:
    """Loss of one view.

    The Dice enters as its negative logarithm: near 1 that is 1 - Dice, and near 0 its gradient does not die
    with the probability of a small class. With 1 - Dice, esophagus and larynx came out empty.

    Args:
        logits: (B, N, D, H, W).
        presence: (B, N, D) logits per slice.
        truth: (B, N, D, H, W) float 0 or 1.
        dice_weight: of the Dice term; 0 leaves the cross-entropy alone.
        presence_weight: of the presence term.

    Returns:
        the loss, a scalar, and the soft Dice per class (B, N), detached, NaN where a class is absent.
    """
    logits = logits.float()
    present = truth.flatten(2).amax(-1) > 0
    bce = F.binary_cross_entropy_with_logits(logits, truth)
    dice = soft_dice(logits, truth)
    loss = BCE_WEIGHT * bce
    if dice_weight and present.any():
        loss = loss - dice_weight * torch.log(dice[present] + LEAST_DICE).mean()
    if not present.all():
        # Cross-entropy is a mean over voxels: painting a wrong organ under an absent name costs little of it.
        false = logits[~present].sigmoid().flatten(1).mean(1)
        loss = loss + ABSENT_WEIGHT * torch.log1p(false / ABSENT_SHARE).mean()
    slices = truth.amax((3, 4))
    loss = loss + presence_weight * F.binary_cross_entropy_with_logits(presence.float(), slices)
    return loss, torch.where(present, dice.detach(), torch.full_like(dice, float("nan")))


def alignment_loss(pathways: Sequence[Tensor], text: Tensor) -> Tensor:
    """Semantic alignment of text and volume (Bio2Vol section 2.3, equation 6).

    There are no negatives in it: all prompts of a volume pull its mean feature towards themselves.

    Args:
        pathways: final features (B, C, T, H, W) of each pathway, in the paper sparse and dense; T may differ.
        text: (B, N, C) embeddings of the prompts.

    Returns:
        a scalar: minus the cosine similarity of mean feature and text, summed over the pathways and averaged
        over prompts and batch; from -len(pathways), where all agree, to len(pathways).
    """
    pooled = [features.float().mean((2, 3, 4))[:, None] for features in pathways]
    similar = [F.cosine_similarity(each, text.float(), dim=-1).mean() for each in pooled]
    return -torch.stack(similar).sum()

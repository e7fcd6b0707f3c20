"""Losses: binary cross-entropy everywhere, Dice only where the class is present, presence per slice; those
of the visual tokenizer (SPAD-Nets, Luo et al. 2023, section 4.3).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from vesal.training import device as devices

BCE_WEIGHT = 2.0
ABSENT_WEIGHT, ABSENT_SHARE = 0.3, 1e-3
"""Weight of false volume where a class is absent, and the share of the view from which it counts in full."""
LEAST_DICE = 1e-3
"""Floor under the logarithm, so that a class that is wholly missed pulls hard and not without end."""
LEAST_GRADIENT, MOST_WEIGHT = 1e-6, 1e4
"""Delta of VQGAN's adaptive weight, and where it is clipped as released: early on gradients of the adversary
may be next to nothing."""


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
    if devices.is_processor(logits.device):
        if dice_weight and present.any():
            loss = loss - dice_weight * torch.log(dice[present] + LEAST_DICE).mean()
        if not present.all():
            # Cross-entropy is a mean over voxels: painting a wrong organ under an absent name costs little.
            false = logits[~present].sigmoid().flatten(1).mean(1)
            loss = loss + ABSENT_WEIGHT * torch.log1p(false / ABSENT_SHARE).mean()
    else:  # the same sums of everything: to choose some, the processor would wait for the GPU
        if dice_weight:
            loss = loss - dice_weight * mean_where(torch.log(dice + LEAST_DICE), present)
        false = logits.sigmoid().flatten(2).mean(2)
        loss = loss + ABSENT_WEIGHT * mean_where(torch.log1p(false / ABSENT_SHARE), ~present)
    slices = truth.amax((3, 4))
    loss = loss + presence_weight * F.binary_cross_entropy_with_logits(presence.float(), slices)
    return loss, torch.where(present, dice.detach(), torch.full_like(dice, float("nan")))


def mean_where(values: Tensor, chosen: Tensor) -> Tensor:
    """Mean of the ``values`` where ``chosen`` (bool, the same shape), a scalar; 0 where none is."""
    return (values * chosen).sum() / chosen.sum().clamp_min(1)


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


def reconstruction_loss(told: Tensor, image: Tensor) -> Tensor:
    """Mean squared error, first term of VQ-VAE (van den Oord et al. 2017, equation 3) and of VQGAN.

    Their codebook and commitment terms have no place here: a soft token's embedding is an expectation, so
    gradients reach codebook and encoder by themselves. VQGAN's perceptual term is left out, as it needs a
    network that was trained on photographs.

    Args:
        told, image: (B, C, D, H, W).
    """
    return F.mse_loss(told.float(), image.float())


def token_entropies(probabilities: Tensor) -> tuple[Tensor, Tensor]:
    """H(E(q)) and E(H(q)) in nats, over all places of all volumes of a batch (SPAD-Nets, section 4.3).

    Args:
        probabilities: (B, V, d, h, w), soft tokens.

    Returns:
        entropy of the mean token, ln V where the codebook is used evenly; mean entropy of a token, 0 where
        tokens are hard. ln V less the second is E(KL(q || uniform)).
    """
    tokens = probabilities.float().movedim(1, -1).flatten(0, -2)
    return _entropy(tokens.mean(0)), _entropy(tokens).mean()


def _entropy(distribution: Tensor) -> Tensor:
    """(..., V) -> (...), in nats. A token that is impossible has a finite gradient, too."""
    logarithm = distribution.clamp_min(torch.finfo(distribution.dtype).tiny).log()
    return -(distribution * logarithm).sum(-1)


def dual_prior_loss(probabilities: Tensor, even: float, sharp: float) -> Tensor:
    """Dual prior distribution regularisation (SPAD-Nets, equation 2): -even H(E(q)) + sharp E(H(q)).

    Args:
        probabilities: (B, V, d, h, w), soft tokens.
        even: lambda_1, of using the whole codebook.
        sharp: lambda_2, of tokens that are each close to one entry; the paper gives neither.
    """
    mean_token, token = token_entropies(probabilities)
    return sharp * token - even * mean_token


def discriminator_loss(real: Tensor, made: Tensor) -> Tensor:
    """-log D(x) - log(1 - D(x')), of logits of any shape (VQGAN, Esser et al. 2021, section 3.1)."""
    return F.softplus(-real.float()).mean() + F.softplus(made.float()).mean()


def adversarial_loss(made: Tensor) -> Tensor:
    """-log D(x') of logits of any shape: where the adversary is sure, log(1 - D(x')) has no gradient
    (Goodfellow et al. 2014, section 3).
    """
    return F.softplus(-made.float()).mean()


def adaptive_weight(reconstruction: Tensor, adversarial: Tensor, last: Tensor) -> Tensor:
    """Weight of the adversarial loss, a scalar without gradient (VQGAN, Esser et al. 2021, section 3.1).

    lambda = |grad L_rec| / (|grad L_GAN| + delta), gradients at ``last``, weights (of any shape) of the
    decoder's last layer, that both losses, scalars, come from.
    """
    wanted, pull = (
        torch.autograd.grad(loss, last, retain_graph=True)[0].norm() for loss in (reconstruction, adversarial)
    )
    return (wanted / (pull + LEAST_GRADIENT)).clamp(max=MOST_WEIGHT).detach()

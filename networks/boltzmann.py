"""Boltzmann attention sampling: each query sees a random tenth of the image, drawn where its mask is likely.

Zhao et al. 2025, "Boltzmann attention sampling for image analysis with small objects" (reference 27 of the
BiomedParse-V paper), as released: no token is kept by a threshold, only what is drawn; the temperature falls
from layer to layer. The published code draws anew at every call; here the draws are an input, so that whoever
calls decides what the same result is.
"""

from __future__ import annotations

from torch import Tensor

SAMPLED = 10
"""One token of so many is drawn (``sample_ratio`` 0.1), rounded down."""


def masked_chance(logits: Tensor, head: int) -> Tensor:
    """Probability of each token to be masked, which is that none of the draws meets it.

    A token's share of the draws is the Boltzmann distribution of the mask's probability at the temperature
    1 / (head + 1).

    Args:
        logits: (any shape, HW last) of the queries' masks at the resolution of the tokens.
        head: 0 for the masks before the first layer, i + 1 for those after layer i.

    Returns:
        the same shape, float32, 0..1.
    """
    share = ((head + 1) * logits.sigmoid()).softmax(-1)
    draws = logits.shape[-1] // SAMPLED
    return (1 - share) ** draws


def reset_rows(masked: Tensor) -> Tensor:
    """Unmask rows (any shape, HW last) that are masked as a whole: attention needs a token."""
    return masked & ~masked.all(-1, keepdim=True)

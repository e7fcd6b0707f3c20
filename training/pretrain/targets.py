"""What a hidden patch is compared with: its voxels, or the tokens that a visual tokenizer gives it."""

from __future__ import annotations

from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from vesal.networks.masked import PATCH, patch_shape

PIXELS = (4, 8, 8)
"""Means of a patch that are to be told (d, h, w): finer ones are noise mostly; as many at every degree."""
FLAT = 0.02
"""Standard deviation (images are -1..1) under which a patch counts as even: air is not worth a guess."""


class PatchTarget(Protocol):
    """What hidden patches are compared with."""

    outputs: int
    """Numbers that are told of each patch."""

    def loss(self, told: Tensor, image: Tensor, mask: Tensor, degree: int) -> Tensor:
        """Mean over the hidden patches.

        Args:
            told: (B, d, h, w, outputs) float.
            image: (B, 2, D, H, W) float32, whole.
            mask: (B, d, h, w) bool, hidden patches; at least one.
            degree: of anisotropy.
        """


class PixelTarget:
    """A patch's own voxels, standardised patch by patch: He et al. 2022 (MAE), section 4."""

    outputs = PIXELS[0] * PIXELS[1] * PIXELS[2]

    def loss(self, told: Tensor, image: Tensor, mask: Tensor, degree: int) -> Tensor:
        """Mean squared error; arguments as in ``PatchTarget``, what is told (B, d, h, w, outputs)."""
        wanted = patches_of(image[:, :1], degree)
        std, mean = torch.std_mean(wanted, -1, keepdim=True)
        wanted = (wanted - mean) / std.clamp_min(FLAT)
        return F.mse_loss(told[mask].float(), wanted[mask])


class Tokenizer(Protocol):
    """Gives every patch a distribution over a codebook."""

    def __call__(self, image: Tensor, degree: int) -> Tensor:
        """image (B, 1, D, H, W), -1..1 -> (B, V, d, h, w), sums of 1 over V."""


class TokenTarget:
    """The distribution over a tokenizer's codebook: SPAD-Nets, equation 3, as a cross-entropy."""

    def __init__(self, tokenizer: Tokenizer, outputs: int) -> None:
        """``outputs``: of its codebook."""
        self.tokenizer, self.outputs = tokenizer, outputs

    @torch.no_grad()
    def _tokens(self, image: Tensor, degree: int) -> Tensor:
        return self.tokenizer(image[:, :1], degree).movedim(1, -1)

    def loss(self, told: Tensor, image: Tensor, mask: Tensor, degree: int) -> Tensor:
        """Cross-entropy of what is told (B, d, h, w, V) relative to the tokenizer's distribution; arguments
        as in ``PatchTarget``.
        """
        wanted = self._tokens(image, degree)
        return -(wanted[mask] * F.log_softmax(told[mask].float(), -1)).sum(-1).mean()


def patches_of(image: Tensor, degree: int) -> Tensor:
    """Means of ``PIXELS`` parts of each patch: (B, 1, D, H, W) -> (B, d, h, w, 4 * 8 * 8).

    A patch of fewer than four slices repeats them.
    """
    depth = patch_shape(degree)[0]
    times = max(1, PIXELS[0] // depth)
    image = image.repeat_interleave(times, 2)
    means = F.avg_pool3d(image, (depth * times // PIXELS[0], PATCH // PIXELS[1], PATCH // PIXELS[2]))[:, 0]
    for axis, parts in zip((1, 3, 5), PIXELS, strict=True):
        means = means.unflatten(axis, (-1, parts))
    return means.permute(0, 1, 3, 5, 2, 4, 6).flatten(4)

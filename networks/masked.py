"""Masked image modelling (SPAD-Nets, section 4.4): patches are hidden, and the network says what they held.

A transformer gets a learnt embedding in place of a hidden patch's, as in the paper. The encoder of the
default network has no patch embedding, so hidden patches are replaced in its input by a learnt value; its
coarsest features are as many as there are patches.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vesal.networks.nano import IMAGE_CHANNELS, Nano, widths_of
from vesal.networks.spad import Anisotropy
from vesal.networks.spad_vit import SpadVit, SpadVitSizes, on_grid

PATCH = 16
"""Voxels of a patch along the in-plane axes; along a thick axis ``PATCH >> degree``."""
HIDDEN = 256
"""Of the head's one hidden layer."""


TINY_VIT = SpadVitSizes(IMAGE_CHANNELS - 1, 192, 512, 12, 3)
"""A transformer that two cores can pre-train: 7.0 million parameters."""


def patch_shape(degree: int) -> tuple[int, int, int]:
    """Voxels (d, h, w) of a patch of a view of this degree of anisotropy."""
    return max(1, PATCH >> degree), PATCH, PATCH


def spread(mask: Tensor, degree: int) -> Tensor:
    """A mask of patches (B, d, h, w) to one of voxels (B, 1, D, H, W)."""
    for axis, times in enumerate(patch_shape(degree), 1):
        mask = mask.repeat_interleave(times, axis)
    return mask[:, None]


class MaskedNano(nn.Module):
    """The default network's encoder, with a learnt value where its input is hidden."""

    channels: int

    def __init__(self, network: Nano) -> None:
        """``network``: of which the encoder is trained; its other parts are left as they are."""
        super().__init__()
        self.stem, self.stem_norm, self.down = network.stem, network.stem_norm, network.down
        self.deeper = network.deeper
        self.hidden = nn.Parameter(torch.zeros(IMAGE_CHANNELS - 1))
        self.channels = widths_of(network.state_dict())[-1]
        self._encode = network.encode

    def forward(self, image: Tensor, mask: Tensor, degree: int) -> Tensor:
        """image (B, 2, D, H, W) without the channel of spatial prompts, mask of patches (B, d, h, w) bool ->
        features (B, channels, d, h, w).
        """
        hidden = self.hidden.reshape(1, -1, 1, 1, 1)
        shown = torch.where(spread(mask, degree), hidden.to(image.dtype), image)
        levels = self._encode(torch.cat([shown, torch.zeros_like(shown[:, :1])], 1), degree)
        return levels[-1]


class MaskedVit(nn.Module):
    """SPAD-ViT, with a learnt embedding in place of a hidden patch's."""

    channels: int

    def __init__(self, network: SpadVit) -> None:
        super().__init__()
        self.network = network
        self.mask_token = nn.Parameter(torch.zeros(network.sizes.width))
        self.channels = network.sizes.width
        nn.init.trunc_normal_(self.mask_token, std=0.02)

    def forward(self, image: Tensor, mask: Tensor, degree: int) -> Tensor:
        """image (B, C, D, H, W), mask of patches (B, d, h, w) bool -> features (B, channels, d, h, w)."""
        patches, _ = self.network.embed(image, Anisotropy(degree))
        token = self.mask_token.reshape(1, -1, 1, 1, 1).to(patches.dtype)
        shown = torch.where(mask[:, None], token, patches)
        return on_grid(self.network.norm(self.network.hidden(shown)[1]), patches)


class MaskedModel(nn.Module):
    """An encoder and the head that says what each patch held: a perceptron with one hidden layer, as in the
    paper.
    """

    def __init__(self, encoder: MaskedNano | MaskedVit, outputs: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = nn.Sequential(nn.Linear(encoder.channels, HIDDEN), nn.GELU(), nn.Linear(HIDDEN, outputs))

    def forward(self, image: Tensor, mask: Tensor, degree: int) -> Tensor:
        """Features of every patch (B, C, d, h, w) -> what it held (B, d, h, w, outputs)."""
        features = self.encoder(image, mask, degree)
        found: Tensor = self.head(features.movedim(1, -1))
        return found

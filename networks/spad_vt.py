"""SPAD-VT: a visual tokenizer for volumes of every slice thickness (SPAD-Nets, Luo et al. 2023, section 4.3).

An encoder of spatially adaptive convolutions gives every patch a distribution over the tokens of a codebook,
a decoder reconstructs the volume from the tokens' expected embeddings. Patches have 16 voxels in plane, and
along depth 16 / 2^DA, at least one.

Strides 4, 2, 2 with layer norm and GELU, two k3s1 convolutions with group norm and leaky ReLU, and a codebook
of 1024 x 512 are as released; widths are free, and those of the decoder are ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vesal.networks.spad import Anisotropy, SpadConv, SpadTransposedConv

PATCH_TIMES = 4
"""Halvings of the plane: a token stands for 2^4 voxels a side."""
STRIDES = (4, 2, 2)
"""Of the encoder; the decoder undoes them in reverse."""
GROUPS, SLOPE = 8, 0.01
FIRST_BIAS, FIRST_LOGITS = 0.5, 2.0
"""Standard deviation of biases in front of layer norms, and about that of the logits of tokens, before
training."""
SMOOTHED = 2
"""k3s1 convolutions of the decoder at each resolution."""


@dataclass(frozen=True)
class VtSizes:
    """Sizes of a tokenizer; widths are multiples of 8."""

    channels: int = 1
    """Of the image."""
    widths: tuple[int, int, int] = (64, 128, 256)
    """Channels at 1/4, 1/8 and 1/16 of the plane."""
    codebook: int = 1024
    """Tokens (section 5.1)."""
    embedding: int = 512
    """Length of a token's embedding."""


class Tokenized(NamedTuple):
    """What the tokenizer makes of a volume."""

    probabilities: Tensor
    """(B, V, d, h, w): the soft token of every patch, a distribution over the codebook"""
    image: Tensor
    """(B, C, D, H, W): the reconstruction"""


def patch_dhw(degree: int) -> tuple[int, int, int]:
    """Voxels that one token stands for, at a degree of anisotropy of 0 or more."""
    return Anisotropy(degree).depth_stride_down(PATCH_TIMES), 1 << PATCH_TIMES, 1 << PATCH_TIMES


class ChannelNorm(nn.LayerNorm):
    """Layer norm over the channels of every voxel."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, D, H, W) -> same."""
        # Not movedim, whose -1 the export would keep.
        return super().forward(x.permute(0, 2, 3, 4, 1)).permute(0, 4, 1, 2, 3)


class Down(nn.Module):
    """Down-sampling convolution, layer norm, GELU."""

    def __init__(self, c_in: int, c_out: int, stride: int) -> None:
        super().__init__()
        self.conv, self.norm = SpadConv(c_in, c_out, stride, stride), ChannelNorm(c_out)
        # Without a bias the norm would hide how bright a patch is: all but its sign.
        nn.init.normal_(cast(nn.Parameter, self.conv.bias), std=FIRST_BIAS)

    def forward(self, x: Tensor, at: Anisotropy) -> tuple[Tensor, Anisotropy]:
        """(B, C, D, H, W) -> (B, C', D / depth stride, H / stride, W / stride), and where that stands."""
        x, at = self.conv(x, at)
        return F.gelu(self.norm(x)), at


class Smooth(nn.Module):
    """k3s1 convolution, group norm, leaky ReLU."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv, self.norm = SpadConv(width, width, 3), nn.GroupNorm(GROUPS, width)

    def forward(self, x: Tensor, at: Anisotropy) -> tuple[Tensor, Anisotropy]:
        """(B, C, D, H, W) -> same, and where that stands."""
        x, at = self.conv(x, at)
        return F.leaky_relu(self.norm(x), SLOPE), at


class VtEncoder(nn.Module):
    """A volume to the logits of its tokens."""

    def __init__(self, sizes: VtSizes) -> None:
        super().__init__()
        inputs = (sizes.channels, *sizes.widths[:-1])
        pairs = zip(inputs, sizes.widths, STRIDES, strict=True)
        self.down = nn.ModuleList(Down(c_in, c_out, stride) for c_in, c_out, stride in pairs)
        self.smooth = nn.ModuleList(Smooth(sizes.widths[-1]) for _ in range(2))
        self.to_tokens = nn.Conv3d(sizes.widths[-1], sizes.codebook, 1)
        # With torch's default all tokens begin nearly even, so that the decoder sees the same everywhere.
        nn.init.normal_(self.to_tokens.weight, std=FIRST_LOGITS * sizes.widths[-1] ** -0.5)

    def forward(self, x: Tensor, at: Anisotropy) -> tuple[Tensor, Anisotropy]:
        """(B, C, D, H, W) -> logits (B, V, d, h, w), and where they stand."""
        for layer in (*self.down, *self.smooth):
            x, at = layer(x, at)
        return self.to_tokens(x), at


class SoftCodebook(nn.Module):
    """The expected embedding of a soft token (equation 1): nothing is drawn, and gradients need no trick."""

    def __init__(self, sizes: VtSizes) -> None:
        super().__init__()
        self.embedding = nn.Parameter(torch.randn(sizes.codebook, sizes.embedding))

    def forward(self, probabilities: Tensor) -> Tensor:
        """(B, V, d, h, w) -> (B, E, d, h, w)."""
        return torch.einsum("bvdhw,ve->bedhw", probabilities, self.embedding)


class VtDecoder(nn.Module):
    """Embeddings of tokens to a volume: k3s1 and transposed convolutions (section 4.3).

    The last layer is a generalised up-sampling (section 4.2): a convolution at full resolution would take
    two thirds of a step's time.
    """

    def __init__(self, sizes: VtSizes) -> None:
        super().__init__()
        coarse_to_fine = sizes.widths[::-1]
        outputs = (*coarse_to_fine[1:], sizes.channels)
        self.first = nn.Conv3d(sizes.embedding, coarse_to_fine[0], 1)
        self.smooth = nn.ModuleList(
            nn.ModuleList(Smooth(width) for _ in range(SMOOTHED)) for width in coarse_to_fine
        )
        pairs = zip(coarse_to_fine, outputs, STRIDES[::-1], strict=True)
        self.up = nn.ModuleList(SpadTransposedConv(c_in, c_out, stride) for c_in, c_out, stride in pairs)
        nn.init.normal_(cast(nn.Parameter, self.last.weight), std=0.02)

    @property
    def last(self) -> SpadTransposedConv:
        """The layer that makes voxels."""
        return cast(SpadTransposedConv, self.up[-1])

    def forward(self, x: Tensor, at: Anisotropy) -> tuple[Tensor, Anisotropy]:
        """(B, E, d, h, w) -> (B, C, D, H, W), and where that stands: at full resolution."""
        x = self.first(x)
        for layers, up in zip(self.smooth, self.up, strict=True):
            for layer in (*cast(nn.ModuleList, layers), up):
                x, at = layer(x, at)
        return x, at


class SpadVt(nn.Module):
    """See the module's docstring."""

    def __init__(self, sizes: VtSizes | None = None) -> None:
        """``sizes``: None for those of ``VtSizes``."""
        super().__init__()
        self.sizes = sizes or VtSizes()
        self.encoder, self.codebook = VtEncoder(self.sizes), SoftCodebook(self.sizes)
        self.decoder = VtDecoder(self.sizes)

    def tokens(self, image: Tensor, degree: int) -> Tensor:
        """Soft tokens of a volume, which are what a masked image model predicts (section 4.4).

        Args:
            image: (B, C, D, H, W) float32, -1..1; sides are multiples of ``patch_dhw(degree)``.
            degree: degree of anisotropy, 0 or more.

        Returns:
            (B, V, d, h, w) probabilities over the codebook.
        """
        logits, _ = self.encoder(image, Anisotropy(degree))
        return logits.softmax(1)

    def reconstruct(self, probabilities: Tensor, degree: int) -> Tensor:
        """Soft tokens (B, V, d, h, w) of a volume of ``degree`` -> (B, C, D, H, W), about -1..1."""
        image, _ = self.decoder(self.codebook(probabilities), Anisotropy(degree, PATCH_TIMES))
        return image

    def forward(self, image: Tensor, degree: int) -> Tokenized:
        """image (B, C, D, H, W), see ``tokens`` -> its soft tokens and what can be seen of it in them."""
        probabilities = self.tokens(image, degree)
        return Tokenized(probabilities, self.reconstruct(probabilities, degree))


class Discriminator(nn.Module):
    """Tells real patches from reconstructed ones, with the layers of the tokenizer.

    The objective of VQGAN (Esser et al. 2021) has a convolutional one, of which the paper says no more.
    """

    def __init__(self, channels: int = 1, widths: tuple[int, ...] = (32, 64, 128)) -> None:
        super().__init__()
        inputs = (channels, *widths[:-1])
        self.down = nn.ModuleList(Down(a, b, 2) for a, b in zip(inputs, widths, strict=True))
        self.judge = nn.Conv3d(widths[-1], 1, 1)

    def forward(self, image: Tensor, degree: int) -> Tensor:
        """(B, C, D, H, W) -> logits of being real (B, 1, d, h, w), one for 8 x 8 voxels of the plane."""
        x, at = image, Anisotropy(degree)
        for layer in self.down:
            x, at = layer(x, at)
        judged: Tensor = self.judge(x)
        return judged

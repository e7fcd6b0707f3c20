"""SegVol's mask decoder (Du et al. 2024, section 3.1 and appendix B), as released.

Tokens of a prompt and voxels look at each other, two transposed convolutions bring the voxels to a quarter of
the window's height and width, and a mask is the product of its token with them. The product with the text is
added to it (appendix B has it multiplied; the released code adds).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from vesal.networks.two_way import TwoWayTransformer
from vesal.networks.volume_vit import Triple

MASKS = 4
"""Of which only the first is used: one mask a prompt."""
STEPS = 2
"""Each doubles all three axes."""


@dataclass(frozen=True)
class DecoderSizes:
    """Sizes of the decoder; the published ones are ``SEGVOL_DECODER``."""

    grid_dhw: Triple
    width: int
    middle: int
    """Channels after the first transposed convolution, and the second."""
    final: int
    inner: int
    cross: int
    """Inner width of the attentions between tokens and image."""
    depth: int
    quality_inner: int
    """Width of the head whose output is not used."""
    heads: int = 8
    """No tensor's shape tells it."""


SEGVOL_DECODER = DecoderSizes((8, 16, 16), 768, 192, 96, 2048, 384, 2, 256)


@dataclass(frozen=True, eq=False)
class Decoded:
    """What the plain form gives of N prompts, for comparison."""

    logits: Tensor
    """(N, 4d, 4h, 4w) of mask 0; d, h, w are those of the grid"""
    quality: Tensor
    """(N, 1), of mask 0; not used"""
    tokens: Tensor
    """(N, Q, C) of the transformer"""
    image: Tensor
    """(N, S, C) of the transformer"""
    upscaled: Tensor
    """(N, final, 4d, 4h, 4w)"""


class LayeredMlp(nn.Module):
    """Three layers with a ReLU between them."""

    def __init__(self, *widths: int) -> None:
        super().__init__()
        pairs = zip(widths[:-1], widths[1:], strict=True)
        self.layers = nn.ModuleList(nn.Linear(one, other) for one, other in pairs)

    def forward(self, x: Tensor) -> Tensor:
        """x (N, first width) -> (N, last width)."""
        *before, last = self.layers
        for layer in before:
            x = layer(x).relu()
        mapped: Tensor = last(x)
        return mapped


class MaskDecoder(nn.Module):
    """Tokens of prompts and an encoded window to masks."""

    def __init__(self, sizes: DecoderSizes = SEGVOL_DECODER) -> None:
        super().__init__()
        self.sizes = sizes
        width, middle, final = sizes.width, sizes.middle, sizes.final
        self.transformer = TwoWayTransformer(width, sizes.heads, sizes.inner, sizes.cross, sizes.depth)
        self.iou_token, self.mask_tokens = nn.Embedding(1, width), nn.Embedding(MASKS, width)
        d, h, w = sizes.grid_dhw
        self.output_upscaling = nn.Sequential(
            nn.ConvTranspose3d(width, middle, 2, 2),
            nn.LayerNorm((middle, 2 * d, 2 * h, 2 * w)),
            nn.GELU(),
            nn.ConvTranspose3d(middle, final, 2, 2),
            nn.GELU(),
        )
        self.output_hypernetworks_mlps = nn.ModuleList(
            LayeredMlp(width, width, width, final) for _ in range(MASKS)
        )
        self.iou_prediction_head = LayeredMlp(width, sizes.quality_inner, sizes.quality_inner, MASKS)
        self.txt_align_upscaled_embedding = nn.Linear(width, final)

    def all_tokens(self, sparse: Tensor) -> Tensor:
        """sparse (N, T, C) -> with the decoder's own before them, (N, 5 + T, C)."""
        own = torch.cat((self.iou_token.weight, self.mask_tokens.weight))
        return torch.cat((own.expand(sparse.shape[0], -1, -1), sparse), 1)

    def mask_vector(self, tokens: Tensor, text: Tensor, with_text: Tensor) -> Tensor:
        """What a voxel's logit is the product with: that of the mask and that of the text, whose sum it is.

        Args:
            tokens: (N, Q, C) of the transformer.
            text: (N, C).
            with_text: (N,) float32, 1 where the text counts, else 0.

        Returns:
            (N, final).
        """
        of_mask: Tensor = self.output_hypernetworks_mlps[0](tokens[:, 1])
        return of_mask + with_text[:, None] * self.txt_align_upscaled_embedding(text)

    def forward(
        self, image: Tensor, places: Tensor, sparse: Tensor, text: Tensor, with_text: Tensor
    ) -> Decoded:
        """Decode the plain way, as released.

        Args:
            image: (1, S, C), the dense prompt included.
            places: (1, S, C).
            sparse: (N, T, C).
            text: (N, C).
            with_text: (N,) float32, 1 where the text counts, else 0.
        """
        repeated = image.expand(sparse.shape[0], -1, -1)
        tokens, seen = self.transformer(self.all_tokens(sparse), repeated, places)
        upscaled: Tensor = self.output_upscaling(seen.transpose(1, 2).unflatten(2, self.sizes.grid_dhw))
        flat = upscaled.flatten(2)
        mask = self.output_hypernetworks_mlps[0](tokens[:, 1])[:, None] @ flat
        similarity = self.txt_align_upscaled_embedding(text)[:, None] @ flat
        logits = mask + with_text[:, None, None] * similarity
        quality = self.iou_prediction_head(tokens[:, 0])[:, :1]
        return Decoded(logits[:, 0].unflatten(1, upscaled.shape[2:]), quality, tokens, seen, upscaled)

    def decode_shared(
        self, image: Tensor, places: Tensor, sparse: Tensor, text: Tensor, with_text: Tensor
    ) -> Tensor:
        """Logits of ``forward`` up to rounding, (N, 4d, 4h, 4w), of an image that is not repeated.

        A transposed convolution whose step is its width is a product with each voxel by itself. Channels stay
        last, and only the logits are put into the order of their voxels.
        """
        tokens, seen = self.transformer(self.all_tokens(sparse), image, places, plain=False)
        first, norm, _, second, _ = self.output_upscaling
        x = _spread(cast(nn.ConvTranspose3d, first), seen)
        x = nn.functional.gelu(self._normalised(cast(nn.LayerNorm, norm), x))
        x = nn.functional.gelu(_spread(cast(nn.ConvTranspose3d, second), x.flatten(1, 2)))
        vector = self.mask_vector(tokens, text, with_text)
        return self._in_order(x.flatten(1, 2) @ vector[..., None])

    def _normalised(self, norm: nn.LayerNorm, x: Tensor) -> Tensor:
        """The norm over channels and voxels together, of x (N, S, 8, middle)."""
        # Axis by axis: sums of 3 million numbers in a row would lose digits.
        centred = x - x.mean(-1, keepdim=True).mean((1, 2), keepdim=True)
        spread = (centred * centred).mean(-1, keepdim=True).mean((1, 2), keepdim=True)
        weight, bias = (self._by_patch(given) for given in (norm.weight, norm.bias))
        return centred * (spread + norm.eps).rsqrt() * weight + bias

    def _by_patch(self, given: Tensor) -> Tensor:
        """(middle, 2d, 2h, 2w) -> (S, 8, middle)."""
        for axis in (2, 1, 0):
            given = given.unflatten(axis + 1, (self.sizes.grid_dhw[axis], 2))
        return given.permute(1, 3, 5, 2, 4, 6, 0).flatten(3, 5).flatten(0, 2)

    def _in_order(self, logits: Tensor) -> Tensor:
        """(N, S * 8 * 8, 1), voxels of voxels of patches -> (N, 4d, 4h, 4w)."""
        d, h, w = self.sizes.grid_dhw
        halves = (2, 2, 2) * STEPS
        split = logits[..., 0].unflatten(1, (d, h, w, *halves))
        return split.permute(0, 1, 4, 7, 2, 5, 8, 3, 6, 9).flatten(7, 9).flatten(4, 6).flatten(1, 3)


def _spread(convolution: nn.ConvTranspose3d, x: Tensor) -> Tensor:
    """A transposed convolution of width and step 2, of x (N, S, in) -> (N, S, 8, out)."""
    kernel = convolution.weight.permute(0, 2, 3, 4, 1).flatten(1)
    bias = cast(Tensor, convolution.bias).repeat(8)
    return (x @ kernel + bias).unflatten(2, (8, -1))

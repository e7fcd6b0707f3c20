"""Pixel decoder: a transformer on the coarsest features, then a pyramid back to stride 4.

Architecture: the pixel decoder of MaskFormer with a transformer encoder (Cheng et al. 2021, section 4.1), as
BiomedParse-V has it as released. Parameter names are the published ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from torch import Tensor, nn
from torch.nn import functional

from vesal.networks.query_decoder import CrossAttention
from vesal.networks.sat import count_names
from vesal.networks.sine_positions import sine_positions

GROUPS = 32
"""Of every group norm."""
N_SCALES = 3
"""Resolutions that the mask decoder attends to, coarsest first. The paper names strides 16, 8 and 4; as
released they are 32, 16 and 8."""


@dataclass(frozen=True)
class PixelSizes:
    """Sizes of a pixel decoder; those of BiomedParse-V are ``PIXEL_LARGE``."""

    inputs: tuple[int, ...]
    """Channels of the features of every resolution, finest first."""
    width: int
    """Channels inside, and of the features for the mask decoder."""
    masks: int
    """Channels of the mask features."""
    layers: int
    """Of the transformer."""
    feedforward: int
    heads: int
    """No tensor's shape tells it."""


PIXEL_LARGE = PixelSizes((192, 384, 768, 1536), 512, 512, 6, 2048, 8)


class NormedConv(nn.Conv2d):
    """A convolution without bias whose group norm is named as its part, as published."""

    def __init__(self, channels: int, width: int, kernel: int) -> None:
        super().__init__(channels, width, kernel, padding=kernel // 2, bias=False)
        self.norm = nn.GroupNorm(GROUPS, width)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, channels, h, w) -> (B, width, h, w)."""
        normed: Tensor = self.norm(super().forward(x))
        return normed


class EncoderLayer(nn.Module):
    """Post-norm self-attention with positions in query and key, then a ReLU feed-forward block."""

    def __init__(self, width: int, heads: int, inner: int) -> None:
        super().__init__()
        self.self_attn = CrossAttention(width, heads)
        self.linear1, self.linear2 = nn.Linear(width, inner), nn.Linear(inner, width)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)

    def forward(self, x: Tensor, positions: Tensor) -> Tensor:
        """x (B, T, C), positions (T, C) -> (B, T, C)."""
        placed = x + positions
        x = self.norm1(x + self.self_attn(placed, placed, x))
        encoded: Tensor = self.norm2(x + self.linear2(functional.relu(self.linear1(x))))
        return encoded


class Transformer(nn.Module):
    """The encoder layers, named as published, without a norm at the end."""

    def __init__(self, sizes: PixelSizes) -> None:
        super().__init__()
        layers = (EncoderLayer(sizes.width, sizes.heads, sizes.feedforward) for _ in range(sizes.layers))
        self.encoder = nn.ModuleDict({"layers": nn.ModuleList(layers)})

    def forward(self, x: Tensor) -> Tensor:
        """x (B, C, h, w) -> (B, C, h, w)."""
        _, channels, height, width = x.shape
        positions = sine_positions(height, width, channels).to(x)
        tokens = x.flatten(2).transpose(1, 2)
        for layer in self.encoder["layers"].children():
            tokens = layer(tokens, positions)
        return tokens.transpose(1, 2).reshape(x.shape)


class PixelDecoder(nn.Module):
    """Features of the backbone to mask features and to what the mask decoder attends to."""

    def __init__(self, sizes: PixelSizes = PIXEL_LARGE) -> None:
        super().__init__()
        self.sizes = sizes
        *lateral, coarsest = sizes.inputs
        self.input_proj = nn.Conv2d(coarsest, sizes.width, 1)
        self.transformer = Transformer(sizes)
        # Numbered from the finest resolution, from 1.
        for number, channels in enumerate(lateral, 1):
            self.add_module(f"adapter_{number}", NormedConv(channels, sizes.width, 1))
        for number in range(1, len(sizes.inputs) + 1):
            self.add_module(f"layer_{number}", NormedConv(sizes.width, sizes.width, 3))
        self.mask_features = nn.Conv2d(sizes.width, sizes.masks, 3, padding=1)

    def slice_attentions(self) -> list[CrossAttention]:
        """Those that can look at other slices: all of the transformer."""
        return [
            cast(EncoderLayer, layer).self_attn for layer in self.transformer.encoder["layers"].children()
        ]

    def forward(self, features: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Decode a pyramid.

        Args:
            features: (B, C, h, w) of every resolution, finest first.

        Returns:
            mask features (B, masks, h, w) of the finest resolution, and the ``N_SCALES`` coarsest results
            (B, width, h, w), coarsest first.
        """
        results = self.pyramid(features)
        return self.mask_features(results[-1]), results[:N_SCALES]

    def pyramid(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Features (B, C, h, w), finest first -> results (B, width, h, w), coarsest first."""
        y = self.transformer(self.input_proj(features[-1]))
        results = [functional.relu(getattr(self, f"layer_{len(features)}")(y))]
        for number in range(len(features) - 1, 0, -1):
            lateral = getattr(self, f"adapter_{number}")(features[number - 1])
            y = lateral + functional.interpolate(results[-1], lateral.shape[2:], mode="nearest")
            results.append(functional.relu(getattr(self, f"layer_{number}")(y)))
        return results


def pixel_sizes_of(shapes: Mapping[str, tuple[int, ...]], heads: int) -> PixelSizes:
    """Sizes of a pixel decoder from the shapes of its tensors, named as in these modules.

    Raises:
        KeyError: a tensor that tells a size is not there.
    """
    width, coarsest = shapes["input_proj.weight"][:2]
    lateral: list[int] = []
    while (name := f"adapter_{len(lateral) + 1}.weight") in shapes:
        lateral.append(shapes[name][1])
    return PixelSizes(
        inputs=(*lateral, coarsest),
        width=width,
        masks=shapes["mask_features.weight"][0],
        layers=count_names(shapes, "transformer.encoder.layers.{}.linear1.weight"),
        feedforward=shapes["transformer.encoder.layers.0.linear1.weight"][0],
        heads=heads,
    )

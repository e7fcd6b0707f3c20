"""SAT (Zhao et al. 2025): a U-Net whose features per voxel are multiplied with text queries, one mask each.

Facts: ``docs/sat.md`` 1 to 5 and 9; checked against recorded outputs of the published code. Axes are
(h, w, d) as there, intensities raw 0..255.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vesal.networks.names import count_names as count_names
from vesal.networks.query_decoder import GridPositions, QueryDecoder, pool_to_tokens
from vesal.networks.unet import UNet


@dataclass(frozen=True)
class Sizes:
    """Widths of a network of this kind; the published ones are ``SAT_NANO``, ``SAT_PRO`` and ``MEDAL_S``."""

    channels: int
    """Of the U-Net's input."""
    features: tuple[int, ...]
    """Channels of every resolution, finest first."""
    convs: int
    """Convolutions per stage."""
    query: int
    """Width of text queries and tokens."""
    projection: int
    """Inner width of the projection from pooled features to tokens."""
    mask_hidden: int
    """Inner width of the projection from decoded queries to mask embeddings."""
    feedforward: int
    layers: int
    heads: int = 8
    """No tensor's shape tells it: it is 8 in all published networks."""

    @property
    def side_multiple(self) -> int:
        """Voxels that every side of a window must be a multiple of."""
        return int(2 ** (len(self.features) - 1))


SAT_NANO = Sizes(3, (64, 64, 128, 256, 512, 768), 2, 768, 768, 256, 2048, 6)
SAT_PRO = Sizes(3, (128, 128, 256, 512, 1024, 1536), 3, 768, 1536, 384, 2048, 6)


class Sat(nn.Module):
    """Text-prompted segmentation network without spatial prompts."""

    def __init__(self, sizes: Sizes = SAT_NANO) -> None:
        super().__init__()
        self.sizes = sizes
        self.backbone = UNet(sizes.channels, sizes.features, sizes.convs)
        self.projection_layer = nn.Sequential(
            nn.Linear(sum(sizes.features), sizes.projection),
            nn.GELU(),
            nn.Linear(sizes.projection, sizes.query),
            nn.GELU(),  # the recorded tokens have it
        )
        self.positions = GridPositions(sizes.query)
        self.transformer_decoder = QueryDecoder(sizes.query, sizes.heads, sizes.feedforward, sizes.layers)
        self.mask_embed_proj = nn.Sequential(
            nn.Linear(sizes.query, sizes.mask_hidden),
            nn.GELU(),
            nn.Linear(sizes.mask_hidden, sizes.features[0]),
            nn.GELU(),
        )

    def encode(self, channels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Image encoder: what does not depend on the queries.

        Args:
            channels: (B, sizes.channels, h, w, d) float32.

        Returns:
            features per voxel (B, C, h, w, d), tokens (B, T, E) in (h, w, d) order, positions (T, E).
        """
        pixel, levels = self.backbone(channels)
        pooled = pool_to_tokens(levels)
        tokens = self.projection_layer(pooled.flatten(2).transpose(1, 2))
        return pixel, tokens, self.positions(pooled)

    def embed_masks(self, tokens: Tensor, positions: Tensor, queries: Tensor) -> Tensor:
        """tokens (B, T, E), positions (T, E), text queries (B, N, E) -> mask embeddings (B, N, C)."""
        embedded: Tensor = self.mask_embed_proj(self.transformer_decoder(queries, tokens, positions))
        return embedded

    def forward(self, image: Tensor, queries: Tensor) -> Tensor:
        """Segment one window.

        Args:
            image: (B, 1, h, w, d) float32, raw 0..255, sides multiples of ``sizes.side_multiple``.
            queries: (B, N, E) float32 of the text encoder.

        Returns:
            logits (B, N, h, w, d).
        """
        pixel, tokens, positions = self.encode(image.expand(-1, self.sizes.channels, -1, -1, -1))
        return mask_logits(self.embed_masks(tokens, positions, queries), pixel)


def mask_logits(masks: Tensor, pixel: Tensor) -> Tensor:
    """masks (B, N, C) times features per voxel (B, C, h, w, d) -> logits (B, N, h, w, d)."""
    return torch.einsum("bnc,bchwd->bnhwd", masks, pixel)


def sizes_of(shapes: Mapping[str, tuple[int, ...]]) -> Sizes:
    """Widths of a network from the shapes of its tensors, named as in these modules.

    Raises:
        KeyError: a tensor that tells a width is not there.
    """
    stages = count_names(shapes, "backbone.encoder.stages.{}.0.convs.0.conv.weight")
    return Sizes(
        channels=shapes["backbone.encoder.stages.0.0.convs.0.conv.weight"][1],
        features=tuple(
            shapes[f"backbone.encoder.stages.{i}.0.convs.0.conv.weight"][0] for i in range(stages)
        ),
        convs=count_names(shapes, "backbone.encoder.stages.0.0.convs.{}.conv.weight"),
        query=shapes["projection_layer.2.weight"][0],
        projection=shapes["projection_layer.0.weight"][0],
        mask_hidden=shapes["mask_embed_proj.0.weight"][0],
        feedforward=shapes["transformer_decoder.layers.0.linear1.weight"][0],
        layers=count_names(shapes, "transformer_decoder.layers.{}.linear1.weight"),
    )

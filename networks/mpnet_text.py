"""The text encoder of Medal S and SAT: an MPNet, mean pooling, two dense layers, a vector for the modality.

Architecture: MPNet (Song et al. 2020) with the relative positions of T5 (Raffel et al. 2020, section 2.1).
Facts: ``docs/checkpoints.md`` 11 to 15; checked against recorded outputs of the published code. Parameter
names are the published ones.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from vesal.networks.sat import count_names

NORM_EPSILON = 1e-5
PADDING_ID = 1
"""MPNet's own padding token, without a position of its own. The published code pads with 0 instead."""
MAX_DISTANCE = 128
"""Distance from which all tokens count as equally far (T5's default)."""


@dataclass(frozen=True)
class TextSizes:
    """Sizes of the encoder; the published ones are ``BIOLORD``."""

    vocabulary: int
    positions: int
    width: int
    inner: int
    layers: int
    heads: int
    buckets: int
    """Of relative positions."""
    projected: int
    """Width of the result."""
    modalities: int


BIOLORD = TextSizes(30527, 514, 768, 3072, 12, 12, 32, 768, 5)


class SelfAttention(nn.Module):
    """Self-attention; names as inside the published ``attention.attn``."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q, self.k, self.v, self.o = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        """x (B, L, width), bias (B, heads, L, L) added to the scores -> (B, L, width)."""
        q, k, v = (
            layer(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for layer in (self.q, self.k, self.v)
        )
        attention = (q @ k.transpose(2, 3) * (q.shape[-1] ** -0.5) + bias).softmax(-1)
        return self.o((attention @ v).transpose(1, 2).flatten(2))


class Attention(nn.Module):
    """Self-attention with shortcut and norm."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attn = SelfAttention(width, heads)
        self.LayerNorm = nn.LayerNorm(width, NORM_EPSILON)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        """x (B, L, width), bias (B, heads, L, L) -> (B, L, width)."""
        return self.LayerNorm(x + self.attn(x, bias))


class Output(nn.Module):
    """Second dense layer of the feed-forward block, with shortcut and norm."""

    def __init__(self, inner: int, width: int) -> None:
        super().__init__()
        self.dense = nn.Linear(inner, width)
        self.LayerNorm = nn.LayerNorm(width, NORM_EPSILON)

    def forward(self, hidden: Tensor, x: Tensor) -> Tensor:
        """hidden (B, L, inner), shortcut x (B, L, width) -> (B, L, width)."""
        return self.LayerNorm(x + self.dense(hidden))


class Layer(nn.Module):
    """One post-norm transformer layer."""

    def __init__(self, sizes: TextSizes) -> None:
        super().__init__()
        self.attention = Attention(sizes.width, sizes.heads)
        self.intermediate = nn.ModuleDict({"dense": nn.Linear(sizes.width, sizes.inner)})
        self.output = Output(sizes.inner, sizes.width)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        """x (B, L, width), bias (B, heads, L, L) -> (B, L, width)."""
        x = self.attention(x, bias)
        return self.output(functional.gelu(self.intermediate["dense"](x)), x)


class Embeddings(nn.Module):
    """Words and absolute positions."""

    def __init__(self, sizes: TextSizes) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(sizes.vocabulary, sizes.width)
        self.position_embeddings = nn.Embedding(sizes.positions, sizes.width)
        self.LayerNorm = nn.LayerNorm(sizes.width, NORM_EPSILON)

    def forward(self, ids: Tensor) -> Tensor:
        """ids (B, L) int64 -> (B, L, width)."""
        is_token = (ids != PADDING_ID).long()
        positions = is_token.cumsum(1) * is_token + PADDING_ID
        return self.LayerNorm(self.word_embeddings(ids) + self.position_embeddings(positions))


class Layers(nn.Module):
    """All layers, with one bias of relative positions for all."""

    bucket: Tensor

    def __init__(self, sizes: TextSizes) -> None:
        super().__init__()
        self.layer = nn.ModuleList(Layer(sizes) for _ in range(sizes.layers))
        self.relative_attention_bias = nn.Embedding(sizes.buckets, sizes.heads)
        self.positions = sizes.positions
        self.register_buffer("bucket", relative_buckets(sizes.positions, sizes.buckets), persistent=False)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """x (B, L, width), mask (B, L) int64 -> (B, L, width)."""
        # Counted instead of made from a shape, so that the exported graph follows the length of the sentence.
        position = torch.ones_like(mask[0]).long().cumsum(0)
        bucket = self.bucket[position[None, :] - position[:, None] + self.positions - 1]
        # -1e4 survives half precision and still empties the softmax.
        masked = ((1.0 - mask.float()) * -1e4)[:, None, None, :]
        bias = self.relative_attention_bias(bucket).permute(2, 0, 1)[None] + masked
        for layer in self.layer:
            x = layer(x, bias)
        return x


class MPNet(nn.Module):
    """Embeddings and all layers."""

    def __init__(self, sizes: TextSizes) -> None:
        super().__init__()
        self.embeddings = Embeddings(sizes)
        self.encoder = Layers(sizes)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """ids and mask (B, L) int64 -> (B, L, width)."""
        encoded: Tensor = self.encoder(self.embeddings(ids), mask)
        return encoded


class MPNetText(nn.Module):
    """Sentences, as token ids, to the queries of a segmentation network."""

    def __init__(self, sizes: TextSizes = BIOLORD) -> None:
        super().__init__()
        self.text_tower = nn.ModuleDict({"biolord": MPNet(sizes)})
        self.projection_layer = nn.Sequential(
            nn.Linear(sizes.width, sizes.projected), nn.GELU(), nn.Linear(sizes.projected, sizes.projected)
        )
        self.modality_embed = nn.Embedding(sizes.modalities, sizes.projected)

    def pooled(self, ids: Tensor, mask: Tensor) -> Tensor:
        """ids and mask (B, L) int64, at least one set in every row -> mean of the tokens (B, width)."""
        encoded = self.text_tower["biolord"](ids, mask)
        weight = mask.to(encoded.dtype)[:, :, None]
        return (encoded * weight).sum(1) / weight.sum(1)

    def encode(self, ids: Tensor, mask: Tensor) -> Tensor:
        """ids and mask (B, L) int64 -> text part of the query (B, projected), without the modality."""
        projected: Tensor = self.projection_layer(self.pooled(ids, mask))
        return projected

    def forward(self, ids: Tensor, mask: Tensor, modality: Tensor) -> Tensor:
        """Queries of sentences.

        Args:
            ids: (B, L) int64, L at most ``positions - 2``.
            mask: (B, L) int64, 1 for a token, 0 for padding; at least one token in every row.
            modality: (B,) int64: CT 0, MR 1, US 2, PET 3, Microscopy 4.

        Returns:
            (B, projected) float32, not normalised.
        """
        return self.encode(ids, mask) + self.modality_embed(modality)


def relative_buckets(positions: int, count: int) -> Tensor:
    """Bucket of every distance key - query, (2 * positions - 1,) int64, from ``1 - positions`` on.

    Half of the buckets is for keys behind the query; of each half, the first half holds one distance each and
    the rest grows logarithmically up to ``MAX_DISTANCE`` (T5, section 2.1).
    """
    distance = torch.arange(1 - positions, positions)
    half = count // 2
    exact = half // 2
    absolute = distance.abs()
    steps = torch.log(absolute.clamp_min(1).float() / exact) / math.log(MAX_DISTANCE / exact) * (half - exact)
    logarithmic = (exact + steps.long()).clamp_max(half - 1)
    return torch.where(absolute < exact, absolute, logarithmic) + half * (distance > 0)


def text_sizes_of(shapes: Mapping[str, tuple[int, ...]]) -> TextSizes:
    """Sizes of an encoder from the shapes of its tensors, named as in these modules.

    Raises:
        KeyError: a tensor that tells a width is not there.
    """
    tower = "text_tower.biolord."
    words = shapes[f"{tower}embeddings.word_embeddings.weight"]
    bias = shapes[f"{tower}encoder.relative_attention_bias.weight"]
    return TextSizes(
        vocabulary=words[0],
        positions=shapes[f"{tower}embeddings.position_embeddings.weight"][0],
        width=words[1],
        inner=shapes[f"{tower}encoder.layer.0.intermediate.dense.weight"][0],
        layers=count_names(shapes, tower + "encoder.layer.{}.output.dense.weight"),
        heads=bias[1],
        buckets=bias[0],
        projected=shapes["projection_layer.2.weight"][0],
        modalities=shapes["modality_embed.weight"][0],
    )

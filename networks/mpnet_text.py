"""The text encoder of Medal S and SAT: an MPNet, mean pooling, two dense layers, a vector for the modality.

Architecture: MPNet (Song et al. 2020) with the relative positions of T5 (Raffel et al. 2020, section 2.1).
Facts: ``shared/reference/checkpoints.md`` (text encoder architecture), ``text_encoder_tensors.txt``; checked
against ``shared/fixtures/medals/text_tiny``. Parameter names are the published ones.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from vesal.networks.sat import counted

NORM_EPSILON = 1e-5
PADDING_ID = 1
"""MPNet's own padding token, without a position of its own. The published code pads with 0 instead."""
FARTHEST = 128
"""Distance from which all tokens count as equally far (T5's default)."""


@dataclass(frozen=True)
class TextSizes:
    """Widths of the encoder; the published ones are ``BIOLORD``."""

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
    """Names of the layers inside ``attention.attn``."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q, self.k, self.v, self.o = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        q, k, v = (
            layer(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for layer in (self.q, self.k, self.v)
        )
        attention = (q @ k.transpose(2, 3) * (q.shape[-1] ** -0.5) + bias).softmax(-1)
        return self.o((attention @ v).transpose(1, 2).flatten(2))


class Attention(nn.Module):
    """Attention, added and normed."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attn = SelfAttention(width, heads)
        self.LayerNorm = nn.LayerNorm(width, NORM_EPSILON)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        return self.LayerNorm(x + self.attn(x, bias))


class Output(nn.Module):
    """Second dense layer of the feed-forward block, added and normed."""

    def __init__(self, inner: int, width: int) -> None:
        super().__init__()
        self.dense = nn.Linear(inner, width)
        self.LayerNorm = nn.LayerNorm(width, NORM_EPSILON)

    def forward(self, hidden: Tensor, x: Tensor) -> Tensor:
        return self.LayerNorm(x + self.dense(hidden))


class Layer(nn.Module):
    """One post-norm transformer layer."""

    def __init__(self, sizes: TextSizes) -> None:
        super().__init__()
        self.attention = Attention(sizes.width, sizes.heads)
        self.intermediate = nn.ModuleDict({"dense": nn.Linear(sizes.width, sizes.inner)})
        self.output = Output(sizes.inner, sizes.width)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
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
        counted_ids = (ids != PADDING_ID).long()
        places = counted_ids.cumsum(1) * counted_ids + PADDING_ID
        return self.LayerNorm(self.word_embeddings(ids) + self.position_embeddings(places))


class Layers(nn.Module):
    """All layers, with one bias of relative positions for all."""

    bucket: Tensor

    def __init__(self, sizes: TextSizes) -> None:
        super().__init__()
        self.layer = nn.ModuleList(Layer(sizes) for _ in range(sizes.layers))
        self.relative_attention_bias = nn.Embedding(sizes.buckets, sizes.heads)
        self.positions = sizes.positions
        self.register_buffer("bucket", buckets(sizes.positions, sizes.buckets), persistent=False)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        # Counted instead of made from a shape, so that the exported graph follows the length of the sentence.
        place = torch.ones_like(mask[0]).long().cumsum(0)
        near = self.bucket[place[None, :] - place[:, None] + self.positions - 1]
        # -1e4 survives half precision and still empties the softmax.
        hidden = ((1.0 - mask.float()) * -1e4)[:, None, None, :]
        bias = self.relative_attention_bias(near).permute(2, 0, 1)[None] + hidden
        for layer in self.layer:
            x = layer(x, bias)
        return x


class MPNet(nn.Module):
    """ids and mask (B, L) int64 -> (B, L, width)."""

    def __init__(self, sizes: TextSizes) -> None:
        super().__init__()
        self.embeddings = Embeddings(sizes)
        self.encoder = Layers(sizes)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
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
        """Mean (B, width) of the encoded tokens; ids and mask (B, L) int64, in each row one that counts."""
        encoded = self.text_tower["biolord"](ids, mask)
        weight = mask.to(encoded.dtype)[:, :, None]
        return (encoded * weight).sum(1) / weight.sum(1)

    def encode(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Text part of the query (B, projected), before the modality is added."""
        projected: Tensor = self.projection_layer(self.pooled(ids, mask))
        return projected

    def forward(self, ids: Tensor, mask: Tensor, modality: Tensor) -> Tensor:
        """Queries of sentences.

        Args:
            ids: (B, L) int64, L at most ``positions - 2``; see ``weights.convert.tokens``.
            mask: (B, L) int64, 1 where a token counts, in every row at least once.
            modality: (B,) int64: CT 0, MR 1, US 2, PET 3, Microscopy 4.

        Returns:
            (B, projected) float32, not normalised.
        """
        return self.encode(ids, mask) + self.modality_embed(modality)


def buckets(positions: int, count: int) -> Tensor:
    """Bucket (2 * positions - 1,) int64 of every distance key - query, from ``1 - positions`` on.

    Half of the buckets is for keys behind the query; of each half, the first half holds one distance each and
    the rest grows logarithmically up to ``FARTHEST`` (T5, section 2.1).
    """
    distance = torch.arange(1 - positions, positions)
    half = count // 2
    exact = half // 2
    near = distance.abs()
    steps = torch.log(near.clamp_min(1).float() / exact) / math.log(FARTHEST / exact) * (half - exact)
    far = (exact + steps.long()).clamp_max(half - 1)
    return torch.where(near < exact, near, far) + half * (distance > 0)


def text_sizes_of(shapes: Mapping[str, tuple[int, ...]]) -> TextSizes:
    """Read the widths out of the shapes of the tensors, named as in these modules.

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
        layers=counted(shapes, tower + "encoder.layer.{}.output.dense.weight"),
        heads=bias[1],
        buckets=bias[0],
        projected=shapes["projection_layer.2.weight"][0],
        modalities=shapes["modality_embed.weight"][0],
    )

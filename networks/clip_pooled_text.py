"""CLIP's text encoder (Radford et al. 2021, section 2.4) under the names of Hugging Face's transformers.

One vector a sentence: the last norm's output at the first end mark, without CLIP's projection. As SegVol has
it as released: norms with CLIP's own epsilon, queries, keys and values projected apart.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn

from vesal.networks.clip_text import ClipSizes, QuickGelu
from vesal.networks.sat import count_names

NORM_EPSILON = 1e-5


class ClipAttention(nn.Module):
    """Causal self-attention."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x: Tensor, later: Tensor) -> Tensor:
        """x (B, L, width), later (L, L) bool, True for a key behind the query -> (B, L, width)."""
        q, k, v = (
            project(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for project in (self.q_proj, self.k_proj, self.v_proj)
        )
        scores = (q * (q.shape[-1] ** -0.5) @ k.transpose(2, 3)).masked_fill(later, float("-inf"))
        attended: Tensor = self.out_proj((scores.softmax(-1) @ v).transpose(1, 2).flatten(2))
        return attended


class ClipLayer(nn.Module):
    """Pre-norm self-attention, then a feed-forward block, both with a shortcut."""

    def __init__(self, sizes: ClipSizes) -> None:
        super().__init__()
        self.self_attn = ClipAttention(sizes.width, sizes.heads)
        self.layer_norm1, self.layer_norm2 = (nn.LayerNorm(sizes.width, NORM_EPSILON) for _ in range(2))
        self.mlp = nn.Sequential(
            OrderedDict(
                fc1=nn.Linear(sizes.width, sizes.inner),
                gelu=QuickGelu(),
                fc2=nn.Linear(sizes.inner, sizes.width),
            )
        )

    def forward(self, x: Tensor, later: Tensor) -> Tensor:
        """x (B, L, width), later (L, L) bool as in ``ClipAttention`` -> (B, L, width)."""
        x = x + self.self_attn(self.layer_norm1(x), later)
        encoded: Tensor = x + self.mlp(self.layer_norm2(x))
        return encoded


class ClipEmbeddings(nn.Module):
    """Token ids to vectors with their place."""

    def __init__(self, sizes: ClipSizes) -> None:
        super().__init__()
        self.token_embedding = nn.Embedding(sizes.vocabulary, sizes.width)
        self.position_embedding = nn.Embedding(sizes.context, sizes.width)

    def forward(self, ids: Tensor) -> Tensor:
        """ids (B, L) int64, L at most the context -> (B, L, width)."""
        embedded: Tensor = self.token_embedding(ids) + self.position_embedding.weight[: ids.shape[1]]
        return embedded


class ClipTextTransformer(nn.Module):
    """Token ids to one vector a sentence. Padding is not masked: tokens see only what is before them."""

    later: Tensor

    def __init__(self, sizes: ClipSizes) -> None:
        super().__init__()
        self.embeddings = ClipEmbeddings(sizes)
        self.encoder = nn.ModuleDict({"layers": nn.ModuleList(ClipLayer(sizes) for _ in range(sizes.layers))})
        self.final_layer_norm = nn.LayerNorm(sizes.width, NORM_EPSILON)
        self.end = sizes.vocabulary - 1
        later = torch.ones(sizes.context, sizes.context, dtype=torch.bool).triu(1)
        self.register_buffer("later", later, persistent=False)

    def forward(self, ids: Tensor) -> Tensor:
        """ids (B, L) int64, with the end mark, which is the last of the vocabulary -> (B, width)."""
        length = ids.shape[1]
        x = self.embeddings(ids)
        for layer in cast(nn.ModuleList, self.encoder["layers"]):
            x = layer(x, self.later[:length, :length])
        # The first of equal ones in torch and in ONNX: of several end marks, which pad, the first counts.
        first = (ids == self.end).int().argmax(1)
        at_end = x.gather(1, first[:, None, None].expand(-1, 1, x.shape[2]))[:, 0]
        pooled: Tensor = self.final_layer_norm(at_end)
        return pooled


def pooled_sizes_of(shapes: Mapping[str, tuple[int, ...]], heads: int = 8) -> ClipSizes:
    """Sizes of an encoder from the shapes of its tensors, named as in these modules.

    Raises:
        KeyError: a tensor that tells a size is not there.
    """
    vocabulary, width = shapes["embeddings.token_embedding.weight"]
    return ClipSizes(
        vocabulary=vocabulary,
        context=shapes["embeddings.position_embedding.weight"][0],
        width=width,
        inner=shapes["encoder.layers.0.mlp.fc1.weight"][0],
        layers=count_names(shapes, "encoder.layers.{}.layer_norm1.weight"),
        heads=heads,
    )

"""Query decoder of Medal S and SAT: text queries attend to pooled image features, without self-attention.

Facts: ``docs/medal_s.md`` 13, ``docs/checkpoints.md`` 5 and 6, and the section on the query decoder in SAT
(Zhao et al. 2025). Queries do not see each other, so their number is free.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from vesal.inference.data.cross_slice import NO_CROSS_SLICE, CrossSlice
from vesal.networks.cross_slice import across_slices

TOKEN_SIDE = 32
"""Voxels a side that one token stands for: the coarsest resolution of six."""
LONGEST_AXIS = 64
"""Tokens along one axis that positions are stored for: windows of up to 2048 voxels a side."""
PERIOD = 10000.0
"""Base of the sine positions (Vaswani et al. 2017, section 3.5)."""


class GridPositions(nn.Module):
    """Sine positions of a grid of tokens: a third of the channels for each axis, sine and cosine alternating.

    ``axes[k]`` says which axis of the grid the k-th third counts along; the published order is (h, w, d).
    """

    table: Tensor

    def __init__(self, width: int, axes: Sequence[int] = (0, 1, 2)) -> None:
        super().__init__()
        self.width, self.axes = width, tuple(axes)
        third = 2 * -(-width // 6)
        rate = PERIOD ** (-torch.arange(0, third, 2, dtype=torch.float64) / third)
        angle = torch.arange(LONGEST_AXIS, dtype=torch.float64)[:, None] * rate
        table = torch.stack([angle.sin(), angle.cos()], -1).flatten(1).float()
        # Not in the published files: it follows from the width.
        self.register_buffer("table", table, persistent=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """tokens (B, C, a, b, c), of which only the sides count -> (a * b * c, width)."""
        sides = tokens.shape[2:]
        parts = []
        for axis in self.axes:
            shape = [1, 1, 1, self.table.shape[1]]
            shape[axis] = -1
            parts.append(self.table[: sides[axis]].reshape(shape).expand(*sides, self.table.shape[1]))
        return torch.cat(parts, -1).flatten(0, 2)[:, : self.width]


class CrossAttention(nn.Module):
    """Attention of several heads from queries to keys and values; names as in torch.

    With ``cross`` the batch is a run of slices, of which the first heads look at others.
    """

    cross: CrossSlice = NO_CROSS_SLICE

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)
        nn.init.xavier_uniform_(self.in_proj_weight)

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """query (B, N, E), key and value (B, T, E) -> (B, N, E)."""
        weights, biases = self.in_proj_weight.chunk(3), self.in_proj_bias.chunk(3)
        q, k, v = (
            functional.linear(x, w, b).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for x, w, b in zip((query, key, value), weights, biases, strict=True)
        )
        k, v = (across_slices(x, self.cross.offsets) for x in (k, v))
        attention = (q @ k.transpose(2, 3) * (q.shape[-1] ** -0.5)).softmax(-1)
        return self.out_proj((attention @ v).transpose(1, 2).flatten(2))


class QueryLayer(nn.Module):
    """Cross-attention from normed queries to tokens, then a ReLU feed-forward block, both with a shortcut."""

    def __init__(self, width: int, heads: int, inner: int) -> None:
        super().__init__()
        self.multihead_attn = CrossAttention(width, heads)
        self.linear1, self.linear2 = nn.Linear(width, inner), nn.Linear(inner, width)
        # The published files hold a norm1 as well, of a self-attention that is not there.
        self.norm2, self.norm3 = nn.LayerNorm(width), nn.LayerNorm(width)

    def forward(self, query: Tensor, tokens: Tensor, positions: Tensor) -> Tensor:
        """query (B, N, E), tokens (B, T, E), positions (T, E) -> (B, N, E)."""
        query = query + self.multihead_attn(self.norm2(query), tokens + positions, tokens)
        return query + self.linear2(functional.relu(self.linear1(self.norm3(query))))


class QueryDecoder(nn.Module):
    """All layers, and a norm."""

    def __init__(self, width: int, heads: int, inner: int, layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(QueryLayer(width, heads, inner) for _ in range(layers))
        self.norm = nn.LayerNorm(width)

    def forward(self, query: Tensor, tokens: Tensor, positions: Tensor) -> Tensor:
        """query (B, N, E), tokens (B, T, E), positions (T, E) -> (B, N, E)."""
        for layer in self.layers:
            query = layer(query, tokens, positions)
        return self.norm(query)


def pool_to_tokens(levels: Sequence[Tensor]) -> Tensor:
    """Features (B, C_i, ...) of every resolution, finest first -> means on the last grid (B, sum C_i, ...).

    Each resolution has half the sides of the one before, so pooling by two again and again gives the same
    means as one pooling by 32, and reads the finest features once.
    """
    pooled = levels[0]
    for level in levels[1:]:
        pooled = torch.cat([functional.avg_pool3d(pooled, 2), level], 1)
    return pooled

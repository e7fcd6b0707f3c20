"""VoxTell's prompt decoder: text queries attend to the image's tokens, and not to each other.

As released: layers are normed first, positions are added to keys alone, and the self-attention of the stored
layers is never run, so what comes out for a prompt does not hang on the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from torch import Tensor, nn
from torch.nn import functional

from vesal.networks.masked_attention import KEY, QUERY, VALUE, MaskedAttention

KeysValues = tuple[Tensor, Tensor]
"""Of one layer, projected, each (B, T, E)."""


class PromptLayer(nn.Module):
    """Cross-attention from normed queries to tokens, then a ReLU feed-forward block, both with a shortcut."""

    def __init__(self, width: int, heads: int, inner: int) -> None:
        super().__init__()
        self.multihead_attn = MaskedAttention(width, heads)
        self.linear1, self.linear2 = nn.Linear(width, inner), nn.Linear(inner, width)
        self.norm2, self.norm3 = nn.LayerNorm(width), nn.LayerNorm(width)

    def keys_values(self, tokens: Tensor, placed: Tensor) -> KeysValues:
        """Of tokens (B, T, E), and ``placed``, the same with positions."""
        attention = self.multihead_attn
        return attention.project(KEY, placed), attention.project(VALUE, tokens)

    def forward(self, query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """query (B, N, E), and what ``keys_values`` gave -> (B, N, E)."""
        attention = self.multihead_attn
        query = query + attention.attend(attention.project(QUERY, self.norm2(query)), keys, values)
        return query + self.linear2(functional.relu(self.linear1(self.norm3(query))))


class PromptDecoder(nn.Module):
    """All layers, and a norm."""

    def __init__(self, width: int, heads: int, inner: int, layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(PromptLayer(width, heads, inner) for _ in range(layers))
        self.norm = nn.LayerNorm(width)

    def keys_values(self, tokens: Tensor, positions: Tensor) -> list[KeysValues]:
        """Of every layer, once a window: tokens (B, T, E), positions (1, T, E)."""
        placed = tokens + positions
        return [cast(PromptLayer, layer).keys_values(tokens, placed) for layer in self.layers]

    def forward(self, query: Tensor, memory: Sequence[KeysValues]) -> Tensor:
        """query (B, N, E), and what ``keys_values`` gave -> (B, N, E)."""
        for layer, (keys, values) in zip(self.layers, memory, strict=True):
            query = layer(query, keys, values)
        normed: Tensor = self.norm(query)
        return normed

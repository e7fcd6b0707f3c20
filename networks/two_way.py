"""Transformer of few tokens and many voxels that look at each other (Kirillov et al. 2023, appendix A).

As SegVol has it as released: in the first layer the tokens' self-attention has no shortcut and no positions.
Two forms. The plain one projects all voxels for each prompt. The other one brings the projections of the
voxels to the side of the tokens, which are 6 to 20 against 2,048: equal up to rounding, and the voxels of a
first layer are not repeated for the prompts.
"""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn


class DownAttention(nn.Module):
    """Attention of several heads, whose inner width may be smaller than that of its tokens."""

    def __init__(self, width: int, heads: int, inner: int) -> None:
        super().__init__()
        self.heads = heads
        self.scale = (inner // heads) ** -0.5
        self.q_proj, self.k_proj, self.v_proj = (nn.Linear(width, inner) for _ in range(3))
        self.out_proj = nn.Linear(inner, width)

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """query (B, N, C), key and value (B, T, C) -> (B, N, C)."""
        q, k, v = (
            self._split(project(x))
            for project, x in ((self.q_proj, query), (self.k_proj, key), (self.v_proj, value))
        )
        scores = q @ k.transpose(2, 3) * self.scale
        attended: Tensor = self.out_proj((scores.softmax(-1) @ v).transpose(1, 2).flatten(2))
        return attended

    def from_many(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """As ``forward`` for few queries (N, Q, C) and many keys and values (N or 1, S, C).

        What the keys' bias adds to a query's scores is the same for all keys, which softmax takes out.
        """
        heads = self.heads
        q = self._split(self.q_proj(query))
        # (N, heads, Q, hd) @ (heads, hd, C): queries in the keys' own space.
        turned = (q * self.scale) @ self.k_proj.weight.unflatten(0, (heads, -1))
        weights = (turned.flatten(1, 2) @ key.transpose(1, 2)).softmax(-1)
        seen = (weights @ value).unflatten(1, (heads, -1))
        v = seen @ self.v_proj.weight.unflatten(0, (heads, -1)).transpose(1, 2)
        attended: Tensor = self.out_proj(v.transpose(1, 2).flatten(2) + self.v_proj.bias)
        return attended

    def to_many(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """As ``forward`` for many queries (N or 1, S, C) and few keys and values (N, Q, C)."""
        heads, tokens = self.heads, key.shape[1]
        k, v = self._split(self.k_proj(key)) * self.scale, self._split(self.v_proj(value))
        turned = (k @ self.q_proj.weight.unflatten(0, (heads, -1))).flatten(1, 2)
        bias = (k @ self.q_proj.bias.unflatten(0, (heads, -1))[..., None]).flatten(1)
        scores = (query @ turned.transpose(1, 2) + bias[:, None]).unflatten(2, (heads, tokens))
        outward = (v @ self.out_proj.weight.t().unflatten(0, (heads, -1))).flatten(1, 2)
        return scores.softmax(-1).flatten(2) @ outward + self.out_proj.bias

    def _split(self, x: Tensor) -> Tensor:
        """(B, T, inner) -> (B, heads, T, inner / heads)."""
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class TokenFeedForward(nn.Module):
    """Two layers with a ReLU between them."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.lin1, self.lin2 = nn.Linear(width, inner), nn.Linear(inner, width)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, T, width) -> (B, T, width)."""
        encoded: Tensor = self.lin2(self.lin1(x).relu())
        return encoded


class TwoWayBlock(nn.Module):
    """Tokens look at each other and at the image, then the image looks at them."""

    def __init__(self, width: int, heads: int, inner: int, cross: int, is_first: bool) -> None:
        """``cross``: inner width of the attentions between tokens and image."""
        super().__init__()
        self.self_attn = DownAttention(width, heads, width)
        self.norm1, self.norm2, self.norm3, self.norm4 = (nn.LayerNorm(width) for _ in range(4))
        self.cross_attn_token_to_image, self.cross_attn_image_to_token = (
            DownAttention(width, heads, cross) for _ in range(2)
        )
        self.mlp = TokenFeedForward(width, inner)
        self.is_first = is_first

    def forward(
        self, tokens: Tensor, image: Tensor, own: Tensor, places: Tensor, plain: bool
    ) -> tuple[Tensor, Tensor]:
        """One layer.

        Args:
            tokens: (N, Q, C).
            image: (N or 1, S, C).
            own: (N, Q, C) the tokens as they came in, which stand for their positions.
            places: (1, S, C) positions of the image.
            plain: which form.

        Returns:
            tokens (N, Q, C), and the image as each prompt sees it (N, S, C).
        """
        to_image, to_tokens = self.cross_attn_token_to_image, self.cross_attn_image_to_token
        if self.is_first:
            tokens = self.self_attn(tokens, tokens, tokens)
        else:
            placed = tokens + own
            tokens = tokens + self.self_attn(placed, placed, tokens)
        tokens = self.norm1(tokens)
        keys = image + places
        tokens = self.norm2(tokens + (to_image if plain else to_image.from_many)(tokens + own, keys, image))
        tokens = self.norm3(tokens + self.mlp(tokens))
        seen = (to_tokens if plain else to_tokens.to_many)(keys, tokens + own, tokens)
        return tokens, self.norm4(image + seen)


class TwoWayTransformer(nn.Module):
    """Layers of ``TwoWayBlock``, and a last look of the tokens at the image."""

    def __init__(self, width: int, heads: int, inner: int, cross: int, depth: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            TwoWayBlock(width, heads, inner, cross, number == 0) for number in range(depth)
        )
        self.final_attn_token_to_image = DownAttention(width, heads, cross)
        self.norm_final_attn = nn.LayerNorm(width)

    def forward(
        self, tokens: Tensor, image: Tensor, places: Tensor, plain: bool = True
    ) -> tuple[Tensor, Tensor]:
        """tokens (N, Q, C), image (N or 1, S, C), its places (1, S, C) -> tokens and the image (N, S, C).

        ``plain`` wants an image for each prompt.
        """
        own = tokens
        for layer in cast(nn.ModuleList, self.layers):
            tokens, image = layer(tokens, image, own, places, plain)
        last = self.final_attn_token_to_image
        attend = last if plain else last.from_many
        return self.norm_final_attn(tokens + attend(tokens + own, image + places, image)), image

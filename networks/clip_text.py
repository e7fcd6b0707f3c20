"""The text encoder of CLIP (Radford et al. 2021, section 2.4): a causal transformer over 77 tokens.

As BiomedParse-V has it as released: post-projection left to the caller, norms with a smaller epsilon.
Parameter names are the published ones.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vesal.networks.masked_attention import KEY, QUERY, VALUE, MaskedAttention
from vesal.networks.sat import count_names

NORM_EPSILON = 1e-12
"""Of every norm, as released; CLIP itself has 1e-5."""


@dataclass(frozen=True)
class ClipSizes:
    """Sizes of the encoder; the published ones are ``CLIP_BASE``."""

    vocabulary: int
    context: int
    """Tokens of a sentence, padded."""
    width: int
    inner: int
    layers: int
    heads: int = 8
    """No tensor's shape tells it."""


CLIP_BASE = ClipSizes(49408, 77, 512, 2048, 12)


class QuickGelu(nn.Module):
    """x sigmoid(1.702 x), CLIP's approximation of GELU."""

    def forward(self, x: Tensor) -> Tensor:
        """x of any shape -> the same shape."""
        return x * (1.702 * x).sigmoid()


class ClipBlock(nn.Module):
    """Pre-norm self-attention, then a feed-forward block, both with a shortcut."""

    def __init__(self, sizes: ClipSizes) -> None:
        super().__init__()
        self.attn = MaskedAttention(sizes.width, sizes.heads)
        self.ln_1, self.ln_2 = (nn.LayerNorm(sizes.width, NORM_EPSILON) for _ in range(2))
        self.mlp = nn.Sequential(
            OrderedDict(
                c_fc=nn.Linear(sizes.width, sizes.inner),
                gelu=QuickGelu(),
                c_proj=nn.Linear(sizes.inner, sizes.width),
            )
        )

    def forward(self, x: Tensor, later: Tensor) -> Tensor:
        """x (B, L, width), later (L, L) bool, True for a key behind the query -> (B, L, width)."""
        normed = self.ln_1(x)
        query, key, value = (self.attn.project(part, normed) for part in (QUERY, KEY, VALUE))
        x = x + self.attn.attend(query, key, value, later)
        encoded: Tensor = x + self.mlp(self.ln_2(x))
        return encoded


class ClipText(nn.Module):
    """Token ids to one vector a token. Padding is not masked: tokens see only what is before them."""

    later: Tensor

    def __init__(self, sizes: ClipSizes = CLIP_BASE) -> None:
        super().__init__()
        self.token_embedding = nn.Embedding(sizes.vocabulary, sizes.width)
        self.positional_embedding = nn.Parameter(torch.empty(sizes.context, sizes.width))
        self.resblocks = nn.ModuleList(ClipBlock(sizes) for _ in range(sizes.layers))
        self.ln_final = nn.LayerNorm(sizes.width, NORM_EPSILON)
        later = torch.ones(sizes.context, sizes.context, dtype=torch.bool).triu(1)
        self.register_buffer("later", later, persistent=False)
        nn.init.normal_(self.positional_embedding, std=0.01)

    def forward(self, ids: Tensor) -> Tensor:
        """ids (B, L) int64, L at most the context -> (B, L, width)."""
        length = ids.shape[1]
        x = self.token_embedding(ids) + self.positional_embedding[:length]
        for block in self.resblocks:
            x = block(x, self.later[:length, :length])
        encoded: Tensor = self.ln_final(x)
        return encoded


def clip_sizes_of(shapes: Mapping[str, tuple[int, ...]], heads: int = 8) -> ClipSizes:
    """Sizes of an encoder from the shapes of its tensors, named as in these modules.

    Raises:
        KeyError: a tensor that tells a size is not there.
    """
    vocabulary, width = shapes["token_embedding.weight"]
    return ClipSizes(
        vocabulary=vocabulary,
        context=shapes["positional_embedding"][0],
        width=width,
        inner=shapes["resblocks.0.mlp.c_fc.weight"][0],
        layers=count_names(shapes, "resblocks.{}.ln_1.weight"),
        heads=heads,
    )

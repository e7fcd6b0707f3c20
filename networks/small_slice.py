"""A small text-prompted slice network with attention, for measurements of how slices may see each other.

Its parts are those of BiomedParse in small: an image encoder of convolutions, self-attention of a pixel
decoder on the coarsest map, and a decoder whose queries attend to that map and to each other and their text.
Every attention is a cross-slice one (``networks/cross_slice.py``); with no heads for that, slices do not see
each other, and the parameters are the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vesal.inference.data.cross_slice import NO_CROSS_SLICE, CrossSlice
from vesal.networks.cross_slice import cross_slice_attention

SIDE = 64
"""Pixels a side of a slice."""
TEXT = 220
"""Length of a target's text vector, as the default network has it."""
WIDTH, HEADS = 128, 8
"""Channels of the attention, and its heads: as many as BiomedParse has."""
WIDTHS = (24, 48, 96)
"""Channels at 1/2, 1/4 and 1/8 of the resolution."""
LAYERS = 2
"""Of the pixel decoder, and of the query decoder."""
QUERIES = 4
"""For each prompt; the mask is the mean of theirs."""
MASK = 16
"""Channels of the mask features at full resolution."""
GROUP = 8
"""Channels a normalisation group."""
WAVES = 3.0
"""Amplitude of positions in queries and keys."""


@dataclass(frozen=True)
class SliceOutput:
    """What the network says of N prompts in B runs of T slices."""

    logits: Tensor
    """(B, N, T, h, w)"""
    presence: Tensor
    """(B, N, T) logits: whether the target is in the slice"""
    features: Tensor
    """(B, C, T, h / 8, w / 8), of the pixel decoder"""
    text: Tensor
    """(B, N, C), the prompts in the same space"""


class Convolutions(nn.Sequential):
    """One convolution with a stride and one without, each with group norm and ReLU."""

    def __init__(self, c_in: int, c_out: int, stride: int = 1) -> None:
        layers: list[nn.Module] = []
        for c, step in ((c_in, stride), (c_out, 1)):
            layers += [nn.Conv2d(c, c_out, 3, step, 1, bias=False), nn.GroupNorm(c_out // GROUP, c_out)]
            layers += [nn.ReLU()]
        super().__init__(*layers)


class SliceAttention(nn.Module):
    """Attention between tokens of the same run of slices, with a norm before and a shortcut."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH)
        self.q, self.kv = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, 2 * WIDTH)
        self.out = nn.Linear(WIDTH, WIDTH)

    def forward(
        self, x: Tensor, other: Tensor | None, cross: CrossSlice, places: Tensor | None = None
    ) -> Tensor:
        """Tokens x (*, T, N, C) attend to ``other`` (*, T, L, C), or to themselves where it is None.

        ``places`` (N, C) come to their queries and keys.
        """
        own = self.norm(x)
        seen = own if other is None else other
        if places is None:
            q, kv = self.q(own), self.kv(seen)
        else:
            q = self.q(own + places)
            kv = torch.cat([self.kv(seen + places)[..., :WIDTH], self.kv(seen)[..., WIDTH:]], -1)
        q = q.unflatten(-1, (HEADS, -1)).transpose(-2, -3)
        k, v = kv.unflatten(-1, (2 * HEADS, -1)).transpose(-2, -3).chunk(2, -3)
        return x + self.out(cross_slice_attention(q, k, v, cross).transpose(-2, -3).flatten(-2))


class FeedForward(nn.Sequential):
    """What follows an attention in its layer, with a norm before; the shortcut is the caller's."""

    def __init__(self) -> None:
        super().__init__(
            nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 2 * WIDTH), nn.GELU(), nn.Linear(2 * WIDTH, WIDTH)
        )


class PixelLayer(nn.Module):
    """Self-attention of the coarsest map of each slice."""

    def __init__(self) -> None:
        super().__init__()
        self.attention, self.feed = SliceAttention(), FeedForward()

    def forward(self, tokens: Tensor, cross: CrossSlice, places: Tensor | None) -> Tensor:
        """(B, T, L, C) -> same; ``places`` (L, C), or None."""
        tokens = self.attention(tokens, None, cross, places)
        return tokens + self.feed(tokens)


class QueryLayer(nn.Module):
    """Queries attend to the map, then to each other and their text."""

    def __init__(self) -> None:
        super().__init__()
        self.image, self.each_other, self.feed = SliceAttention(), SliceAttention(), FeedForward()

    def forward(self, query: Tensor, tokens: Tensor, cross: CrossSlice) -> Tensor:
        """query (B, N, T, Q, C), tokens (B, 1, T, L, C) -> like query."""
        query = self.each_other(self.image(query, tokens, cross), None, cross)
        return query + self.feed(query)


class SmallSlice(nn.Module):
    """The network; 1.0 M parameters."""

    def __init__(self, cross: CrossSlice = NO_CROSS_SLICE) -> None:
        super().__init__()
        a, b, c = WIDTHS
        self.cross, self.is_placed = cross, False
        self.stem = nn.Conv2d(1, a, 4, 2, 1)
        self.down = nn.ModuleList([Convolutions(a, a), Convolutions(a, b, 2), Convolutions(b, c, 2)])
        self.enter = nn.Conv2d(c, WIDTH, 1)
        self.place = nn.Parameter(0.02 * torch.randn((SIDE // 8) ** 2, WIDTH))
        self.pixel = nn.ModuleList(PixelLayer() for _ in range(LAYERS))
        self.to_b, self.to_a = nn.Conv2d(WIDTH, b, 1), nn.Conv2d(b, a, 1)
        self.up_b, self.up_a = Convolutions(b, b), Convolutions(a, a)
        self.mask_features = nn.Conv2d(a, 4 * MASK, 1)
        self.text = nn.Linear(TEXT, WIDTH)
        self.queries = nn.Parameter(0.5 * torch.randn(QUERIES, WIDTH))
        self.decoder = nn.ModuleList(QueryLayer() for _ in range(LAYERS))
        self.norm = nn.LayerNorm(WIDTH)
        self.embed = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.GELU(), nn.Linear(WIDTH, MASK + 2))

    @torch.no_grad()
    def take_places(self) -> None:
        """Add positions to queries and keys of the pixel decoder, from now on, as BiomedParse has them.

        Keys are projected as queries at first, so that a token begins by attending to its own place: with
        ``WAVES`` four tenths of its attention go there.
        """
        self.is_placed = True
        for layer in self.pixel.children():
            attention = cast(PixelLayer, layer).attention
            attention.kv.weight[:WIDTH] = attention.q.weight
            attention.kv.bias[:WIDTH] = attention.q.bias

    def forward(self, image: Tensor, text: Tensor) -> SliceOutput:
        """Runs of slices and the prompts of each.

        Args:
            image: (B, T, h, w) of ``SIDE`` pixels, about -1..1.
            text: (B, N, TEXT) of length 1.
        """
        tokens, mask_features, shape = self._encode(image)
        prompts = self.text(text * TEXT**0.5)
        query = self.queries + prompts[:, :, None, None]
        query = torch.cat([query, prompts[:, :, None, None]], 3).expand(-1, -1, image.shape[1], -1, -1)
        for layer in self.decoder:
            query = layer(query, tokens[:, None], self.cross)
        found = self.embed(self.norm(query[..., :QUERIES, :]).mean(3))
        logits = torch.einsum("bntc,btchw->bnthw", found[..., :MASK], mask_features)
        features = tokens.transpose(2, 3).unflatten(3, shape).transpose(1, 2)
        logits = logits + found[..., MASK, None, None]
        return SliceOutput(logits, found[..., MASK + 1], features, prompts)

    def _encode(self, image: Tensor) -> tuple[Tensor, Tensor, torch.Size]:
        """(B, T, h, w) -> tokens (B, T, L, C), mask features (B, T, MASK, h, w), sides of the tokens' map."""
        levels = [self.stem(image.flatten(0, 1)[:, None])]
        for block in self.down:
            levels.append(block(levels[-1]))
        coarse = self.enter(levels[3])
        tokens = coarse.flatten(2).transpose(1, 2).unflatten(0, image.shape[:2]) + self.place
        places = None
        if self.is_placed:
            places = waves(coarse.shape[2]).to(tokens)
        for layer in self.pixel:
            tokens = layer(tokens, self.cross, places)
        x = tokens.flatten(0, 1).transpose(1, 2).unflatten(2, coarse.shape[2:])
        x = self.up_b(F.interpolate(self.to_b(x), scale_factor=2.0, mode="bilinear") + levels[2])
        x = self.up_a(F.interpolate(self.to_a(x), scale_factor=2.0, mode="bilinear") + levels[1])
        mask_features = F.pixel_shuffle(self.mask_features(x), 2).unflatten(0, image.shape[:2])
        return tokens, mask_features, coarse.shape[2:]


def waves(side: int) -> Tensor:
    """Positions of a square grid of tokens: cosines along rows, then columns, (side * side, WIDTH) float32.

    ``side`` is a divisor of half the width.
    """
    half = torch.arange(side) + 0.5
    lines = WAVES * torch.cos(torch.pi / side * half[:, None] * torch.arange(1, side + 1))
    rows, columns = lines[:, None].expand(side, side, side), lines[None].expand(side, side, side)
    return torch.cat([rows, columns], -1).flatten(0, 1).repeat(1, WIDTH // (2 * side))

"""A small text-prompted slice network with attention, for measurements of how slices may see each other.

Its parts are those of BiomedParse in small: an image encoder of convolutions, self-attention of a pixel
decoder on the coarsest map, and a decoder whose queries attend to that map and to each other and their text.
Every attention is a cross-slice one (``networks/cross_slice.py``); with no heads for that, slices do not see
each other, and the parameters are the same.
"""

from __future__ import annotations

from dataclasses import dataclass

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

    def forward(self, x: Tensor, other: Tensor | None, cross: CrossSlice) -> Tensor:
        """Tokens x (*, T, N, C) attend to ``other`` (*, T, L, C), or to themselves where it is None."""
        own = self.norm(x)
        q = self.q(own).unflatten(-1, (HEADS, -1)).transpose(-2, -3)
        kv = self.kv(own if other is None else other).unflatten(-1, (2 * HEADS, -1)).transpose(-2, -3)
        k, v = kv.chunk(2, -3)
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

    def forward(self, tokens: Tensor, cross: CrossSlice) -> Tensor:
        """(B, T, L, C) -> same."""
        tokens = self.attention(tokens, None, cross)
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
        self.cross = cross
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
        for layer in self.pixel:
            tokens = layer(tokens, self.cross)
        x = tokens.flatten(0, 1).transpose(1, 2).unflatten(2, coarse.shape[2:])
        x = self.up_b(F.interpolate(self.to_b(x), scale_factor=2.0, mode="bilinear") + levels[2])
        x = self.up_a(F.interpolate(self.to_a(x), scale_factor=2.0, mode="bilinear") + levels[1])
        mask_features = F.pixel_shuffle(self.mask_features(x), 2).unflatten(0, image.shape[:2])
        return tokens, mask_features, coarse.shape[2:]

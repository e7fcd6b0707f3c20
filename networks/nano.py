"""The default network: a small text-prompted 3D U-Net.

It joins ideas of five papers: text queries that cross-attend to pooled multi-scale features (SAT, Medal S
2.2), channel-wise spatial-prompt alignment ``F_a = T^T S_p``, ``F_r = Conv([F; F_a])``, ``P = sigmoid(T
F_r)`` and the foreground prompt as an input channel (Medal S 2.3), a presence head per slice with gradient
cut-off (BiomedParse-V eq. 3-4), and kernels and strides that collapse along a thick axis by the degree of
anisotropy (SPAD-Nets).

The compute sits at half resolution and below; two thin convolutions at full resolution add the edge.
Axes are (batch, channel, D, H, W) with the thick axis first.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vesal.inference.data.terms import MODALITIES
from vesal.networks.mixed import MixedConv, conv3d_fp32
from vesal.networks.spad import Anisotropy, SpadConv, down_interpolated, up_interpolated

Widths = tuple[int, int, int, int]
"""Channels at 1/2, 1/4, 1/8 and 1/16 of the resolution."""
WIDTHS: Widths = (32, 64, 128, 192)
"""With AVX512-bf16 a step of training takes 1.2 to 1.3 times as long as with 24, 48, 96 and 128, which have a
little more than half of the parameters: kernels work on 16 or 32 channels at once."""
EDGE = 8
"""Channels of the two convolutions at full resolution: they cost as much as all of level 1/4."""
GROUP = 8
"""Channels a normalisation group: the small levels then have enough groups to keep classes apart."""
QUERY = 128
TEXT = 220
"""Length of a target's text vector: MiniLM, centred and whitened over the vocabulary
(``training/bank.py``).
"""
TEXT_SCALE = 2.0
"""Length to which text vectors are brought: at sqrt(TEXT) one step of AdamW moves a query by half its size,
and after 1,000 steps siblings still shared one mask (correlation 1.0 of left and right ventricle)."""
SIDE_COUNT = 3
"""no side, left, right"""
IMAGE_CHANNELS = 3
"""raw intensity, intensity standardised over the volume, foreground prompt"""


class SliceConv(SpadConv):
    """A 3x3x3 SPAD convolution (SPAD-Nets 4.2), which in training is computed as is quickest there."""

    def __init__(self, c_in: int, c_out: int, stride: int = 1, bias: bool = False) -> None:
        super().__init__(c_in, c_out, 3, stride, bias)

    def convolved(self, x: Tensor, at: Anisotropy) -> Tensor:
        """See ``SpadConv``: (B, C, D, H, W) -> (B, O, d, h, w)."""
        return self._train(x, at.pending > 0) if self.training else super().convolved(x, at)

    def _train(self, x: Tensor, within_slices: bool) -> Tensor:
        """Of x (B, C, D, H, W): within slices a 2D convolution of each, and bf16 as in ``mixed.py``."""
        b, _, d, _, _ = x.shape
        weight: Tensor = self.weight
        if within_slices:
            x = x.movedim(2, 1).flatten(0, 1).contiguous(memory_format=torch.channels_last)
            weight = weight.sum(2)
        if x.device.type != "cpu":  # what follows mends one-sided faults of the processor's library
            y = (F.conv2d if within_slices else F.conv3d)(x, weight, None, self.stride, 1)
        elif torch.is_autocast_enabled("cpu"):
            y = MixedConv.apply(x, weight, self.stride)
        elif within_slices:
            y = F.conv2d(x, weight, None, self.stride, 1)
        else:
            y = conv3d_fp32(x, weight, self.stride)
        if self.bias is not None:
            y = y + self.bias.to(y.dtype).reshape(1, -1, *[1] * (y.ndim - 2))
        return y.unflatten(0, (b, d)).movedim(1, 2) if within_slices else y


class PointConv(nn.Module):
    """A 1x1x1 convolution; in training a matrix product, for the reason given in ``mixed.py``."""

    def __init__(self, c_in: int, c_out: int, bias: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(c_out, c_in, 1, 1, 1))
        self.bias = nn.Parameter(torch.zeros(c_out)) if bias else None
        nn.init.kaiming_normal_(self.weight, a=1.0)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, D, H, W) -> (B, C', D, H, W)."""
        if not self.training:
            return F.conv3d(x, self.weight, self.bias)
        return F.linear(x.permute(0, 2, 3, 4, 1), self.weight.flatten(1), self.bias).permute(0, 4, 1, 2, 3)


class Block(nn.Module):
    """Two convolutions with group norm, and a shortcut."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.conv1 = SliceConv(c_in, c_out)
        self.norm1 = nn.GroupNorm(c_out // GROUP, c_out)
        self.conv2 = SliceConv(c_out, c_out)
        self.norm2 = nn.GroupNorm(c_out // GROUP, c_out)
        self.shortcut = PointConv(c_in, c_out, bias=False) if c_in != c_out else nn.Identity()

    def forward(self, x: Tensor, at: Anisotropy) -> Tensor:
        """(B, C, D, H, W) -> (B, C', D, H, W)."""
        y = F.leaky_relu(self.norm1(self.conv1(x, at)[0]), 0.01)
        y = self.norm2(self.conv2(y, at)[0])
        return F.leaky_relu(y + self.shortcut(x), 0.01)


class FurtherBlock(Block):
    """A block behind a level's own: it adds to what comes in, and nothing at first."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels)
        nn.init.zeros_(self.norm2.weight)

    def forward(self, x: Tensor, at: Anisotropy) -> Tensor:
        """(B, C, D, H, W) -> the same shape."""
        y = F.leaky_relu(self.norm1(self.conv1(x, at)[0]), 0.01)
        added: Tensor = x + self.norm2(self.conv2(y, at)[0])
        return added


class QueryLayer(nn.Module):
    """Text queries attend to image tokens, then a feed-forward step; queries do not see each other."""

    def __init__(self, dim: int, heads: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.q, self.kv, self.out = nn.Linear(dim, dim), nn.Linear(dim, 2 * dim), nn.Linear(dim, dim)
        self.mlp = nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim))

    def forward(self, query: Tensor, tokens: Tensor) -> Tensor:
        """query (B, N, C), tokens (B, M, C) -> (B, N, C)."""
        b, n, c = query.shape
        h = self.heads
        q = self.q(self.norm1(query)).reshape(b, n, h, c // h).transpose(1, 2)
        k, v = self.kv(tokens).reshape(b, -1, 2, h, c // h).permute(2, 0, 3, 1, 4)
        attention = torch.softmax(q @ k.transpose(-1, -2) * (c // h) ** -0.5, -1)
        query = query + self.out((attention @ v).transpose(1, 2).reshape(b, n, c))
        return query + self.mlp(self.norm2(query))


def widths_of(state: Mapping[str, Tensor]) -> Widths:
    """Widths of a network from its state dict; ``norm2.weight`` of each level has the shape (C,)."""
    a, b, c, d = (len(state[f"down.{i}.norm2.weight"]) for i in range(4))
    return a, b, c, d


def deeper_of(state: Mapping[str, Tensor]) -> int:
    """Further blocks of each of a network's two lowest levels, from its state dict."""
    count = 0
    while f"deeper.0.{count}.norm2.weight" in state:
        count += 1
    return count


def _project(rows: Tensor, volume: Tensor) -> Tensor:
    """rows (B, M, C) times the channels of volume (B, C, D, H, W) -> (B, M, D, H, W)."""
    flat = volume.flatten(2).to(rows.dtype)
    return (rows @ flat).unflatten(2, volume.shape[2:])


class Nano(nn.Module):
    """See the module's docstring."""

    def __init__(
        self,
        widths: Widths = WIDTHS,
        foreground: bool = True,
        alignment: bool = True,
        cutoff: bool = True,
        deeper: int = 0,
    ) -> None:
        """``foreground``, ``alignment``, ``cutoff``: off for an ablation (``training/ideas.py``). ``deeper``:
        further blocks at 1/8 and at 1/16, where a block costs least for what it has.
        """
        super().__init__()
        self.foreground, self.alignment, self.cutoff = foreground, alignment, cutoff
        a, b, c, d = widths
        self.stem = SliceConv(IMAGE_CHANNELS, a, stride=2)
        self.stem_norm = nn.GroupNorm(a // GROUP, a)
        self.down = nn.ModuleList([Block(a, a), Block(a, b), Block(b, c), Block(c, d)])
        self.up = nn.ModuleList([Block(d + c, c), Block(c + b, b), Block(b + a, a)])
        self.token_proj = nn.ModuleList([PointConv(w, QUERY) for w in (b, c, d)])
        self.token_scale = nn.Parameter(torch.zeros(3, QUERY))
        self.token_norm = nn.LayerNorm(QUERY)
        self.position = nn.Sequential(nn.Linear(3, QUERY), nn.GELU(), nn.Linear(QUERY, QUERY))
        self.text = nn.Linear(TEXT, QUERY)
        self.side = nn.Embedding(SIDE_COUNT, QUERY)
        self.modality = nn.Embedding(len(MODALITIES), QUERY)
        self.queries = nn.ModuleList([QueryLayer(QUERY), QueryLayer(QUERY)])
        self.query_norm = nn.LayerNorm(QUERY)
        self.text_to_mask = nn.Linear(TEXT, a, bias=False)
        self.side_to_mask = nn.Embedding(SIDE_COUNT, a)
        self.to_mask = nn.Sequential(nn.Linear(QUERY, QUERY), nn.GELU(), nn.Linear(QUERY, a))
        self.to_edge = nn.Linear(QUERY, EDGE)
        self.to_bias = nn.Linear(QUERY, 1)
        self.align = SliceConv(2 * a, a)
        self.align_norm = nn.GroupNorm(a // GROUP, a)
        self.edge_in = SliceConv(IMAGE_CHANNELS, EDGE, bias=True)
        self.edge_gate = PointConv(a, EDGE)
        self.edge_out = SliceConv(2 * EDGE, EDGE, bias=True)
        self.presence = nn.Sequential(nn.Linear(2 * a + QUERY, 64), nn.GELU(), nn.Linear(64, 1))
        nn.init.constant_(self.to_bias.bias, -2.0)
        # Behind all else, so that other parts begin as they do without them.
        self.deeper = nn.ModuleList(
            nn.ModuleList(FurtherBlock(width) for _ in range(deeper)) for width in ((c, d) if deeper else ())
        )
        for layer in (self.text, self.text_to_mask, self.side_to_mask):
            nn.init.normal_(layer.weight, std=0.3)
        nn.init.normal_(self.side.weight, std=0.5)
        nn.init.normal_(self.modality.weight, std=0.5)

    def encode(self, x: Tensor, degree: int) -> list[Tensor]:
        """(B, 3, D, H, W) -> features at 1/2, 1/4, 1/8, 1/16 (depth halved ``degree`` times less)."""
        y, at = self.stem(x, Anisotropy(degree))
        y = F.leaky_relu(self.stem_norm(y), 0.01)
        levels = []
        for i, block in enumerate(self.down):
            if i:
                y, at = down_interpolated(y, at)
            y = block(y, at)
            if self.deeper and i > 1:
                for further in cast(nn.ModuleList, self.deeper[i - 2]):
                    y = further(y, at)
            levels.append(y)
        return levels

    def decode(self, levels: list[Tensor], degree: int) -> Tensor:
        """Features of four levels, each (B, C, d, h, w) and half as large, -> (B, C, D/2, H/2, W/2)."""
        y, at = levels[3], Anisotropy(degree, len(levels))
        for i, block in enumerate(self.up):
            y, at = up_interpolated(y, at)
            y = block(torch.cat([y, levels[2 - i]], 1), at)
        return y

    def tokens(self, levels: list[Tensor], degree: int) -> Tensor:
        """Features at 1/4, 1/8, 1/16, pooled to the grid of the last -> (B, M, QUERY) with their
        positions.
        """
        grids = []
        for i, level in enumerate(levels[1:]):
            y = self.token_proj[i](level)
            if times := 2 - i:
                y, _ = down_interpolated(y, Anisotropy(degree, i + 2), times)
            grids.append(y.flatten(2).transpose(1, 2) + self.token_scale[i])
        d, h, w = levels[3].shape[2:]
        at = [(torch.arange(n, device=levels[3].device) + 0.5) / n * 2 - 1 for n in (d, h, w)]
        place = torch.stack(torch.meshgrid(*at, indexing="ij"), -1).reshape(1, -1, 3).to(grids[0].dtype)
        place = self.position(place)
        return self.token_norm(torch.cat([g + place for g in grids], 1))

    def query(self, text: Tensor, side: Tensor, modality: Tensor, tokens: Tensor) -> Tensor:
        """text (B, N, TEXT) float, side (B, N) int, modality (B, N) int -> (B, N, QUERY)."""
        q = self.text(text) + self.side(side) + self.modality(modality)
        for layer in self.queries:
            q = layer(q, tokens)
        return self.query_norm(q)

    def forward(
        self, image: Tensor, prompt: Tensor, text: Tensor, side: Tensor, modality: Tensor, degree: int
    ) -> tuple[Tensor, Tensor]:
        """One view of one case.

        Args:
            image: (B, 2, D, H, W) raw intensity scaled to -1..1 and intensity standardised over the volume.
            prompt: (B, N, D, H, W) spatial prompts 0..1; zeros in the coarse stage.
            text: (B, N, TEXT) text vectors of the targets.
            side: (B, N) int64, 0 none, 1 left, 2 right.
            modality: (B, N) int64, index into ``MODALITIES``.
            degree: degree of anisotropy of the view.

        Returns:
            logits (B, N, D, H, W) and presence logits per slice (B, N, D).
        """
        logits, _, refined, q, _ = self.decoded(image, prompt, text, side, modality, degree)
        return logits, self._presence(refined, q, degree == 0)

    def decoded(
        self, image: Tensor, prompt: Tensor, text: Tensor, side: Tensor, modality: Tensor, degree: int
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Anisotropy]:
        """Arguments as in ``forward``.

        Returns:
            logits (B, N, D, H, W); what heads beside the mask see: the input (B, 3, D, H, W), features (B, C,
            D/2, H/2, W/2), queries (B, N, QUERY), and how the features stand.
        """
        hint = prompt.amax(1, keepdim=True)
        x = torch.cat([image, hint if self.foreground else torch.zeros_like(hint)], 1)
        text = F.normalize(text, dim=-1) * TEXT_SCALE
        levels = self.encode(x, degree)
        features = self.decode(levels, degree)
        q = self.query(text, side, modality, self.tokens(levels, degree))
        # Straight from the words too: through the attention alone, siblings take long to come apart.
        masks = self.to_mask(q) + self.text_to_mask(text) + self.side_to_mask(side)
        rows = masks.transpose(1, 2)
        halved, at = down_interpolated(prompt, Anisotropy(degree))
        aligned = _project(rows, halved)
        if not self.alignment:
            aligned = torch.zeros_like(aligned)
        refined = self.align(torch.cat([features, aligned.to(features.dtype)], 1), at)[0]
        refined = features + F.leaky_relu(self.align_norm(refined), 0.01)
        low = _project(masks, refined) * masks.shape[-1] ** -0.5
        low = low + self.to_bias(q)[..., None, None]
        logits, _ = up_interpolated(low, at)
        return logits + self._edge(x, refined, q, at), x, refined, q, at

    def _edge(self, x: Tensor, refined: Tensor, q: Tensor, at: Anisotropy) -> Tensor:
        """x (B, 3, D, H, W), refined (B, C, D/2, H/2, W/2) that stands ``at``, q (B, N, QUERY) -> logits
        (B, N, D, H, W).
        """
        gate, at = up_interpolated(self.edge_gate(refined), at)
        edge = torch.cat([F.leaky_relu(self.edge_in(x, at)[0], 0.01), gate], 1)
        edge = F.leaky_relu(self.edge_out(edge, at)[0], 0.01)
        return _project(self.to_edge(q), edge)

    def _presence(self, refined: Tensor, q: Tensor, halved: bool) -> Tensor:
        """refined (B, C, D/2, H/2, W/2), q (B, N, QUERY) -> presence logits per slice (B, N, D).

        Features and queries are detached, so that presence never changes the masks (BiomedParse-V eq. 4).
        """
        if self.cutoff:
            refined, q = refined.detach(), q.detach()
        flat = refined.flatten(3).to(q.dtype)
        pooled = torch.cat([flat.mean(-1), flat.amax(-1)], 1).transpose(1, 2)
        b, slices, _ = pooled.shape
        n = q.shape[1]
        joined = torch.cat(
            [pooled[:, None].expand(b, n, slices, -1), q[:, :, None].expand(b, n, slices, -1)], -1
        )
        logit = self.presence(joined)[..., 0]
        if halved:
            logit = logit[..., None].expand(b, n, slices, 2).reshape(b, n, 2 * slices)
        return logit
